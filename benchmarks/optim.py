"""The optimizers of chapter 12 on the noise of airfoils: their losses beside the book's, and one picture.

``python benchmarks/optim.py`` runs every file of ``configs/optim/``, one after the other, through the command
line. The loss is the book's, half the squared error on all 1,500 training rows.
"""

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import torch

from benchmarks._children import ROOT, default_data_dir
from zoo_cli.main import main as run_cli

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BOOK", "Curve", "TrainingLoss", "draw_curves", "format_losses", "main"]

# Losses printed by the book's published runs (sections 12.5 to 12.10), by the file without `_airfoil.yaml`.
BOOK = {
    "gd_scratch": 0.247,
    "sgd_scratch": 0.245,
    "minibatch_sgd_100_scratch": 0.246,
    "minibatch_sgd_10_scratch": 0.246,
    "sgd": 0.243,
    "momentum_half_scratch": 0.245,
    "momentum_fast_scratch": 0.248,
    "momentum_scratch": 0.243,
    "momentum": 0.250,
    "adagrad_scratch": 0.243,
    "adagrad": 0.242,
    "rmsprop_scratch": 0.245,
    "rmsprop": 0.246,
    "adadelta_scratch": 0.245,
    "adadelta": 0.243,
    "adam_scratch": 0.243,
    "adam": 0.243,
    "yogi_scratch": 0.243,
}
TOLERANCE = 0.005
RECORD_EVERY = 200
"""Examples between two measurements of the loss, as in the book."""


class Curve(NamedTuple):
    """What a run's training looked like, from its start, measurement by measurement.

    Attributes:
        epochs: Epochs done, with fractions.
        seconds: Seconds spent in training steps; what measures the loss does not count.
        losses: Half the squared error on the training rows.
    """

    epochs: list[float]
    seconds: list[float]
    losses: list[float]


class TrainingLoss(L.Callback):
    """Writes ``training_loss.json`` into the folder of the run: its :class:`Curve`."""

    def __init__(self) -> None:
        self._curve = Curve([], [], [])
        self._examples = 0
        self._seconds = 0.0
        self._step_started_at = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure what the run starts from."""
        self._measure(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock."""
        self._step_started_at = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock, and measure when as many examples have gone by."""
        self._seconds += time.perf_counter() - self._step_started_at
        before, self._examples = self._examples, self._examples + len(batch[0])
        if before // RECORD_EVERY != self._examples // RECORD_EVERY:
            self._measure(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the end, and write the file."""
        self._measure(trainer, pl_module)
        Path(trainer.default_root_dir, "training_loss.json").write_text(json.dumps(self._curve._asdict()))

    @torch.no_grad()
    def _measure(self, trainer: Any, pl_module: L.LightningModule) -> None:
        features, target = trainer.datamodule.splits["train"]
        self._curve.epochs.append(self._examples / len(features))
        self._curve.seconds.append(self._seconds)
        self._curve.losses.append((pl_module(features) - target).square().mean().item() / 2)


def train(name: str, *, folder: Path, flags: Iterable[str] = ()) -> Curve:
    """Run a configuration; its folder is ``<name>_airfoil/version_<n>`` in the one given.

    Raises:
        RuntimeError: If the run fails; the message ends with what it printed.
    """
    printed = io.StringIO()
    command = [
        *("fit", "--config", str(ROOT / "configs" / "optim" / f"{name}_airfoil.yaml")),
        *("--trainer.default_root_dir", str(folder), "--trainer.accelerator", "cpu"),
        *("--trainer.callbacks+=benchmarks.optim.TrainingLoss", *flags),
    ]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run_cli(command)
    if code != 0:
        raise RuntimeError(f"{name} failed\n{printed.getvalue()[-2000:]}")
    newest = max(folder.glob(f"{name}_airfoil/version_*/training_loss.json"), key=lambda p: p.stat().st_mtime)
    return Curve(**json.loads(newest.read_text()))


def format_losses(curves: Mapping[str, Curve]) -> str:
    """A Markdown table of the last losses beside the book's."""
    rows = [
        ("configuration", "epochs", "loss", "book", f"within {TOLERANCE}", "s in steps"),
        ("---",) * 6,
    ]
    for name, curve in curves.items():
        loss, book = curve.losses[-1], BOOK[name]
        verdict = "yes" if abs(loss - book) <= TOLERANCE else f"NO ({loss - book:+.4f})"
        epochs, seconds = f"{curve.epochs[-1]:g}", f"{curve.seconds[-1]:.2f}"
        rows.append((name, epochs, f"{loss:.4f}", f"{book:.3f}", verdict, seconds))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw_curves(curves: Mapping[str, Curve]) -> "Figure":
    """Loss against epochs and against seconds in training steps, one colour for each configuration."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 5.5), layout="constrained")
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    colors = [to_hex(color) for color in colormaps["tab20"](range(20))]
    for i, (name, curve) in enumerate(curves.items()):
        style = {"linestyle": "-" if name.endswith("_scratch") else "--", "color": colors[i % len(colors)]}
        by_epoch.plot(curve.epochs, curve.losses, label=name, **style)
        by_time.plot(curve.seconds[1:], curve.losses[1:], **style)  # no time has passed at the start
    by_epoch.set(xlabel="epoch", ylabel="loss on the training rows", ylim=(0.24, 0.35))
    by_time.set(xlabel="seconds in training steps", xscale="log")
    figure.legend(*by_epoch.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure


def main() -> None:
    """Train, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description="Optimizers of chapter 12 on the noise of airfoils.")
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="folder of the datasets")
    parser.add_argument("--only", nargs="+", choices=list(BOOK), default=list(BOOK), metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("optim"), help="folder for runs and picture")
    given = parser.parse_args()
    os.environ["ZOO_DATA_DIR"] = str(given.data)
    curves = {}
    for name in given.only:
        print(f"{name} ...", flush=True)
        curves[name] = train(name, folder=given.output)
    print(format_losses(curves))
    picture = given.output / "optim.png"
    draw_curves(curves).savefig(picture, dpi=120)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
