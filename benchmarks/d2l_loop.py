"""The book's own package on the same task, as its users run it from a script: with the board not drawn.

``epoch.py`` runs it with the interpreter that ``setup_d2l.py`` made, in a folder beside ``data/`` (d2l reads
``../data``).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from d2l import torch as d2l
from torch import nn

__all__ = ["main"]

BATCH_SIZE = 128
WARMUP = 3


class MLP(d2l.Classifier):
    """The concise MLP of section 5.2.2, which the book's package lacks."""

    def __init__(self, num_outputs: int, num_hiddens: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Flatten(), nn.LazyLinear(num_hiddens), nn.ReLU(), nn.LazyLinear(num_outputs)
        )


class ResNet18(d2l.Classifier):
    """The network of section 8.6 out of the package's blocks; the package has only a later variation."""

    def __init__(self, num_outputs: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        stem = (nn.LazyConv2d(64, kernel_size=7, stride=2, padding=3), nn.LazyBatchNorm2d(), nn.ReLU())
        blocks = [d2l.Residual(64), d2l.Residual(64)]
        for channels in (128, 256, 512):
            blocks += [d2l.Residual(channels, use_1x1conv=True, strides=2), d2l.Residual(channels)]
        self.net = nn.Sequential(
            *stem,
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.LazyLinear(num_outputs),
        )


class FirstBatches:
    """The first batches of a loader, with the times at which they were asked for.

    Args:
        loader: The loader.
        count: How many batches.
    """

    def __init__(self, loader: Any, count: int) -> None:
        self.loader = loader
        self.count = count
        self.asked_at: list[float] = []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        batches = iter(self.loader)
        for _ in range(self.count):
            self.asked_at.append(time.perf_counter())
            yield next(batches)
        self.asked_at.append(time.perf_counter())  # the last step is done


class TrainingImages(d2l.FashionMNIST):
    """The book's Fashion-MNIST; without validation, since only training is timed."""

    def val_dataloader(self) -> None:
        """Nothing, which d2l's trainer takes for no validation."""


class TimedTrainer(d2l.Trainer):
    """The book's trainer, with the time at which each epoch ended."""

    def fit_epoch(self) -> None:
        """One epoch."""
        super().fit_epoch()
        self.ended_at = [*getattr(self, "ended_at", []), time.perf_counter()]


def make_model(name: str, data: Any) -> Any:
    """A model as the book makes it."""
    if name == "softmax":
        return d2l.SoftmaxRegression(num_outputs=10, lr=0.1)
    if name == "mlp":
        return MLP(num_outputs=10, num_hiddens=256, lr=0.1)
    model = ResNet18(num_outputs=10, lr=0.01) if name == "resnet18" else d2l.LeNet(lr=0.1)
    model.apply_init([next(iter(data.train_dataloader()))[0]], d2l.init_cnn)
    return model


def time_epochs(model: Any, data: Any, epochs: int) -> dict[str, float]:
    """Images and seconds of all epochs after the first."""
    trainer = TimedTrainer(max_epochs=1 + epochs)
    trainer.fit(model, data)
    return {"images": epochs * len(data.train), "seconds": trainer.ended_at[-1] - trainer.ended_at[0]}


def time_steps(model: Any, data: Any, steps: int) -> dict[str, float]:
    """Images and seconds of some steps after the first few."""
    batches = FirstBatches(data.train_dataloader(), WARMUP + steps)
    data.train_dataloader = lambda: batches
    d2l.Trainer(max_epochs=1).fit(model, data)
    seconds = batches.asked_at[-1] - batches.asked_at[WARMUP]
    return {"images": steps * data.batch_size, "seconds": seconds}


def main() -> None:
    """Train, and write images and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("softmax", "mlp", "lenet", "resnet18"))
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int, help="time so many epochs after the first")
    length.add_argument("--steps", type=int, help=f"time so many steps after the first {WARMUP}")
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE)
    parser.add_argument("--image_size", type=int, default=28)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    data = TrainingImages(batch_size=given.batch_size, resize=(given.image_size, given.image_size))
    model = make_model(given.model, data)
    model.board.display = False
    if given.steps is None:
        result = time_epochs(model, data, given.epochs)
    else:
        result = time_steps(model, data, given.steps)
    given.output.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
