"""The leaderboard of a study: its trials from best to worst, as a table on a terminal and as a CSV file."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from callbacks._files import write_atomically
from search.names import format_objective, readable_parameters
from search.objectives import Objective
from search.space import path_of
from search.trials import TrialView

__all__ = ["Entry", "best_entry", "format_leaderboard", "ranking", "write_leaderboard"]

FILE_NAME = "leaderboard.csv"
MAX_ROWS = 10
NUMBER = r"-|-?inf|nan|-?[\d.,]+(e[+-]\d+)?\*?"
MAX_CELL = 28
"""Characters of a cell on a terminal; what is longer is cut, and whole in the file."""


@dataclass(frozen=True)
class Entry:
    """A trial's place in its study.

    Attributes:
        rank: From 1 on, equal values sharing one. With several objectives 1 is the Pareto front, 2 the front
            of what remains without it, and so on. None unless the trial is complete with finite values.
        view: The trial.
        values: For each objective the final value. Of a trial that is not complete, the newest value of the
            first objective; None for what is not known.
    """

    rank: int | None
    view: TrialView
    values: tuple[float | None, ...]


def ranking(views: Sequence[TrialView], objectives: Sequence[Objective]) -> list[Entry]:
    """All trials, best first.

    Complete ones come first, by value; then pruned, paused and running ones, which went furthest first and
    equally far ones by their newest value; then failed ones. Ties go by number.

    Args:
        views: The trials of a study in any order.
        objectives: One, or several: then Pareto fronts take the place of values, each front by its first
            objective.
    """
    first = objectives[0]
    complete: list[tuple[tuple[float, ...], Entry]] = []
    diverged, unfinished, failed = [], [], []
    for view in sorted(views, key=lambda view: view.number):
        entry = Entry(None, view, _values_so_far(view, objectives))
        if view.state == "failed":
            failed.append(entry)
        elif view.state != "complete":
            newest = math.inf if entry.values[0] is None else first.loss(entry.values[0])
            unfinished.append(((-resource_of(view), newest), entry))
        elif (losses := _losses(view, objectives)) is not None:
            complete.append((losses, entry))
        else:
            diverged.append(entry)
    numbers = (_places if len(objectives) == 1 else fronts)([losses for losses, _ in complete])
    ranked = [
        (number, losses, replace(entry, rank=number))
        for number, (losses, entry) in zip(numbers, complete, strict=True)
    ]
    # Sorting is stable, so ties stay in the order of numbers.
    ranked.sort(key=lambda row: row[:2])
    unfinished.sort(key=lambda row: row[0])
    return [*(row[-1] for row in ranked), *diverged, *(row[-1] for row in unfinished), *failed]


def best_entry(entries: Sequence[Entry]) -> Entry | None:
    """The first of a ranking with a value; before any trial is complete, the one that went furthest."""
    for entry in entries:
        if entry.view.state != "failed" and entry.values[0] is not None and math.isfinite(entry.values[0]):
            return entry
    return None


def fronts(losses: Sequence[tuple[float, ...]]) -> list[int]:
    """The number of each point's Pareto front, 1 for points that no other dominates.

    Args:
        losses: Points of equal length; lower is better in each coordinate. One dominates another if it is
            nowhere higher and somewhere lower.
    """
    points = np.array(losses, dtype=float).reshape(len(losses), len(losses[0]) if losses else 0)
    no_worse = np.all(points[:, None] <= points[None], axis=-1)
    dominates = no_worse & np.any(points[:, None] < points[None], axis=-1)
    dominators = dominates.sum(axis=0)
    numbers = np.zeros(len(points), dtype=int)
    front = 1
    while (numbers == 0).any():
        members = (numbers == 0) & (dominators == 0)
        numbers[members] = front
        dominators -= dominates[members].sum(axis=0)
        front += 1
    return [int(number) for number in numbers]


def _places(losses: Sequence[tuple[float, ...]]) -> list[int]:
    places: dict[tuple[float, ...], int] = {}
    for place, own in enumerate(sorted(losses), start=1):
        places.setdefault(own, place)
    return [places[own] for own in losses]


def _losses(view: TrialView, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """The final values as losses; None where one is no number, however good the trial is in the others."""
    if view.values is None or not all(map(math.isfinite, view.values)):
        return None
    return tuple(o.loss(value) for o, value in zip(objectives, view.values, strict=True))


def _values_so_far(view: TrialView, objectives: Sequence[Objective]) -> tuple[float | None, ...]:
    return view.values or (newest_of(view), *[None] * (len(objectives) - 1))


def resource_of(view: TrialView) -> int:
    """Epochs or folds that a trial has done."""
    return max(view.curve, default=0)


def newest_of(view: TrialView) -> float | None:
    """The newest value of a trial's curve; None before the first."""
    return view.curve[resource_of(view)] if view.curve else None


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def format_leaderboard(
    views: Sequence[TrialView],
    objectives: Sequence[Objective],
    *,
    unit: str = "epoch",
    width: int | None = None,
) -> str:
    """The best trials as a table for a terminal.

    Args:
        views: The trials of a study.
        objectives: Its objectives.
        unit: What a curve counts: ``epoch`` or ``fold``.
        width: Columns of the terminal; parameters that find no room are named below the table. None: any.

    Returns:
        Lines without an end of line at the last one: header, at most ten trials, and what was left out.
    """
    if not views:
        return "no trials yet"
    entries = ranking(views, objectives)
    shown = entries[:MAX_ROWS]
    parameters = dict(zip((view.number for view in views), readable_parameters(views), strict=True))
    rows = [parameters[entry.view.number] for entry in shown]
    names = list(dict.fromkeys(name for row in parameters.values() for name in row))
    several = len(objectives) > 1
    columns = [
        ["rank", *(_rank(entry, several) for entry in shown)],
        ["trial", *(str(entry.view.number) for entry in shown)],
        ["state", *(entry.view.state for entry in shown)],
        *([o.name, *(format_objective(e.values[i]) for e in shown)] for i, o in enumerate(objectives)),
        [f"{unit}s", *(str(resource_of(entry.view) or "-") for entry in shown)],
        ["seconds", *(f"{entry.view.seconds:,.1f}" for entry in shown)],
    ]
    fixed = len(columns)
    columns += [[name, *(_shorten(row.get(name, "-")) for row in rows)] for name in names]
    fitting = _fitting(columns, fixed, width)
    lines = _rows(columns[:fitting])
    if several and shown[0].rank == 1:
        lines.append("* Pareto front: no trial is as good in every objective and better in one")
    if left_out := names[fitting - fixed :]:
        lines.append(f"not shown here, but in {FILE_NAME}: {', '.join(left_out)}")
    if len(entries) > len(shown):
        lines.append(f"... {len(entries) - len(shown)} more in {FILE_NAME}")
    return "\n".join(lines)


