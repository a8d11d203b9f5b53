"""Each bad input gives one line that names the place and the way out, and the right exit code."""

import errno
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.zoo_cli.conftest import Run

Error = Callable[..., str]
QUICKSTART = ("--config", "configs/quickstart.yaml")


def write(text: str, name: str = "mine.yaml") -> str:
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model.lr_scheduler", "zoo.WarmupCosine"], "lr_scheduler: zoo.WarmupCosine needs total_steps"),
        (["--model.lr_scheduler=StepLR"], "torch.optim.lr_scheduler.StepLR needs step_size"),
        (["--model.lr_scheduler", "WarmupCosin"], "there is no WarmupCosin; did you mean WarmupCosine or"),
        (["--model.init_args.optimizer", "Adamm"], "optimizer: there is no Adamm; did you mean Adam"),
        (["--model.optimizer.lr", "abc"], "model.optimizer.lr is 'abc', but must be float"),
        (["--model.lr_scheduler_config.interval", "batch"], "interval 'batch', but must have epoch or step"),
    ],
)
def test_wrong_optimizers_and_schedules(flags: list[str], expected: str, one_line_error: Error) -> None:
    assert expected in one_line_error(2, "fit", *QUICKSTART, *flags)


@pytest.mark.parametrize(
    ("name", "kind"), [("lstm_textfile", "TextFile"), ("seq2seq_parallel", "ParallelText")]
)
def test_a_config_without_its_file_says_which_flag_names_it(
    name: str, kind: str, one_line_error: Error
) -> None:
    error = one_line_error(2, "fit", "--config", f"configs/rnn/{name}.yaml")
    assert re.search(rf"{name}\.yaml:\d+: datamodules.{kind} needs path; give --data.init_args.path", error)


def test_windows_that_do_not_follow_each_other_carry_no_state(one_line_error: Error) -> None:
    Path("a.txt").write_text("abc ab cab bca " * 40)
    data = ("--data", "TextFile", "--data.path", "a.txt", "--data.num_steps", "8")
    trainer = ("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1")
    flags = ("--model", "RNNLM", "--model.carry_state", "true", *data, *trainer)
    error = one_line_error(2, "fit", *flags, "--data.partition", "random")
    start = "error: --data.partition: partition is 'random', but must be 'sequential' for carry_state; "
    assert error == f"{start}give that, or set model.init_args.carry_state to false"
    partition = write("data:\n  init_args:\n    partition: random\n")
    assert "mine.yaml:3: partition is" in one_line_error(2, "fit", *flags, "--config", partition)


def test_batch_of_one_image_says_which_setting_made_it(one_line_error: Error) -> None:
    flags = ["--data.init_args.batch_size", "1", "--model", "BNLeNet", "--trainer.limit_train_batches", "1"]
    error = one_line_error(1, "fit", *QUICKSTART, *flags)
    assert error.startswith("error: --data.init_args.batch_size: leaves a batch of one image")


