"""``curves.png``: loss, accuracy and the like over the epochs, drawn from ``metrics.csv``."""

import time
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import numpy.typing as npt

from callbacks._files import may_write, run_dir, run_title
from callbacks._pictures import new_figure, save_figure
from callbacks.metrics_csv import MetricsCSV, Row, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curves", "draw_curves"]

Array = npt.NDArray[np.float64]

SECONDS_BETWEEN_PICTURES = 30.0
MAX_METRICS = 3
TITLES = {"acc": "accuracy"}
HIGHER_IS_BETTER = ("acc", "bleu", "map", "iou", "auc", "f1")


def last_run(rows: list[Row]) -> list[Row]:
    """The rows since the step last went back, where a run was started anew in the same folder."""
    start = 0
    for i in range(1, len(rows)):
        if rows[i]["step"] < rows[i - 1]["step"]:
            start = i
    return rows[start:]


def metrics_to_draw(rows: list[Row]) -> list[str]:
    """Names without ``train/`` and ``val/``: the loss, then others that were validated, at most three in all.

    A metric that equals the loss, or only varies one that is drawn (``acc_top5``), adds nothing.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    names = ["loss"] if any(c in columns for c in ("train/loss", "val/loss", "train/loss_step")) else []
    losses = {stage: _series(rows, f"{stage}/loss")[1] for stage in ("train", "val")}
    for name in (c.removeprefix("val/") for c in columns if c.startswith("val/")):
        if any(name == drawn or name.startswith(f"{drawn}_") for drawn in names):
            continue
        if all(np.array_equal(_series(rows, f"{stage}/{name}")[1], losses[stage]) for stage in losses):
            continue
        names.append(name)
    return names[:MAX_METRICS]


def _series(rows: list[Row], name: str) -> tuple[Array, Array]:
    points = [(row["step"], row[name]) for row in rows if name in row]
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    return steps, values


def _epochs_of(rows: list[Row], steps: Array) -> Array | None:
    """Steps as (fractions of) epochs; None when no epoch has ended yet."""
    ends = [(row["step"], row["epoch"] + 1) for row in rows if "train/loss" in row and "epoch" in row]
    if not ends:
        return None
    at, epochs = np.array([(0.0, 0.0), *ends], dtype=np.float64).T
    beyond = epochs[-1] * steps / at[-1]
    inside: Array = np.interp(steps, at, epochs)
    return np.where(steps > at[-1], beyond, inside)


def draw_curves(rows: list[Row], title: str = "") -> "Figure | None":
    """A figure with a panel for each metric and one for the learning rate where it varies.

    Args:
        rows: What :func:`~callbacks.metrics_csv.read_metrics` gives.
        title: Name of the run.

    Returns:
        The figure; None when there is nothing to draw.
    """
    rows = last_run(rows)
    names = metrics_to_draw(rows)
    if not names:
        return None
    rates = _series(rows, "lr")[1]
    with_rate = len(rates) > 1 and bool(np.ptp(rates) > 1e-9 * np.abs(rates).max())
    widths = [3.0] * len(names) + [2.0] * with_rate
    figure = new_figure(1.35 * sum(widths) + 0.4, 3.5)
    panels = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    # A last panel may hold the learning rate.
    for axes, name in zip(panels[: len(names)], names, strict=True):
        _draw_metric(axes, rows, name)
    if with_rate:
        x, label = _x(rows, "lr")
        panels[-1].plot(x, rates, color="tab:green", linewidth=1.2)
        panels[-1].set(title="learning rate", xlabel=label)
        panels[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    for axes in panels:
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _x(rows: list[Row], name: str) -> tuple[Array, str]:
    steps = _series(rows, name)[0]
    epochs = _epochs_of(rows, steps)
    return (steps, "step") if epochs is None else (epochs, "epoch")


def _draw_metric(axes: "Axes", rows: list[Row], name: str) -> None:
    epoch_values: list[float] = []
    x_label = "epoch"
    lines: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (f"train/{name}_step", "train, recent steps", {"color": "tab:blue", "alpha": 0.35, "linewidth": 0.8}),
        (f"train/{name}", "train", {"color": "tab:blue", "linewidth": 1.6}),
        (f"val/{name}", "validation", {"color": "tab:orange", "linewidth": 1.6}),
    )
    for column, label, style in lines:
        values = _series(rows, column)[1]
        if not len(values):
            continue
        x, x_label = _x(rows, column)
        if column == f"val/{name}" and np.isfinite(values).any():
            higher = name.lower().startswith(HIGHER_IS_BETTER)
            best = int(np.nanargmax(values) if higher else np.nanargmin(values))
            label = f"validation, best {values[best]:.4g}"
            axes.plot(x[best], values[best], marker="o", markersize=5, color="tab:orange")
        if not column.endswith("_step"):
            epoch_values += values[np.isfinite(values)].tolist()
        # A single point has no line.
        axes.plot(x, values, label=label, marker="." if len(values) == 1 else None, **style)
    log_scale = bool(epoch_values) and min(epoch_values) > 0 and max(epoch_values) > 30 * min(epoch_values)
    if log_scale:
        axes.set_yscale("log")
    axes.set(
        title=f"{TITLES.get(name, name)} (log scale)" if log_scale else TITLES.get(name, name), xlabel=x_label
    )
    axes.legend(fontsize=8, frameon=False)


class Curves(L.Callback):
    """Draws ``curves.png`` from ``metrics.csv`` at the end of training, and at most every 30 s during it."""

    def __init__(self) -> None:
        self._drawn_at = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._drawn_at = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the epochs that have ended, if the picture is old."""
        self._draw_if_old(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw within long epochs too, if the picture is old."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._draw_if_old(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the whole run."""
        self._draw(trainer)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Draw a run as far as it came."""
        if trainer.state.fn == "fit":
            self._draw(trainer)

    def _draw_if_old(self, trainer: L.Trainer) -> None:
        if time.monotonic() - self._drawn_at > SECONDS_BETWEEN_PICTURES:
            self._draw(trainer)

    def _draw(self, trainer: L.Trainer) -> None:
        if not may_write(trainer):
            return
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.flush()
        folder = run_dir(trainer)
        figure = draw_curves(read_metrics(folder / "metrics.csv"), title=run_title(folder))
        if figure is not None:
            save_figure(figure, folder / "curves.png")
        self._drawn_at = time.monotonic()