def _rank(entry: Entry, several: bool) -> str:
    if entry.rank is None:
        return "-"
    return f"{entry.rank}*" if several and entry.rank == 1 else str(entry.rank)


def _fitting(columns: Sequence[Sequence[str]], fixed: int, width: int | None) -> int:
    """How many columns fit; the fixed ones always do."""
    fitting, used = 0, -2
    for column in columns:
        used += 2 + max(map(len, column))
        if width is not None and used > width and fitting >= fixed:
            break
        fitting += 1
    return fitting


def _rows(columns: Sequence[Sequence[str]]) -> list[str]:
    padded = []
    for column in columns:
        width = max(map(len, column))
        numbers = all(re.fullmatch(NUMBER, cell) for cell in column[1:])
        padded.append([f"{cell:>{width}}" if numbers else f"{cell:<{width}}" for cell in column])
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def write_leaderboard(
    path: Path, views: Sequence[TrialView], objectives: Sequence[Objective], *, unit: str = "epoch"
) -> None:
    """Write all trials into a CSV file, with whole names and all digits; what is not known is empty.

    Args:
        path: The file; it is replaced in one step.
        views: The trials of a study.
        objectives: Its objectives. Those of a trial that is not complete are as far as it came.
        unit: What a curve counts: ``epoch`` or ``fold``.

    Raises:
        OSError: If the file cannot be written; it is then as it was.
    """
    paths = list(dict.fromkeys(path_of(name) for view in views for name in view.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [objective.name for objective in objectives]
    writer.writerow(["rank", "trial", "state", *names, f"{unit}s", "seconds", *paths, "worker", "error"])
    for entry in ranking(views, objectives):
        view = entry.view
        values = {path_of(name): value for name, value in view.params.items()}
        row = [entry.rank, view.number, view.state, *entry.values, resource_of(view), view.seconds]
        writer.writerow([*row, *(values.get(path) for path in paths), view.worker, view.error])
    write_atomically(path, text.getvalue().encode())
