"""The book's own package on the same task, as its users run it from a script: with the board not drawn.

``epoch.py`` runs it with the interpreter that ``setup_d2l.py`` made, in a folder beside ``data/`` (d2l reads
``../data``).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from d2l import torch as d2l  # type: ignore[import-not-found]  # lives in an environment of its own
from torch import nn

__all__ = ["main"]

BATCH_SIZE = 128


class MLP(d2l.Classifier):  # type: ignore[misc]
    """The concise MLP of section 5.2.2, which the book's package lacks."""

    def __init__(self, num_outputs: int, num_hiddens: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Flatten(), nn.LazyLinear(num_hiddens), nn.ReLU(), nn.LazyLinear(num_outputs)
        )


class TrainingImages(d2l.FashionMNIST):  # type: ignore[misc]
    """The book's Fashion-MNIST; without validation, since only training is timed."""

    def val_dataloader(self) -> None:
        """Nothing, which d2l's trainer takes for no validation."""


class TimedTrainer(d2l.Trainer):  # type: ignore[misc]
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
    model = d2l.LeNet(lr=0.1)
    model.apply_init([next(iter(data.train_dataloader()))[0]], d2l.init_cnn)
    return model


def main() -> None:
    """Train, and write images and seconds of all epochs after the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("softmax", "mlp", "lenet"))
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    data = TrainingImages(batch_size=BATCH_SIZE)
    model = make_model(given.model, data)
    model.board.display = False
    trainer = TimedTrainer(max_epochs=1 + given.epochs)
    trainer.fit(model, data)
    seconds = trainer.ended_at[-1] - trainer.ended_at[0]
    given.output.write_text(json.dumps({"images": given.epochs * len(data.train), "seconds": seconds}))


if __name__ == "__main__":
    main()
