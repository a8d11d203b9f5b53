"""Every file under configs/ runs, capped in steps and image size; overlays run on top of the quickstart."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo_cli.search
from datamodules import _download
from tests.datamodules.fixtures import BUILDERS, letters, sentence_pairs, zipped
from zoo_cli.main import main
from zoo_cli.sources import shipped_configs

ALL = sorted(str(path.relative_to(shipped_configs())) for path in shipped_configs().rglob("*.yaml"))
OVERLAYS = [name for name in ALL if name.startswith(("trainer/", "logger/"))]
SPACES = [name for name in ALL if name.startswith("search/")]
RUNNABLE = [name for name in ALL if name not in OVERLAYS + SPACES]
ELSEWHERE = ["trainer/gpu.yaml", "trainer/gpu_bf16.yaml", "trainer/mps.yaml", "logger/wandb.yaml"]
"""Need a device or an account that a test machine lacks: they are parsed."""


def settings_of(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((shipped_configs() / name).read_text())
    return settings


@pytest.fixture(autouse=True)
def _tiny_files_instead_of_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "_check", lambda path, file: None)


def flags_for(name: str, folder: Path) -> list[str]:
    """Tiny data where the file's own data would be read or downloaded."""
    data = settings_of(name)["data"]["class_path"].removeprefix("datamodules.")
    given = BUILDERS[data](folder) if data in BUILDERS else {}
    enough_text(data, folder)
    return [f"--data.init_args.{key}={value}" for key, value in given.items()]


def enough_text(data: str, folder: Path) -> None:
    """Files of texts as long as the configurations' windows and numbers of pairs need."""
    if data == "TimeMachine":
        (folder / "timemachine" / "timemachine.txt").write_text(letters(size=21_000), encoding="utf-8")
    if data == "TextFile":
        (folder / "letters.txt").write_text(letters(size=21_000), encoding="utf-8")
    if data == "EnglishFrench":
        packed = zipped(
            {"fra.txt": sentence_pairs(sources=600).encode(), "_about.txt": b""}, folder="fra-eng"
        )
        (folder / "fra-eng" / "fra-eng.zip").write_bytes(packed)


CAPS = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]


@pytest.mark.parametrize("name", RUNNABLE)
def test_config_runs_and_its_best_checkpoint_is_tested(name: str, tmp_path: Path) -> None:
    flags = flags_for(name, tmp_path)
    assert main(["fit", "--config", f"configs/{name}", *CAPS, *flags]) == 0
    assert main(["test", "--config", f"configs/{name}", *flags, "--trainer.limit_test_batches=1"]) == 0


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name not in ELSEWHERE])
def test_overlay_runs_on_top_of_the_quickstart(name: str) -> None:
    assert main(["fit", "--config", "configs/quickstart.yaml", "--config", f"configs/{name}", *CAPS]) == 0


@pytest.mark.parametrize("name", ELSEWHERE)
def test_overlay_for_other_machines_is_parsed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = settings_of(name)["trainer"]
    arguments = ["--config", "configs/quickstart.yaml", "--config", f"configs/{name}", "--print_config"]
    assert main(["fit", *arguments]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)["trainer"]
    for key, value in overlay.items():
        expected = value["class_path"] if isinstance(value, dict) else value
        assert (printed[key]["class_path"] if isinstance(value, dict) else printed[key]) == expected


@pytest.mark.parametrize("name", RUNNABLE)
def test_config_has_a_header_a_seed_and_full_class_paths(name: str) -> None:
    text = (shipped_configs() / name).read_text()
    header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert "# Ours: " in header
    if name != "quickstart.yaml":
        assert "# Book: section " in header
        assert "# Book's figure: " in header
    settings = settings_of(name)
    assert isinstance(settings["seed_everything"], int)
    assert settings["model"]["class_path"].startswith("zoo.")
    assert settings["data"]["class_path"].startswith("datamodules.")


@pytest.mark.parametrize("name", RUNNABLE)
def test_config_restates_no_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A value equal to the class's own default would drift from it."""
    settings = settings_of(name)
    classes = ["--model", settings["model"]["class_path"], "--data", settings["data"]["class_path"]]
    assert main(["fit", *classes, "--print_config"]) == 0
    defaults = yaml.safe_load(capsys.readouterr().out)
    for part in ("model", "data"):
        for key, value in (settings[part].get("init_args") or {}).items():
            assert (defaults[part].get("init_args") or {}).get(key) != value, f"{part}.init_args.{key}"
    for key, value in settings["trainer"].items():
        assert defaults["trainer"][key] != value, f"trainer.{key}"


def configs_of(space: str) -> list[str]:
    text = (shipped_configs() / space).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("# For: ")]
    return [word for word in line.replace(",", " ").split() if word.endswith(".yaml")]


# The largest of the recurrent networks has hundreds of millions of parameters.
LARGE = ("search/rnn", "search/lstm", "search/gru")


@pytest.mark.parametrize(
    ("space", "name"),
    [
        pytest.param(space, name, marks=pytest.mark.slow if space.startswith(LARGE) else ())
        for space in SPACES
        for name in configs_of(space)
    ],
)
def test_space_fits_its_configuration(
    space: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is tried with each bound and each choice."""

    class Nobody:
        def __init__(self, **arguments: Any) -> None:
            self.settings = arguments["file"].settings

        def run(self) -> int:
            assert self.settings.max_resource > 0
            assert self.settings.objectives
            return 0

    monkeypatch.setattr(zoo_cli.search, "Supervisor", Nobody)
    data = flags_for(name, tmp_path)
    if space.startswith(LARGE):
        data = [*data, "--data.init_args.num_steps=2"]
    pruner = ["--pruner", "none"] if "house" in name else []
    files = ["--config", f"configs/{name}", "--space", f"configs/{space}"]
    assert main(["search", *files, "--trials", "1", *pruner, *data]) == 0
