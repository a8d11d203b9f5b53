"""The wheel works where there is no checkout."""

import json
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def execute(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    execute(sys.executable, "-m", "build", "--wheel", "--outdir", folder, REPOSITORY)
    (path,) = folder.glob("d2l_zoo-*.whl")
    return path


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has the wheel; dependencies are those of this one."""
    environment = tmp_path_factory.mktemp("environment")
    execute(sys.executable, "-m", "venv", "--without-pip", environment)
    scripts = environment / "bin"
    (site,) = environment.glob("lib/python*/site-packages")
    # The libraries, but not this project: an editable install is a .pth file, which only a site folder runs.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    flags = ["--prefix", environment, "--no-deps", "--ignore-installed", "--quiet"]
    execute(sys.executable, "-m", "pip", "install", *flags, wheel)
    return scripts


@pytest.mark.slow
def test_wheel_holds_packages_and_configs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "zoo",
        "datamodules",
        "callbacks",
        "search",
        "zoo_cli",
    }
    assert "zoo_cli/configs/quickstart.yaml" in names
    assert "zoo/__init__.pyi" in names


@pytest.mark.slow
def test_installed_command_ignores_foreign_files_in_the_folder(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("raise SystemExit('the wrong cli.py')")
    (tmp_path / "zoo_cli").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "other.yaml").write_text("trainer: {max_epochs: 1}\n")
    rows = json.loads(execute(scripts / "d2l-zoo", "models", "--json", cwd=tmp_path))
    assert "LeNet" in [row["name"] for row in rows]
    small = ["--trainer.limit_train_batches", "2"]
    configs = ["--config", "configs/quickstart.yaml", "--config", "configs/other.yaml"]
    out = execute(scripts / "d2l-zoo", "fit", *configs, *small, cwd=tmp_path)
    assert out.splitlines()[0].startswith("runs/quickstart/version_0: LeNet")
    assert (tmp_path / "runs/quickstart/version_0/checkpoints/best.ckpt").is_file()


@pytest.mark.slow
def test_installed_package_is_the_one_from_the_wheel(scripts: Path, tmp_path: Path) -> None:
    code = "import zoo; from zoo_cli.sources import shipped_configs; print(zoo.__file__); "
    code += "print(shipped_configs()); print(len(zoo.list_models()))"
    place, configs, count = execute(scripts / "python", "-c", code, cwd=tmp_path).splitlines()
    assert str(REPOSITORY) not in place
    assert str(REPOSITORY) not in configs
    assert int(count) >= 15


def test_image_has_every_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    image = (REPOSITORY / "Dockerfile").read_text().splitlines()
    assert [
        f"COPY {package} {package}" for package in packages if f"COPY {package} {package}" not in image
    ] == []
