"""Schedulers: which trials are worth their next epochs.

A scheduler is a pure object: it keeps nothing, sees the curves of all trials of a study, and decides. A
worker asks it twice, the second time under the study's lock, so that no trial is promoted twice:

1. After each report, with the newest value in the curve: :meth:`Scheduler.after_report`. Two cases are the
   worker's own: a value that is no finite number ends the trial as pruned, and a trial at ``max_resource`` is
   complete.
2. When the worker is free: it goes on with :meth:`Scheduler.to_promote`, if there is one; else it starts a
   new trial, if the study may have one more; else it waits, as long as another worker runs a trial; else it
   goes on with :meth:`Scheduler.to_finish`, if there is one; else the study is over, and what is paused ends
   as pruned.

A trial's resource is the number of epochs or folds done, from 1 on. A rung is a resource at which a scheduler
decides; a trial that reports more seldom comes to a rung with its first report there or beyond.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from search.trials import Curve
from zoo._checks import check_at_least

__all__ = ["Decision", "Median", "Scheduler", "check_min_resource", "find", "loss_at", "rank"]

Decision = Literal["continue", "pause", "stop"]
"""What becomes of a trial after a report; ``pause`` is until it is promoted, ``stop`` ends it as pruned."""


class Scheduler:
    """Base of the schedulers; by itself it trains every trial to the end.

    Args:
        max_resource: Epochs or folds of a complete trial, at least 1.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, *, max_resource: int) -> None:
        check_at_least("max_resource", max_resource, 1)
        self.max_resource = max_resource

    def rungs(self) -> list[int]:
        """The resources at which it decides, ascending, all below ``max_resource``."""
        return []

    def comes_to_a_rung(self, before: int, resource: int) -> bool:
        """Whether a report at ``resource``, after one at ``before``, is one that it decides on."""
        return resource < self.max_resource and any(before < rung <= resource for rung in self.rungs())

    def describe(self, unit: str = "epochs") -> str:
        """One sentence for the user before the study starts: the rungs, and what happens there."""
        return f"every trial runs all {self.max_resource} {unit}"

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """What becomes of a running trial that has just reported; asked below ``max_resource`` only.

        Args:
            trial: Its number.
            curves: All trials of the study; this one is ``running``, with its newest value, a finite one.
        """
        return "continue"

    def to_promote(self, curves: Sequence[Curve]) -> int | None:
        """Number of the paused trial with which a free worker goes on, or None.

        Interrupted ones come first: those that are paused only because their worker ended. Here that is all.
        """
        return next((curve.number for curve in curves if curve.state == "paused"), None)

    def to_finish(self, curves: Sequence[Curve]) -> int | None:
        """Number of the paused trial that goes on before the study ends, or None.

        Asked when no trial runs, none is to be promoted, and no new one will start. As long as none is
        complete, it is the best one of the highest rung. Without this a small study could end with none
        complete: of two trials on a rung, neither is in the best third.
        """
        if any(curve.state == "complete" for curve in curves):
            return None
        paused = [curve for curve in curves if curve.state == "paused"]
        paused.sort(key=lambda curve: (-curve.resource, *rank(curve, curve.resource)))
        return paused[0].number if paused else None


class Median(Scheduler):
    """Stops a trial whose best loss is above the median of the complete trials' losses at the same resource.

    The same as ``optuna.pruners.MedianPruner`` with ``n_warmup_steps=min_resource``.

    Args:
        max_resource: Epochs or folds of a complete trial.
        min_resource: Before this resource no trial is stopped; at least 1, below ``max_resource``.
        num_startup_trials: As long as fewer trials than this are complete, none is stopped; at least 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, *, max_resource: int, min_resource: int = 1, num_startup_trials: int = 5) -> None:
        super().__init__(max_resource=max_resource)
        check_min_resource(min_resource, max_resource)
        check_at_least("num_startup_trials", num_startup_trials, 0)
        self.min_resource = min_resource
        self.num_startup_trials = num_startup_trials

    def rungs(self) -> list[int]:
        """Every resource from the first on."""
        return list(range(self.min_resource, self.max_resource))

    def describe(self, unit: str = "epochs") -> str:
        """One sentence for the user."""
        when = f"after each of {self.min_resource} to {self.max_resource - 1} of {self.max_resource} {unit}"
        rule = "a trial stops there if its best value is worse than the median of the complete trials"
        return f"{when}: {rule}, once there are {self.num_startup_trials}"

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``stop`` or ``continue``."""
        curve = find(trial, curves)
        complete = [other.losses for other in curves if other.state == "complete"]
        if curve.resource < self.min_resource or len(complete) < self.num_startup_trials:
            return "continue"
        there = [losses[curve.resource] for losses in complete if curve.resource in losses]
        if not there or min(curve.losses.values()) <= statistics.median(there):
            return "continue"
        return "stop"


def check_min_resource(min_resource: int, max_resource: int) -> None:
    """Raise ValueError unless ``1 <= min_resource < max_resource``."""
    if not 1 <= min_resource < max_resource:
        raise ValueError(
            f"min_resource is {min_resource!r}, but must be at least 1 and below max_resource, {max_resource}"
        )


def find(trial: int, curves: Sequence[Curve]) -> Curve:
    """The curve of the trial of this number."""
    return next(curve for curve in curves if curve.number == trial)


def loss_at(curve: Curve, rung: int) -> float:
    """The loss with which a trial came to a rung: its first there or beyond; NaN if it has none."""
    if rung in curve.losses:
        return curve.losses[rung]
    return curve.losses.get(min((r for r in curve.losses if r > rung), default=0), math.nan)


def rank(curve: Curve, rung: int) -> tuple[float, int]:
    """Sorts by the loss at a rung, NaN last, and equal ones by number."""
    loss = loss_at(curve, rung)
    return (math.inf if math.isnan(loss) else loss, curve.number)
