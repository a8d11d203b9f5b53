"""Pictures of a study's parameters: how much each matters, and which values went with which result."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from callbacks._pictures import new_figure
from search._panels import BEST, finish, is_worse, say, spreads, worst_shown
from search.dimensions import Dimension, values_by_path
from search.importance import Importances
from search.leaderboard import ranking
from search.names import format_objective
from search.objectives import Objective
from search.trials import TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_importances", "draw_parallel"]

NOT_SET = -0.14
"""Where a line passes the axis of a parameter that its trial does not have."""
MAX_LABEL = 18
ROOM_OF_LABEL = 0.06
"""Height of a label, as a part of an axis."""


def draw_importances(
    found_of_all: Sequence[Importances | str], objectives: Sequence[Objective], title: str
) -> "Figure":
    """Shares of the parameters, a panel for each objective; or a sentence that says why there are none.

    Args:
        found_of_all: What :func:`search.importance.importances` found for each objective.
        objectives: The objectives.
        title: Name of the study.
    """
    shares = [len(found.shares) for found in found_of_all if isinstance(found, Importances)]
    figure = new_figure(8.0, 0.4 + (1.1 + 0.34 * max([2, *shares])) * len(objectives))
    panels = figure.subplots(len(objectives), 1, squeeze=False)[:, 0]
    for objective, axes, found in zip(objectives, panels, found_of_all, strict=True):
        heading = f"what matters for {objective.name}"
        if isinstance(found, str):
            say(axes, found)
        else:
            _draw_importances(axes, found)
            few = ": few, so a rough guess" if found.trials < 5 * len(found.shares) else ""
            heading += f" ({found.method}, {found.trials} complete trials{few})"
        axes.set_title(heading, fontsize=10)
    finish(figure, title)
    return figure


def _draw_importances(axes: "Axes", found: Importances) -> None:
    names = list(found.shares)[::-1]
    bars = axes.barh(names, [found.shares[name] for name in names], color="tab:blue", height=0.65)
    axes.bar_label(bars, [f"{found.shares[name]:.0%}" for name in names], padding=3, fontsize=9)
    label = "share of the variance"
    if found.left_out:
        label += f" (left out, as not in every trial: {', '.join(found.left_out)})"
    axes.set(xlabel=label, xlim=(0, 1.1 * max(found.shares.values())))
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def draw_parallel(
    views: Sequence[TrialView], objectives: Sequence[Objective], title: str, dimensions: Sequence[Dimension]
) -> "Figure":
    """A line for each trial across the axes of its parameters to its value; the darker, the better.

    The best value is on top of the last axis. Trials that are not complete are grey and end before it. A
    trial without one of the parameters passes below that axis.
    """
    objective = objectives[0]
    figure = new_figure(min(max(2.5 + 1.6 * len(dimensions), 6.0), 20.0), 4.6)
    axes = figure.subplots()
    lines = {view.number: _line(view, dimensions) for view in views}
    complete = {e.view.number: e.values[0] for e in ranking(views, objectives) if e.rank is not None}
    values = {number: value for number, value in complete.items() if value is not None}
    grey = [view for view in views if view.number not in values]
    for k, view in enumerate(grey):
        label = f"not complete ({len(grey)})" if k == 0 else None
        axes.plot(lines[view.number], color="0.8", linewidth=0.7, zorder=1, label=label)
    for x, dimension in enumerate(dimensions):
        absent = any(line[x] == NOT_SET for line in lines.values())
        _draw_axis(axes, x, dimension.ticks() + ([(NOT_SET, "not set")] if absent else []))
    names = [dimension.name for dimension in dimensions]
    if values:
        _draw_values(axes, values, lines, objective)
        names.append(f"{objective.name}\n(best on top)")
    axes.set_xticks(range(len(names)), names, rotation=15 if len(names) > 9 else 0)
    axes.tick_params(axis="x", length=0, labelsize=10, labelbottom=False, labeltop=True)
    axes.set_yticks([])
    if views:
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
    else:
        say(axes, "No trial has started yet.")
    finish(figure, title)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    return figure


def _line(view: TrialView, dimensions: Sequence[Dimension]) -> list[float]:
    values = values_by_path(view)
    return [d.position(values[d.path]) if d.path in values else NOT_SET for d in dimensions]


def _draw_values(
    axes: "Axes", values: Mapping[int, float], lines: Mapping[int, list[float]], objective: Objective
) -> None:
    """Lines of complete trials, the best last and so above the others, and the axis of their values."""
    from matplotlib import colormaps

    worst_first = sorted(values, key=lambda number: (objective.loss(values[number]), number), reverse=True)
    best = values[worst_first[-1]]
    worst = worst_shown(list(values.values()), objective)
    assert worst is not None
    shown = [value for value in values.values() if not is_worse(value, worst, objective)]
    scale = Dimension("", objective.name, min(best, worst), max(best, worst), log=spreads(shown))

    def height(value: float) -> float:
        if is_worse(value, worst, objective):
            return NOT_SET
        return scale.position(value) if objective.direction == "maximize" else 1 - scale.position(value)

    for k, number in enumerate(worst_first):
        # By rank: by value, one bad trial would give all others the same colour.
        color = colormaps["viridis_r"](k / max(len(worst_first) - 1, 1))
        label = f"complete ({len(values)}), the darker the better" if k == len(worst_first) // 2 else None
        heights = [*lines[number], height(values[number])]
        axes.plot(heights, color=color, linewidth=1.0, alpha=0.75, zorder=2, label=label)
    label = f"best: {format_objective(best)}, trial {worst_first[-1]}"
    axes.plot([*lines[worst_first[-1]], height(best)], color=BEST, linewidth=2.4, zorder=3, label=label)
    ends = {height(value): format_objective(value) for value in (best, worst)}
    ticks = list(ends.items())
    for value, text in scale.round_values():
        if all(abs(height(value) - end) > ROOM_OF_LABEL for end in ends):
            ticks.append((height(value), text))
    if len(shown) < len(values):
        ticks.append((NOT_SET, "worse"))
    _draw_axis(axes, len(lines[worst_first[-1]]), ticks)


def _draw_axis(axes: "Axes", x: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([x, x], [0, 1], color="0.2", linewidth=1.0, zorder=4)
    for position, text in ticks:
        axes.plot([x, x + 0.02], [position, position], color="0.2", linewidth=1.0, zorder=4)
        axes.text(
            x + 0.035, position, text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…",
            fontsize=8, va="center", zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},  # lines pass behind
        )  # fmt: skip
