"""How a study goes, while it goes: a panel that stays in place on a terminal, plain lines elsewhere."""

import heapq
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.leaderboard import Entry, best_entry, newest_of, ranking, resource_of
from search.names import format_objective, readable_parameters
from search.objectives import Objective
from search.trials import TrialState, TrialView

__all__ = ["Board", "format_seconds", "seconds_left"]

ENDED: tuple[TrialState, ...] = ("complete", "pruned", "failed")
COLORS: dict[TrialState, str] = {
    "complete": "blue",
    "pruned": "bright_black",
    "paused": "magenta",
    "running": "green",
    "failed": "red",
}
LINES_BESIDE_TRIALS = 8
"""Lines of the panel that are no trials, and one for the prompt."""


def seconds_left(
    views: Sequence[TrialView], *, num_trials: int | None, num_workers: int, max_resource: int | None = None
) -> float | None:
    """Time until a study is over, if trials to come are as long as those that ended, on average.

    The rest of the running trials and then the new ones go to whichever worker is free first. A trial that is
    paused counts as one that ended: nobody knows whether it goes on.

    Args:
        views: The trials so far.
        num_trials: Trials that the study is to have, failed ones not counted; None if only time ends it.
        num_workers: Workers that this command has started; more, if more trials are running.
        max_resource: Epochs or folds of a whole trial; with it, running trials tell before any has ended.

    Returns:
        Seconds; None when it cannot be told.
    """
    if num_trials is None:
        return None
    running = [view for view in views if view.state == "running"]
    ended = [view.seconds for view in views if view.state in ("complete", "pruned", "paused")]
    if not ended and max_resource is not None:
        ended = [view.seconds / done * max_resource for view in running if (done := resource_of(view))]
    if not ended:
        return None
    typical = statistics.fmean(ended)
    free_after = [max(typical - view.seconds, 0.0) for view in running]
    free_after += [0.0] * (num_workers - len(running))
    heapq.heapify(free_after)
    for _ in range(num_trials - sum(view.state != "failed" for view in views)):
        heapq.heapreplace(free_after, free_after[0] + typical)
    return max(free_after)


