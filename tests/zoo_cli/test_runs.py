"""What a run leaves and says."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.zoo_cli.conftest import Run

QUICKSTART = ("--config", "configs/quickstart.yaml")
SHORT = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.accelerator", "cpu")


def test_run_directory_and_the_test_that_completes_it(succeed: Run) -> None:
    out = succeed("fit", *QUICKSTART, "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "10").out
    run = Path("runs/quickstart/version_0")
    assert out.startswith(f"{run}: LeNet with 61,706 parameters on Digits, cpu\n")
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file() and "tfevents" not in p.name}
    assert names >= {
        "config.yaml",
        "metrics.csv",
        "curves.png",
        "features.png",
        "predictions.png",
        "summary.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    assert len(list(run.glob("events.out.tfevents*"))) == 1
    rows = table((run / "metrics.csv").read_text())
    assert [row["step"] for row in rows] == ["10", "20", "30", "40", "41", "50", "60", "70", "80", "82"]
    assert {"train/loss_step", "train/loss", "val/acc", "lr"} <= set(rows[0])
    summary = json.loads((run / "summary.json").read_text())
    assert summary["seed"] == 42
    assert summary["parameters"] == 61_706
    assert summary["config"] == "configs/quickstart.yaml"
    assert summary["command"].startswith("python cli.py fit --config ")
    assert "test/acc" not in summary["metrics"]

    out = succeed("test", *QUICKSTART, "--ckpt_path", "best").out
    assert out.count("test/acc ") == 1
    assert (run / "predictions_test.png").is_file()
    assert "test/acc" in json.loads((run / "summary.json").read_text())["metrics"]
    assert [p.name for p in run.parent.iterdir()] == ["version_0"]
    for command, metric in (("test", "test/acc "), ("validate", "val/acc ")):
        assert succeed(command, *QUICKSTART, "--trainer.enable_progress_bar", "false").out.count(metric) == 1


def test_two_runs_with_one_seed_are_equal(succeed: Run) -> None:
    flags = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5"]
    for _ in range(2):
        succeed("fit", *QUICKSTART, *flags)
    first, second = (Path(f"runs/quickstart/version_{i}/metrics.csv").read_text() for i in (0, 1))
    assert first == second


def test_name_is_the_stem_of_the_first_config_else_the_model(succeed: Run) -> None:
    small = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.logger", "false"]
    Path("first.yaml").write_text("data: {class_path: datamodules.Digits}\nmodel: {class_path: zoo.LeNet}\n")
    succeed("fit", "--config", "first.yaml", *QUICKSTART, *small)
    succeed("fit", "--model=LeNet", "--data=Digits", *small)
    succeed("fit", "--config", "runs/first/version_0/config.yaml", *small)
    found = {str(p.parent) for p in Path("runs").rglob("config.yaml")}
    assert found == {"runs/first/version_0", "runs/LeNet/version_0", "runs/first/version_1"}


def test_saved_config_makes_the_same_run(succeed: Run) -> None:
    flags = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    succeed("fit", *QUICKSTART, *flags, "--trainer.default_root_dir", "elsewhere")
    succeed("fit", "--config", "elsewhere/quickstart/version_0/config.yaml")
    first, second = (Path(f"elsewhere/quickstart/version_{i}") for i in (0, 1))
    assert (first / "metrics.csv").read_text() == (second / "metrics.csv").read_text()
    assert yaml.safe_load((first / "config.yaml").read_text()) == yaml.safe_load(
        (second / "config.yaml").read_text()
    )


def test_a_start_that_fails_is_recorded_as_failed(run: Run) -> None:
    Path("short.txt").write_text("abc")
    text = ("--data", "TextFile", "--data.path", "short.txt")
    result = run("fit", "--model", "RNNLM", *text, *SHORT)
    assert result.code == 1
    assert "short.txt: the train split has 3 tokens" in result.err
    summary = json.loads(Path("runs/RNNLM/version_0/summary.json").read_text())
    assert summary["status"] == "failed"
    assert "the train split has 3 tokens" in summary["error"]
    assert (summary["epochs"], summary["global_step"], summary["best"]) == (0, 0, {})


def test_a_run_that_cannot_go_on_keeps_its_record(run: Run, succeed: Run) -> None:
    Path("a.txt").write_text("abc ab cab bca " * 40)
    text = ("--data", "TextFile", "--data.path", "a.txt", "--data.num_steps", "8")
    succeed("fit", "--model", "RNNLM", *text, *SHORT)
    record = Path("runs/RNNLM/version_0/summary.json")
    before = record.read_text()
    Path("a.txt").write_text("abc")
    assert run("fit", "--model", "RNNLM", *text, *SHORT, "--ckpt_path", "last").code != 0
    assert record.read_text() == before


@pytest.mark.parametrize("flags", [["--model.init_args.padding", "-1"], ["--data.init_args.batch_size", "0"]])
def test_a_start_of_which_nothing_runs_leaves_nothing(run: Run, flags: list[str]) -> None:
    assert run("fit", *QUICKSTART, *flags).code == 2
    assert list(Path().iterdir()) == []
    Path("mine").mkdir()
    assert run("fit", *QUICKSTART, *flags, "--trainer.default_root_dir", "mine").code == 2
    assert list(Path().rglob("*")) == [Path("mine")]


def test_trial_run_leaves_nothing(succeed: Run) -> None:
    succeed("fit", *QUICKSTART, "--trainer.fast_dev_run", "true")
    assert list(Path().iterdir()) == []


def test_own_file_wins_over_a_shipped_one_of_that_name(succeed: Run) -> None:
    Path("configs").mkdir()
    Path("configs/quickstart.yaml").write_text("trainer: {max_epochs: 77}\n")
    settings = succeed("fit", *QUICKSTART, "--model", "LeNet", "--data", "Digits", "--print_config").out
    assert yaml.safe_load(settings)["trainer"]["max_epochs"] == 77


def test_normal_run_is_quiet() -> None:
    """Nothing but our own lines, without the filters of the test suite."""
    flags = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    command = [sys.executable, "-m", "zoo_cli", "fit", *QUICKSTART, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.splitlines()[1].startswith("epoch 1/1  train/loss ")


@pytest.mark.slow
def test_two_processes_train_in_one_run_and_measure_what_one_measures() -> None:
    two = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]

    def command(*args: str) -> str:
        whole = [sys.executable, "-m", "zoo_cli", *args]
        done = subprocess.run(whole, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    command("fit", *QUICKSTART, "--trainer.max_epochs", "1", *two)
    assert [p.name for p in Path("runs/quickstart").iterdir()] == ["version_0"]
    # 300 rows from one process, whatever is asked of the trainer's strategy.
    whole = [sys.executable, "-m", "zoo_cli", "predict", *QUICKSTART, *two]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "predict runs on one device" in done.stderr
    # 300 test images on two processes, none of them twice.
    assert command("test", *QUICKSTART, *two) == command("test", *QUICKSTART)


@pytest.mark.slow
def test_interrupted_run_says_how_to_go_on() -> None:
    command = [sys.executable, "-m", "zoo_cli", "fit", *QUICKSTART, "--trainer.max_epochs", "2000"]

    def listen() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite that runs in the background ignores it

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=listen) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        while "epoch    2/2000" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err == "error: stopped; `--ckpt_path last` goes on from the last epoch\n"
    run = Path("runs/quickstart/version_0")
    assert json.loads((run / "summary.json").read_text())["status"] == "stopped"
    assert (run / "checkpoints/last.ckpt").is_file()


# Predicting


@pytest.fixture
def trained(succeed: Run) -> None:
    succeed("fit", *QUICKSTART, "--trainer.max_epochs", "3")


@pytest.fixture
def images() -> list[Path]:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    Path("photos/more").mkdir(parents=True)
    paths = [Path("photos/0.png"), Path("photos/1.jpg"), Path("photos/more/2.png")]
    for i, path in enumerate(paths):
        pixels = (digits.images[i] * 255 / 16).round().astype("uint8")
        Image.fromarray(pixels).convert("RGB").resize((40, 40)).save(path)
    return paths


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.usefixtures("trained")
def test_predicting_a_folder_of_images(succeed: Run, images: list[Path]) -> None:
    rows = table(succeed("predict", *QUICKSTART, "--ckpt_path", "best", "--input", "photos").out)
    assert [row["input"] for row in rows] == [str(path) for path in images]
    assert [row["label"] for row in rows] == ["0", "1", "2"]
    assert all(0.1 < float(row["probability"]) <= 1 for row in rows)


@pytest.mark.usefixtures("trained")
def test_predicting_one_image_into_a_file(succeed: Run, images: list[Path]) -> None:
    out = succeed("predict", *QUICKSTART, "--input", str(images[1]), "--output", "out.csv").out
    assert out == ""
    assert [row["label"] for row in table(Path("out.csv").read_text())] == ["1"]


@pytest.mark.usefixtures("trained")
def test_predicting_standard_input(images: list[Path]) -> None:
    command = [sys.executable, "-m", "zoo_cli", "predict", *QUICKSTART, "--input", "-"]
    done = subprocess.run(command, input=images[2].read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in table(done.stdout.decode())] == ["2"]


@pytest.mark.usefixtures("trained")
def test_predicting_the_test_split(succeed: Run) -> None:
    rows = table(succeed("predict", *QUICKSTART).out)
    assert len(rows) == 300


@pytest.mark.usefixtures("trained")
def test_bad_input_and_output_of_predict(run: Run, images: list[Path]) -> None:
    images[0].write_bytes(b"no image")
    broken = run("predict", *QUICKSTART, "--input", "photos", "--output", "out.csv")
    assert broken.code == 1
    assert "photos/0.png: cannot be read as an image" in broken.err
    assert not Path("out.csv").exists()
    missing = run("predict", *QUICKSTART, "--input", "nowhere")
    assert missing.code == 1
    assert "--input nowhere: there is no such file or folder" in missing.err
    unwritable = run("predict", *QUICKSTART, "--input", str(images[1]), "--output", "photos/1.jpg/out.csv")
    assert unwritable.code == 1
    assert "--output photos/1.jpg/out.csv: cannot be written" in unwritable.err
