"""Runs that begin with weights of a file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from tests.zoo.cnn.torchvision_twin import torchvision_twin
from tests.zoo_cli.conftest import Run

RUN = Path("runs/ResNet/version_0")
FLAGS = (
    *(
        "--model",
        "ResNet",
        "--model.init_args.variant",
        "resnet18",
        "--model.init_args.weights",
        "resnet18.pth",
    ),
    *("--data", "Digits", "--data.init_args.image_size", "8"),
)
SHORT = (
    *("--model.init_args.optimizer.init_args.lr", "0", "--trainer.max_epochs", "1"),
    *("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"),
)


@pytest.fixture
def file() -> Path:
    """Weights of ten classes and colour images; the digits are grey, so the first layer starts afresh."""
    torch.save(torchvision_twin("resnet18", num_classes=10).state_dict(), "resnet18.pth")
    return Path("resnet18.pth")


def began_with() -> str | None:
    weights: str | None = yaml.safe_load((RUN / "config.yaml").read_text())["model"]["init_args"]["weights"]
    return weights


def last() -> tuple[int, Tensor]:
    """Steps of the run, and a weight that the file has."""
    checkpoint = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint["global_step"], checkpoint["state_dict"]["net.layer4.1.conv2.weight"]


def test_run_goes_on_and_is_tested_without_the_file_that_it_began_with(succeed: Run, file: Path) -> None:
    """At rate 0 the weights stay the file's, also when it is there no longer."""
    expected = torch.load(file, weights_only=True)["layer4.1.conv2.weight"]
    succeed("fit", *FLAGS, *SHORT)
    steps, weight = last()
    assert steps == 2
    torch.testing.assert_close(weight, expected, atol=0, rtol=0)

    file.unlink()
    config = str(RUN / "config.yaml")
    succeed("fit", "--config", config, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    steps, weight = last()
    assert steps == 4
    torch.testing.assert_close(weight, expected, atol=0, rtol=0)
    assert began_with() == "resnet18.pth"
    succeed("test", "--config", config, "--ckpt_path", "last", "--trainer.limit_test_batches", "1")
    assert RUN.joinpath("summary.json").is_file()


def test_flags_that_began_a_run_go_on_with_it(succeed: Run, file: Path) -> None:
    succeed("fit", *FLAGS, *SHORT)
    file.unlink()
    resumed = succeed("fit", *FLAGS, *SHORT, "--trainer.max_epochs", "2", "--ckpt_path", "last")
    assert "--model.init_args.weights: not read, since the checkpoint fills the network" in resumed.err
    assert last()[0] == 4
    without = [flag for flag in FLAGS if flag not in ("--model.init_args.weights", "resnet18.pth")]
    succeed("fit", *without, *SHORT, "--trainer.max_epochs", "3", "--ckpt_path", "last")
    assert last()[0] == 6
    assert began_with() == "resnet18.pth"
    assert "not read" in succeed("test", *FLAGS, "--trainer.limit_test_batches", "1").err


def test_weights_are_measured_without_training(
    succeed: Run, one_line_error: Callable[..., str], file: Path
) -> None:
    succeed("test", *FLAGS, "--ckpt_path", "null", "--trainer.limit_test_batches", "1")
    assert "test/acc" in (RUN / "summary.json").read_text()
    error = one_line_error(2, "test", "--model", "LeNet", "--data", "Digits", "--ckpt_path", "null")
    assert "--ckpt_path: null, so nothing says what to test" in error