def format_seconds(seconds: float) -> str:
    """A time as people say it, in at most two units: ``45 s``, ``3 min``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class Board:
    """Shows how a study goes; a context manager that holds its place on the terminal.

    Args:
        objectives: The study's objectives.
        num_trials: Trials that it is to have; None if only time ends it.
        deadline: When it stops, by :func:`time.monotonic`; None for never.
        num_workers: Workers that this command has started.
        max_resource: Epochs or folds of a whole trial; None if unknown.
        unit: What a curve counts: ``epoch`` or ``fold``.
        console: Where the panel is; None is standard output.
        live: Whether there is a panel; None means on a terminal that can move its cursor.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        *,
        num_trials: int | None,
        deadline: float | None = None,
        num_workers: int = 1,
        max_resource: int | None = None,
        unit: str = "epoch",
        console: Console | None = None,
        live: bool | None = None,
    ) -> None:
        self.objectives = list(objectives)
        self.num_trials = num_trials
        self.deadline = deadline
        self.num_workers = num_workers
        self.max_resource = max_resource
        self.unit = unit
        self._console = console or Console()
        if live is None:
            live = sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if live else None
        self._states: dict[int, TrialState] | None = None
        self._views: Sequence[TrialView] = ()
        self._started_at = time.monotonic()

    def __enter__(self) -> "Board":
        """Take a place on the terminal."""
        self._started_at = time.monotonic()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the place back, and say in one line how far the study came."""
        if self._live is not None:
            self._live.stop()
        spent = format_seconds(time.monotonic() - self._started_at)
        print(f"{self._done()} after {spent}: {self._counts()}", flush=True)

    def update(self, views: Sequence[TrialView]) -> bool:
        """Show the trials as they are now.

        Args:
            views: All trials of the study.

        Returns:
            Whether a trial began, ended, was paused or went on since the last time.
        """
        before = self._states
        self._states = {view.number: view.state for view in views}
        self._views = views
        if before is None and any(view.state in ENDED for view in views):
            lines = [f"the study goes on: {self._done()}, {self._counts()}{self._best_part()}"]
            changed = True
        else:
            events = [view for view in views if view.state != (before or {}).get(view.number)]
            changed = bool(events)
            lines = self._lines(events, before or {})
        if self._live is None:
            for line in lines:
                print(line, flush=True)
        else:
            # The panel shows everything but why trials fail.
            for line in (line for line in lines if " failed  " in line):
                self._live.console.print(Text(line, style="red"))
            self._live.update(self._panel(), refresh=True)
        return changed

    # Plain lines

    def _lines(self, events: Sequence[TrialView], before: Mapping[int, TrialState]) -> list[str]:
        parameters = dict(zip((v.number for v in self._views), readable_parameters(self._views), strict=True))
        lines = []
        for view in events:
            head = f"trial {view.number}"
            if view.number not in before:
                lines.append("  ".join([f"{head} starts", *_pairs(parameters[view.number])]))
            elif view.state == "running":
                lines.append(f"{head} goes on after {resource_of(view)} {self.unit}s")
            if view.state == "failed":
                lines.append(f"{head} failed  {view.error or 'without a message'}   {self._progress()}")
            elif view.state != "running":
                lines.append(
                    f"{head} {view.state}  {self._outcome(view)}{self._best_part()}   {self._progress()}"
                )
        return lines

    def _outcome(self, view: TrialView) -> str:
        values = view.values if view.values is not None else (newest_of(view),)
        parts = [
            f"{objective.name} {format_objective(value)}"
            for objective, value in zip(self.objectives[: len(values)], values, strict=True)
        ]
        return "  ".join([*parts, f"{self.unit}s {resource_of(view)}", f"{view.seconds:.1f} s"])

    def _best_part(self) -> str:
        best, others = self._best()
        if best is None:
            return ""
        values = ", ".join(format_objective(value) for value in best.values if value is not None)
        return f"   best {values} (trial {best.view.number}{others})"

    def _progress(self) -> str:
        left = self._left()
        return self._done() if left is None else f"{self._done()}, {left}"

    # What lines and panel say

    def _done(self) -> str:
        done = sum(view.state in ("complete", "pruned") for view in self._views)
        return f"{done} done" if self.num_trials is None else f"{done} of {self.num_trials} done"

    def _counts(self) -> str:
        counts = Counter(view.state for view in self._views)
        return ", ".join(f"{counts[state]} {state}" for state in COLORS if counts[state]) or "no trials"

    def _left(self) -> str | None:
        left = seconds_left(
            self._views,
            num_trials=self.num_trials,
            num_workers=self.num_workers,
            max_resource=self.max_resource,
        )
        to_deadline = None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
        if to_deadline is not None and (left is None or left > to_deadline):
            return f"stops in {format_seconds(to_deadline)}"
        return None if left is None else f"about {format_seconds(left)} left"

    def _best(self) -> tuple[Entry | None, str]:
        """The best trial, and how many others are as good."""
        entries = ranking(self._views, self.objectives)
        others = sum(entry.rank == 1 for entry in entries) - 1
        several = len(self.objectives) > 1 and others > 0
        return best_entry(entries), f" and {others} more on the Pareto front" if several else ""

    # The panel

    def _panel(self) -> RenderableType:
        parameters = dict(zip((v.number for v in self._views), readable_parameters(self._views), strict=True))
        spent = f"{format_seconds(time.monotonic() - self._started_at)} so far"
        lines: list[RenderableType] = [
            _one_line(", ".join(filter(None, [self._done(), spent, self._left()])))
        ]
        if self.num_trials is not None:
            done = sum(view.state in ("complete", "pruned") for view in self._views)
            bar = Table.grid()
            bar.add_row(ProgressBar(total=self.num_trials, completed=done, width=40))
            lines.append(bar)
        if self._views:
            lines += [self._colored_counts(), self._best_line(parameters), *self._running(parameters)]
        return Group(*lines)

    def _colored_counts(self) -> Text:
        counts = Counter(view.state for view in self._views)
        shown = [(f"{counts[state]} {state}", color) for state, color in COLORS.items() if counts[state]]
        text = _one_line("")
        for k, part in enumerate(shown):
            text.append(", " if k else "").append(*part)
        return text

    def _best_line(self, parameters: Mapping[int, Mapping[str, str]]) -> Text:
        best, others = self._best()
        if best is None:
            return _one_line("no value yet")
        text = _one_line("best ")
        for objective, value in zip(self.objectives, best.values, strict=True):
            text.append(f"{objective.name} {format_objective(value)}  ", "bold")
        after = "" if best.rank is not None else f" after {resource_of(best.view)} {self.unit}s"
        text.append(f"trial {best.view.number}{others}{after}")
        return text.append(
            "".join(f"  {pair}" for pair in _pairs(parameters[best.view.number])), "bright_black"
        )

    def _running(self, parameters: Mapping[int, Mapping[str, str]]) -> list[Text]:
        running = [view for view in self._views if view.state == "running"]
        most = max(self._console.height - LINES_BESIDE_TRIALS, 3)
        of = "" if self.max_resource is None else f"/{self.max_resource}"
        rows = [("trial", self.unit, self.objectives[0].name, "seconds")]
        for view in running[:most]:
            newest, seconds = format_objective(newest_of(view)), f"{view.seconds:.1f}"
            rows.append((str(view.number), f"{resource_of(view)}{of}", newest, seconds))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rests = ["parameters", *("  ".join(_pairs(parameters[view.number])) for view in running[:most])]
        lines = []
        for row, rest in zip(rows, rests, strict=True):
            cells = [f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)]
            lines.append(_one_line("  ".join(cells)).append(f"  {rest}", "bright_black"))
        if len(running) > most:
            lines.append(_one_line(f"... {len(running) - most} more running"))
        return lines if running else []


def _pairs(parameters: Mapping[str, str]) -> list[str]:
    return [f"{name} {value}" for name, value in parameters.items()]


def _one_line(text: str) -> Text:
    """A line that is cut where the terminal ends, or the panel would not stay in place."""
    return Text(text, no_wrap=True, overflow="ellipsis")
