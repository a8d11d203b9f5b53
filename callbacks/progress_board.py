"""The book's live plot: curves that grow while a network learns (section 3.2.1)."""

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L

from callbacks._files import may_write, run_dir
from callbacks._pictures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ProgressBoard"]

SECONDS_BETWEEN_PICTURES = 0.5


class ProgressBoard(L.Callback):
    """Plots points as they come (the book's ``ProgressBoard``), by hand or as a callback of the Trainer.

    In a notebook the picture is shown and updated in place; elsewhere it is a PNG file that is written anew,
    ``progress.png`` in the folder of the run. As a callback it draws the training loss and every validation
    metric against epochs, as the book's ``Module.plot`` does.

    Args:
        xlabel: Label of the horizontal axis.
        ylabel: Label of the vertical axis.
        xlim: Limits of the horizontal axis; None fits the points.
        ylim: Limits of the vertical axis; None fits the points.
        xscale: ``linear`` or ``log``.
        yscale: ``linear`` or ``log``.
        ls: Line styles, in the order in which labels appear.
        colors: Colours, in the same order.
        figsize: Width and height in inches.
        display: Whether to draw; without it points are only collected.
        path: The PNG file. As a callback, None means ``progress.png`` in the folder of the run.
        every_n_steps: As a callback, training steps from one point to the next; reading a loss waits for the
            device.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        xlim: tuple[float, float] | None = None,
        ylim: tuple[float, float] | None = None,
        xscale: str = "linear",
        yscale: str = "linear",
        ls: Sequence[str] = ("-", "--", "-.", ":"),
        colors: Sequence[str] = ("C0", "C1", "C2", "C3"),
        figsize: tuple[float, float] = (4.5, 3.0),
        *,
        display: bool = True,
        path: str | Path | None = None,
        every_n_steps: int = 10,
    ) -> None:
        if not every_n_steps >= 1:
            raise ValueError(f"every_n_steps is {every_n_steps!r}, but must be at least 1")
        self.xlabel, self.ylabel = xlabel, ylabel
        self.xlim, self.ylim = xlim, ylim
        self.xscale, self.yscale = xscale, yscale
        self.ls, self.colors = ls, colors
        self.figsize = figsize
        self.display = display
        self.path = None if path is None else Path(path)
        self.every_n_steps = every_n_steps
        self.lines: dict[str, list[tuple[float, float]]] = {}
        self._waiting: dict[str, list[tuple[float, float]]] = {}
        self._drawn_at = 0.0
        self._handle: Any = None

    # By hand

    def draw(self, x: float, y: float, label: str, every_n: int = 1) -> None:
        """Add a point to a line.

        Args:
            x: Where.
            y: How much; a tensor of one element is read.
            label: Name of the line.
            every_n: The line gets the mean of each n points (smoother, and less to draw).
        """
        waiting = self._waiting.setdefault(label, [])
        waiting.append((float(x), float(y)))
        if len(waiting) < every_n:
            return
        self._waiting[label] = []
        n = len(waiting)
        mean = (sum(x for x, _ in waiting) / n, sum(y for _, y in waiting) / n)
        self.lines.setdefault(label, []).append(mean)
        if time.monotonic() - self._drawn_at > SECONDS_BETWEEN_PICTURES:
            self.show()

    def show(self) -> None:
        """Draw all points now; :meth:`draw` does so at most twice a second, so end with this."""
        if not self.display or not self.lines:
            return
        if in_notebook():
            self._update_cell()
        else:
            save_figure(self.figure(), self.path or Path("progress.png"))
        self._drawn_at = time.monotonic()

    def figure(self) -> "Figure":
        """The picture."""
        figure = new_figure(*self.figsize)
        axes = figure.subplots()
        for i, (label, points) in enumerate(self.lines.items()):
            axes.plot(
                *zip(*points, strict=True),
                label=label,
                linestyle=self.ls[i % len(self.ls)],
                color=self.colors[i % len(self.colors)],
                marker="." if len(points) == 1 else None,  # a single point has no line
            )
        axes.set(xlabel=self.xlabel, ylabel=self.ylabel, xscale=self.xscale, yscale=self.yscale)
        if self.xlim:
            axes.set_xlim(*self.xlim)
        if self.ylim:
            axes.set_ylim(*self.ylim)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.25, linewidth=0.6)
        return figure

    def _update_cell(self) -> None:
        picture = self.figure()
        if self._handle is None:
            show = importlib.import_module("IPython.display").display
            self._handle = show(picture, display_id=True)
        else:
            self._handle.update(picture)

    # As a callback

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start an empty board with the epochs as its horizontal axis."""
        self.lines, self._waiting, self._handle = {}, {}, None
        self.xlabel = self.xlabel or "epoch"
        if self.xlim is None and trainer.max_epochs is not None and trainer.max_epochs > 0:
            self.xlim = (0, trainer.max_epochs)
        if self.path is None:
            self.path = run_dir(trainer) / "progress.png"
        self.display = self.display and may_write(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw the loss of this step."""
        if self.display and trainer.global_step % self.every_n_steps == 0 and isinstance(outputs, dict):
            epoch = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
            self.draw(epoch, outputs["loss"], "train/loss")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the validation metrics."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            for name, value in trainer.callback_metrics.items():
                if name.startswith("val/"):
                    self.draw(trainer.current_epoch + 1, float(value), name)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw what has come since the last picture."""
        self.show()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (a terminal's IPython shows no pictures)."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