def test_reader_that_closes_the_output_gets_no_traceback() -> None:
    program = [sys.executable, "-m", "zoo_cli", "models", "--json"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == ""
    assert listing.returncode == 1


def test_arguments_before_their_class_say_so(one_line_error: Error) -> None:
    error = one_line_error(2, "fit", "--model", "LeNet", "--data.batch_size=9", "--data", "Digits")
    assert "--data.batch_size: write --data datamodules.Digits before its arguments" in error


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--model.init_args.activatoin", "relu"],
            ["--model.init_args.activatoin", "did you mean activation"],
        ),
        (["--model.activatoin=relu"], ["did you mean activation"]),
        (["--trainer.max_epoch", "3"], ["--trainer.max_epoch", "did you mean trainer.max_epochs"]),
        (["--model", "LeNt"], ["--model", "did you mean LeNet"]),
        (["--data", "Digit"], ["--data", "did you mean Digits"]),
        (["--model", "zoo.nothing.LeNet"], ["zoo.nothing", "did you mean LeNet"]),
        (
            ["--model.init_args.num_classes", "7"],
            ["--model.init_args.num_classes", "7", "10", "leave it out"],
        ),
        (["--model.init_args.in_channels", "3"], ["--model.init_args.in_channels", "3", "Digits", "1"]),
        (["--model.init_args.in_channels", "many"], ["in_channels is 'many', but must be int"]),
        (["--model.init_args.optimizer.init_args.lr", "-1"], ["optimizer.init_args.lr", "learning rate: -1"]),
        (["--model.init_args.activation", "rellu"], ["activation is 'rellu'", "did you mean relu"]),
        (
            ["--data.init_args.image_size", "8"],
            ["--data.init_args.image_size: image_size is 8, but must be at least 12 for this model"],
        ),
        (
            ["--model", "AlexNet"],
            ["image_size is 28, but must be at least 65", "the data set it: --data.init_args.image_size"],
        ),
        (["--data.init_args.batch_size", "0"], ["batch_size is 0, but must be at least 1, or `full`"]),
        (["--data.init_args.batch_size", "x"], ["batch_size is 'x', but must be int or 'full'"]),
        (
            ["--model", "DropoutMLP", "--model.init_args.dropout", "[1.5, 0]"],
            ["dropout is 1.5, but must be in [0, 1)"],
        ),
        (
            ["--model", "MLP", "--model.init_args.hidden_sizes", "[0]"],
            ["hidden_sizes is 0, but must be positive"],
        ),
        (["--model", "LinearRegression"], ["needs in_features", "Digits does not offer"]),
        (["--trainer.callbacks+=callbacks.LayerHealt"], ["there is no callbacks.LayerHealt"]),
        (["--model.init_args.optimizer", "torch.optim.SGDD"], ["there is no torch.optim.SGDD"]),
        (["--config", "quickstrat"], ["--config quickstrat", "did you mean quickstart"]),
        (["--ckpt_path"], ["ckpt_path"]),
    ],
)
def test_usage_errors(one_line_error: Error, flags: list[str], expected: list[str]) -> None:
    line = one_line_error(2, "fit", *QUICKSTART, *flags)
    for part in expected:
        assert part in line
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.ckpt"))


def test_what_another_setting_asks_for_names_that_setting(one_line_error: Error) -> None:
    Path("a.txt").write_text("abc ab cab bca " * 40)
    data = ("--data", "TextFile", "--data.path", "a.txt", "--data.num_steps", "8")
    error = one_line_error(2, "fit", "--model", "LSTMLM", "--model.init_args.tie_embeddings", "true", *data)
    assert error.startswith("error: --model.init_args.tie_embeddings: embed_dim is None, but must be 32")


def test_zero_dropout_as_an_int_is_accepted(succeed: Run) -> None:
    flags = ["--model.init_args.dropout", "[0, 0]", "--trainer.fast_dev_run", "true"]
    succeed("fit", "--model", "DropoutMLP", "--data", "Digits", *flags)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model:\n  class_path: zoo.LeNet\n  init_args:\n    paddding: 2\n",
            ["mine.yaml:4", "did you mean padding"],
        ),
        ("model:\n  class_path: zoo.LeNt\n", ["mine.yaml:2", "did you mean LeNet"]),
        ("model:\n  class_path: LeNet\n", ["mine.yaml:2", "full path such as zoo.LeNet"]),
        ("trainer:\n  max_epoch: 3\n", ["mine.yaml:2", "did you mean trainer.max_epochs"]),
        ("trainer:\n  max_epochs: many\n", ["mine.yaml:2", "trainer.max_epochs is 'many', but must be int"]),
        (
            "model:\n  class_path: zoo.LeNet\n  init_args:\n    padding: -1\n",
            ["mine.yaml:4", "padding is -1"],
        ),
        ("trainer:\n  max_epochs: 1\n  max_epochs: 2\n", ["mine.yaml:3", "given twice"]),
        ("trainer: {max_epochs: 1\n", ["mine.yaml:2", "not valid YAML"]),
        ("- 1\n", ["mine.yaml:1", "key: value"]),
        ("", ["mine.yaml", "empty"]),
    ],
)
def test_errors_in_a_file_name_the_line(one_line_error: Error, text: str, expected: list[str]) -> None:
    line = one_line_error(2, "fit", *QUICKSTART, "--config", write(text))
    for part in expected:
        assert part in line


def test_debugging_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DEBUG", "1")
    with pytest.raises(Exception, match="Invalid learning rate"):
        run("fit", *QUICKSTART, "--model.init_args.optimizer.init_args.lr", "-1")


