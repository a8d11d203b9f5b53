"""A short real run: LeNet on the digits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar

from callbacks import MetricsCSV
from datamodules import Digits
from zoo import LeNet

MakeTrainer = Callable[..., L.Trainer]


def lenet(**hparams: Any) -> LeNet:
    hparams = {"image_size": 12, "activation": "relu", "pooling": "max", **hparams}
    return LeNet(**hparams, optimizer=lambda p: torch.optim.AdamW(p, lr=3e-3))


def digits(**hparams: Any) -> Digits:
    return Digits(**{"image_size": 12, "batch_size": 128, **hparams})


class Spoil(L.Callback):
    """Makes the network useless after its first epoch, so that the best weights are not the last."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.current_epoch > 0:
            torch.nn.init.zeros_(pl_module.get_parameter("net.fc3.weight"))


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    """Makes trainers that write into one folder: 11 steps and a validation in each epoch."""

    def make(*callbacks: L.Callback, **options: Any) -> L.Trainer:
        checkpoint = ModelCheckpoint(monitor="val/acc", mode="max", save_last=True)
        own_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        return L.Trainer(
            **{
                "default_root_dir": tmp_path,
                "accelerator": "cpu",
                "max_epochs": 2,
                "logger": MetricsCSV(tmp_path),
                "callbacks": [*callbacks, checkpoint],
                "log_every_n_steps": 5,
                "enable_progress_bar": own_bar,
                "enable_model_summary": False,
                **options,
            }
        )

    return make
