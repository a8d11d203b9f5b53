"""What the pictures of a study share: colours, scales that a few bad trials do not spoil, legends, titles."""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.objectives import Objective
from search.trials import TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST = "tab:orange"
COLORS: dict[TrialState, str] = {
    "complete": "tab:blue",
    "pruned": "0.5",
    "paused": "tab:purple",
    "running": "tab:green",
    "failed": "tab:red",
}
MARKERS: dict[TrialState, str] = {
    "complete": "o",
    "pruned": "x",
    "paused": "s",
    "running": ">",
    "failed": "X",
}
"""At the end of a trial's curve, or where its newest value is."""
FAR = 8.0
"""How many times further from the best than the median a value may lie and still be shown in its place."""
FEW = 8
"""Fewer values than this are all shown in their places."""


def spreads(values: Sequence[float]) -> bool:
    """Whether values fill a logarithmic axis better."""
    return bool(values) and min(values) > 0 and max(values) > 30 * min(values)


def worst_shown(values: Sequence[float], objective: Objective) -> float | None:
    """Where an axis ends so that a few trials that went astray do not press all others together.

    Args:
        values: Finite ones.
        objective: What they are.

    Returns:
        The worst of the values that are shown in their place; None if there are no values.
    """
    if not values:
        return None
    scale = math.log if spreads(values) else float
    losses = {value: objective.loss(scale(value)) for value in values}
    best, median = min(losses.values()), statistics.median(objective.loss(scale(value)) for value in values)
    if len(values) < FEW or median == best:
        return max(values, key=objective.loss)
    return max((v for v, loss in losses.items() if loss <= best + FAR * (median - best)), key=objective.loss)


def is_worse(value: float, limit: float | None, objective: Objective) -> bool:
    """Whether a value lies beyond a limit."""
    return limit is not None and objective.loss(value) > objective.loss(limit)


def scale_values(axes: "Axes", values: Sequence[float], objective: Objective) -> None:
    """Scale and name the axis of an objective's values.

    Args:
        axes: The panel; the objective goes up.
        values: Finite ones that it has to show.
        objective: What they are.
    """
    axes.set_ylabel(described(objective))
    if not values:
        return
    low, high = min(values), max(values)
    if spreads(values):
        axes.set_yscale("log")
        margin = (high / low) ** 0.05
        axes.set_ylim(low / margin, high * margin)
    else:
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)


def described(objective: Objective) -> str:
    """Name of an axis."""
    return f"{objective.name} ({'higher' if objective.direction == 'maximize' else 'lower'} is better)"


def whole_numbers(axes: "Axes", first: int, last: int) -> None:
    """Let the horizontal axis go over these whole numbers."""
    margin = max(0.3, 0.02 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def say(axes: "Axes", sentence: str) -> None:
    """A sentence in place of a panel."""
    axes.text(
        0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", fontsize=11, color="0.3"
    )
    axes.set_axis_off()


def legend_beside(axes: "Axes") -> None:
    """A legend to the right of the panel, where it covers nothing; none if there is nothing to explain."""
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)


def finish(figure: "Figure", title: str) -> None:
    """Title, grid and frames."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    figure.suptitle(title, fontsize=11)