def test_nan_loss_stops_with_the_step_and_keeps_the_checkpoint(one_line_error: Error, succeed: Run) -> None:
    succeed("fit", *QUICKSTART, "--trainer.max_epochs", "1")
    kept = Path("runs/quickstart/version_0/checkpoints/last.ckpt")
    before = kept.read_bytes()
    flags = ["--ckpt_path", "last", "--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "10"]
    line = one_line_error(1, "fit", *QUICKSTART, *flags, "--model.init_args.optimizer.init_args.lr", "1e30")
    assert "not finite at step 4" in line  # the second epoch begins after step 41
    assert kept.read_bytes() == before
    assert torch.load(kept, weights_only=True)["global_step"] == 41


def test_run_directory_that_cannot_be_made(one_line_error: Error) -> None:
    Path("runs").write_text("a file in the way")
    line = one_line_error(1, "fit", *QUICKSTART)
    assert "run directory cannot be made" in line
    assert "--trainer.default_root_dir" in line


def test_disk_that_fills_up_keeps_what_was_there() -> None:
    def limit() -> None:  # as on a full disk, but for this process alone
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    flags = ["--trainer.max_epochs", "1", "--trainer.logger", "false"]
    command = [sys.executable, "-m", "zoo_cli", "fit", *QUICKSTART, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert f"best.ckpt: cannot be written ({os.strerror(errno.EFBIG)})" in line
    assert not list(Path("runs").rglob("*.ckpt"))


# Checkpoints


@pytest.fixture
def trained(succeed: Run) -> Path:
    succeed("fit", *QUICKSTART, "--trainer.max_epochs", "1")
    return Path("runs/quickstart/version_0/checkpoints/best.ckpt")


@pytest.mark.parametrize("given", ["best", "last"])
def test_a_run_that_never_was_has_no_checkpoint(one_line_error: Error, given: str) -> None:
    line = one_line_error(1, "test", *QUICKSTART, "--ckpt_path", given)
    assert "no run in runs/quickstart of zoo.LeNet and datamodules.Digits has a checkpoint" in line


def test_an_untrained_network_is_never_tested(one_line_error: Error) -> None:
    assert "no run in runs/quickstart" in one_line_error(1, "test", *QUICKSTART)


def test_missing_checkpoint(one_line_error: Error) -> None:
    assert "no such file" in one_line_error(1, "test", *QUICKSTART, "--ckpt_path", "nowhere.ckpt")


def test_file_that_is_no_checkpoint(one_line_error: Error) -> None:
    Path("text.ckpt").write_text("hello")
    assert "is not a checkpoint" in one_line_error(1, "test", *QUICKSTART, "--ckpt_path", "text.ckpt")


def test_checkpoint_cut_short(one_line_error: Error, trained: Path) -> None:
    Path("cut.ckpt").write_bytes(trained.read_bytes()[:5000])
    assert "is not a checkpoint, or is cut short" in one_line_error(
        1, "test", *QUICKSTART, "--ckpt_path", "cut.ckpt"
    )


def test_file_without_a_training_state(one_line_error: Error) -> None:
    torch.save({"weights": torch.zeros(3)}, "other.ckpt")
    assert "no state_dict" in one_line_error(1, "test", *QUICKSTART, "--ckpt_path", "other.ckpt")


class Trap:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.mkdir, ("sprung",)  # type: ignore[return-value]


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused_unopened(one_line_error: Error, zipped: bool) -> None:
    if zipped:
        torch.save({"state_dict": {}, "trap": Trap()}, "trap.ckpt")
    else:
        Path("trap.ckpt").write_bytes(pickle.dumps({"state_dict": {}, "trap": Trap()}))
    one_line_error(1, "test", *QUICKSTART, "--ckpt_path", "trap.ckpt")
    assert not Path("sprung").exists()


def test_checkpoint_of_another_model(one_line_error: Error, trained: Path) -> None:
    flags = ["--model", "MLP", "--data", "Digits", "--ckpt_path", str(trained)]
    line = one_line_error(2, "test", *flags)
    assert "model is zoo.MLP" in line
    assert "is of zoo.LeNet" in line


@pytest.mark.parametrize(
    ("flag", "value", "saved"),
    [("activation", "tanh", "relu"), ("pooling", "avg", "max"), ("padding", "0", "2")],
)
def test_setting_that_changes_the_network(
    one_line_error: Error, trained: Path, flag: str, value: str, saved: str
) -> None:
    line = one_line_error(
        2, "test", *QUICKSTART, "--ckpt_path", str(trained), f"--model.init_args.{flag}", value
    )
    assert flag in line
    assert value in line
    assert saved in line


def test_data_that_do_not_fit_a_checkpoint(one_line_error: Error, trained: Path) -> None:
    flags = ["--data.init_args.image_size", "32"]
    line = one_line_error(2, "test", *QUICKSTART, "--ckpt_path", str(trained), *flags)
    assert "the checkpoint's model.init_args.image_size is 28" in line
    assert "32" in line
