"""Runs that begin with weights of a file."""

from pathlib import Path

import torch
from torch import Tensor

from tests.zoo.cnn.torchvision_twin import torchvision_twin
from tests.zoo_cli.conftest import Run

RUN = Path("runs/ResNet/version_0")


def last() -> tuple[int, Tensor]:
    """Steps of the run, and a weight that the file has."""
    checkpoint = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint["global_step"], checkpoint["state_dict"]["net.layer4.1.conv2.weight"]


def test_run_goes_on_and_is_tested_without_the_file_that_it_began_with(succeed: Run) -> None:
    """At rate 0 the weights stay the file's, also when it is there no longer."""
    file, twin = Path("resnet18.pth"), torchvision_twin("resnet18")
    torch.save(twin.state_dict(), file)
    flags = ["--model", "ResNet", "--model.init_args.variant", "resnet18", "--data", "Digits"]
    flags += ["--data.init_args.image_size", "8", "--model.init_args.weights", str(file)]
    flags += ["--model.init_args.optimizer.init_args.lr", "0", "--trainer.limit_train_batches", "2"]
    flags += ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]
    succeed("fit", *flags, "--trainer.max_epochs", "1")
    steps, weight = last()
    assert steps == 2
    torch.testing.assert_close(weight, twin.layer4[1].conv2.weight.detach(), atol=0, rtol=0)

    file.unlink()
    config = str(RUN / "config.yaml")
    succeed("fit", "--config", config, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    steps, weight = last()
    assert steps == 4
    torch.testing.assert_close(weight, twin.layer4[1].conv2.weight.detach(), atol=0, rtol=0)
    succeed("test", "--config", config, "--ckpt_path", "last")
    assert RUN.joinpath("summary.json").is_file()
