"""Pictures of a study: its history, all learning curves, the Pareto front; and those of its parameters."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.distributions import BaseDistribution

from callbacks._pictures import new_figure, save_figure
from search._panels import (
    BEST,
    COLORS,
    MARKERS,
    described,
    finish,
    is_worse,
    legend_beside,
    say,
    scale_values,
    spreads,
    whole_numbers,
    worst_shown,
)
from search.dimensions import dimensions
from search.importance import importances
from search.leaderboard import Entry, best_entry, ranking, resource_of
from search.names import format_objective
from search.objectives import Objective
from search.parameter_pictures import draw_importances, draw_parallel
from search.trials import TrialView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_all", "draw_curves", "draw_history", "draw_pareto"]


def draw_all(
    folder: Path,
    views: Sequence[TrialView],
    objectives: Sequence[Objective],
    *,
    title: str,
    distributions: Mapping[str, BaseDistribution],
    rungs: Sequence[int] = (),
    unit: str = "epoch",
) -> tuple[list[Path], list[str]]:
    """Draw all pictures of a study: ``history``, ``curves``, ``importances`` and ``parallel``, as PNG files.

    There are no ``importances`` where they would be no more than a sentence.

    Args:
        folder: Where they go; each file is replaced in one step.
        views: The trials of the study.
        objectives: Its objectives. With several, ``pareto.png`` is drawn too.
        title: Name of the study.
        distributions: Optuna's distributions by a parameter's name in the study.
        rungs: Resources at which trials are pruned or paused.
        unit: What a curve counts: ``epoch`` or ``fold``.

    Returns:
        The files, and why a picture is missing: at most one sentence.

    Raises:
        OSError: If a file cannot be written.
    """
    axes = dimensions(views, distributions)
    found = [importances(views, axes, i) for i in range(len(objectives))]
    reasons = [reason for reason in found if isinstance(reason, str)]
    pictures: dict[str, Callable[[], Figure]] = {
        "history": lambda: draw_history(views, objectives, title),
        "curves": lambda: draw_curves(views, objectives, title, rungs, unit),
        "importances": lambda: draw_importances(found, objectives, title),
        "parallel": lambda: draw_parallel(views, objectives, title, axes),
    }
    missing = []
    if len(reasons) == len(found):
        del pictures["importances"]
        (folder / "importances.png").unlink(missing_ok=True)
        missing = reasons[:1]
    if len(objectives) > 1:
        pictures["pareto"] = lambda: draw_pareto(views, objectives, title)
    paths = []
    for name, draw in pictures.items():
        paths.append(folder / f"{name}.png")
        save_figure(draw(), paths[-1])
    return paths, missing


def draw_history(views: Sequence[TrialView], objectives: Sequence[Objective], title: str) -> "Figure":
    """Each trial's value, and the best of the complete ones so far, by the trials' numbers.

    Trials without a number as their value are marked at the lower edge, values far off at the edge they left.
    """
    figure = new_figure(9.5, 0.8 + 3.2 * len(objectives))
    panels = figure.subplots(len(objectives), 1, squeeze=False, sharex=True)[:, 0]
    entries = sorted(ranking(views, objectives), key=lambda entry: entry.view.number)
    for i, (objective, axes) in enumerate(zip(objectives, panels, strict=True)):
        _draw_history(axes, entries, objective, i)
    panels[-1].set_xlabel("trial")
    finish(figure, title)
    return figure


def _draw_history(axes: "Axes", entries: Sequence[Entry], objective: Objective, i: int) -> None:
    shown = [(e.view, v) for e in entries if (v := e.values[i]) is not None and math.isfinite(v)]
    shown = [(view, value) for view, value in shown if view.state != "failed"]
    limit = worst_shown([value for _, value in shown], objective)
    far = [view for view, value in shown if is_worse(value, limit, objective)]
    scale_values(axes, [value for _, value in shown if not is_worse(value, limit, objective)], objective)
    for state, color in COLORS.items():
        points = [(v.number, value) for v, value in shown if v.state == state and v not in far]
        if points:
            label = f"{state} ({len(points)})" + ("" if state == "complete" else ": last value")
            x, y = zip(*points, strict=True)
            axes.scatter(
                x, y, s=26, marker=MARKERS[state], color=color, label=label, linewidths=1.1, zorder=2
            )
    lost = [e.view for e in entries if e.view.state == "failed" or _no_number(e.values[i])]
    bad_edge = 0.98 if objective.direction == "minimize" else 0.02
    _mark_edge(axes, far, bad_edge, "^" if bad_edge > 0.5 else "v", "0.5", "worse than the axis shows")
    _mark_edge(axes, lost, 0.02, MARKERS["failed"], COLORS["failed"], "failed, or not a number")
    best = _best_so_far(entries, objective, i)
    if best:
        numbers = [*(number for number, _ in best), max(entry.view.number for entry in entries)]
        values = [*(value for _, value in best), best[-1][1]]
        label = f"best so far:\n{format_objective(best[-1][1])}, trial {best[-1][0]}"
        axes.step(numbers, values, where="post", color=BEST, linewidth=1.8, label=label, zorder=1.5)
    whole_numbers(axes, 0, max((entry.view.number for entry in entries), default=0))
    if not shown and not lost:
        say(axes, "No trial has a value yet.")
    legend_beside(axes)


def _mark_edge(
    axes: "Axes", views: Sequence[TrialView], height: float, marker: str, color: str, label: str
) -> None:
    """Marks at an edge of the panel, whatever the values are."""
    if views:
        transform = axes.get_xaxis_transform()
        numbers, heights, label = [v.number for v in views], [height] * len(views), f"{label} ({len(views)})"
        axes.scatter(
            numbers, heights, s=32, marker=marker, color=color, label=label, transform=transform, zorder=3
        )


def _best_so_far(entries: Sequence[Entry], objective: Objective, i: int) -> list[tuple[int, float]]:
    """Number and value of each complete trial that was better than all before."""
    best: list[tuple[int, float]] = []
    for entry in entries:
        value = entry.values[i]
        if entry.view.state != "complete" or value is None or not math.isfinite(value):
            continue
        if not best or is_worse(best[-1][1], value, objective):
            best.append((entry.view.number, value))
    return best


def draw_curves(
    views: Sequence[TrialView],
    objectives: Sequence[Objective],
    title: str,
    rungs: Sequence[int] = (),
    unit: str = "epoch",
) -> "Figure":
    """The first objective of all trials against epochs or folds, with a mark for how each ended."""
    objective = objectives[0]
    figure = new_figure(9.5, 4.6)
    axes = figure.subplots()
    best = best_entry(ranking(views, objectives))
    drawn = [view for view in views if any(map(math.isfinite, view.curve.values()))]
    for k, rung in enumerate(sorted(set(rungs)) if drawn else []):
        label = f"rungs ({', '.join(map(str, sorted(set(rungs))))})" if k == 0 else None
        axes.axvline(rung, color="0.6", linewidth=0.9, linestyle=":", zorder=0, label=label)
    for state, color in COLORS.items():
        of_state = [view for view in drawn if view.state == state]
        for k, view in enumerate(of_state):
            steps, values = _points(view)
            last = max(at for at, value in enumerate(values) if math.isfinite(value))
            axes.plot(
                steps, values, color=color, linewidth=0.9, alpha=0.6 if len(drawn) > 8 else 0.9,
                marker=MARKERS[state], markersize=5, markevery=[last],
                linestyle="--" if state == "paused" else "-", zorder=2 if state == "complete" else 1.5,
                label=f"{state} ({len(of_state)})" if k == 0 else None,
            )  # fmt: skip
    if best is not None and best.view in drawn:
        label = f"best: {format_objective(best.values[0])},\ntrial {best.view.number}, {best.view.state}"
        x, y = _points(best.view)
        axes.plot(x, y, color=BEST, linewidth=2.4, label=label, zorder=3, marker="o", markersize=4)
    peaks = {
        view.number: min(filter(math.isfinite, view.curve.values()), key=objective.loss) for view in drawn
    }
    limit = worst_shown(list(peaks.values()), objective)
    near = [view for view in drawn if not is_worse(peaks[view.number], limit, objective)]
    scale_values(axes, [v for view in near for v in view.curve.values() if math.isfinite(v)], objective)
    if len(near) < len(drawn):
        axes.plot([], linestyle="none", label=f"worse than the axis\nshows ({len(drawn) - len(near)})")
    axes.set_xlabel(unit)
    whole_numbers(axes, 1, max([1, *rungs, *(resource_of(view) for view in drawn)]))
    if not drawn:
        say(axes, "No trial has a value yet.")
    legend_beside(axes)
    finish(figure, title)
    return figure


def draw_pareto(views: Sequence[TrialView], objectives: Sequence[Objective], title: str) -> "Figure":
    """Complete trials by their objectives, the first upwards against each other; the front has numbers."""
    figure = new_figure(1.8 + 6.0 * (len(objectives) - 1), 4.6)
    panels = figure.subplots(1, len(objectives) - 1, squeeze=False)[0]
    entries = [entry for entry in ranking(views, objectives) if entry.rank is not None]
    for i, axes in enumerate(panels, start=1):
        points = [(entry.values[i] or 0.0, entry.values[0] or 0.0, entry) for entry in entries]
        front = sorted((point for point in points if point[2].rank == 1), key=lambda point: point[0])
        others = [point for point in points if point[2].rank != 1]
        if others:
            xs, ys, _ = zip(*others, strict=True)
            axes.scatter(xs, ys, s=26, color=COLORS["complete"], alpha=0.6, label=f"others ({len(others)})")
        if front:
            xs, ys, _ = zip(*front, strict=True)
            axes.scatter(
                xs, ys, s=46, color=BEST, edgecolors="black", linewidths=0.6, zorder=3,
                label=f"Pareto front ({len(front)}),\nwith trial numbers",
            )  # fmt: skip
            if len(objectives) == 2:
                # Between two of its points the front has the worse of both in each objective.
                where = "post" if objectives[1].direction == "minimize" else "pre"
                axes.step(xs, ys, where=where, color=BEST, linewidth=1.2, zorder=2)
        for at_x, at_y, entry in front:
            axes.annotate(
                str(entry.view.number), (at_x, at_y), (4, 4), fontsize=8, textcoords="offset points"
            )
        if spreads([x for x, _, _ in points]):
            axes.set_xscale("log")
        scale_values(axes, [y for _, y, _ in points], objectives[0])
        axes.set_xlabel(described(objectives[i]))
        if not points:
            say(axes, "No trial is complete yet.")
    legend_beside(panels[-1])
    finish(figure, title)
    return figure


def _points(view: TrialView) -> tuple[list[int], list[float]]:
    steps = sorted(view.curve)
    return steps, [view.curve[step] if math.isfinite(view.curve[step]) else math.nan for step in steps]


def _no_number(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)
