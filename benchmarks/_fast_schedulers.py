"""Schedulers for simulations of many thousands of trials.

Those of the package look at all trials for every decision and keep nothing. These take the same decisions,
and remember what has come to each rung, so that a decision takes the same time however many trials there are.
They belong to one study, whose trials report after every epoch, and what :meth:`to_promote` names is started.
"""

import itertools
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from search.schedulers import (
    ASHA,
    Decision,
    Hyperband,
    PromotingASHA,
    Scheduler,
    SuccessiveHalving,
    make_scheduler,
)
from search.trials import Curve

__all__ = ["FastASHA", "FastHyperband", "FastPromotingASHA", "FastSuccessiveHalving", "make_fast_scheduler"]


class FastASHA(ASHA):
    """:class:`search.halving.ASHA` with a memory."""

    def __init__(self, *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3) -> None:
        super().__init__(
            max_resource=max_resource, min_resource=min_resource, reduction_factor=reduction_factor
        )
        self.came: dict[int, list[float]] = {rung: [] for rung in self.rungs()}

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``stop`` or ``continue``."""
        losses = curves[trial].losses
        came = self.came.get(len(losses))
        if came is None:
            return "continue"
        insort(came, losses[len(losses)])
        keep = max(1, len(came) // self.reduction_factor)
        return "continue" if losses[len(losses)] <= came[keep - 1] else "stop"

    def to_promote(self, curves: Sequence[Curve]) -> None:
        """None: it never pauses a trial."""


class FastPromotingASHA(PromotingASHA):
    """:class:`search.halving.PromotingASHA` with a memory."""

    def __init__(self, *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3) -> None:
        super().__init__(
            max_resource=max_resource, min_resource=min_resource, reduction_factor=reduction_factor
        )
        self.came: dict[int, list[tuple[float, int]]] = {rung: [] for rung in self.rungs()}
        self.paused: dict[int, list[tuple[float, int]]] = {rung: [] for rung in self.rungs()}
        """Heaps of those that have not left a rung."""

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``pause`` or ``continue``."""
        losses = curves[trial].losses
        rung = len(losses)
        if rung not in self.came:
            return "continue"
        insort(self.came[rung], (losses[rung], trial))
        heappush(self.paused[rung], (losses[rung], trial))
        if self._next() == (rung, trial):
            heappop(self.paused[rung])
            return "continue"
        return "pause"

    def to_promote(self, curves: Sequence[Curve]) -> int | None:
        """The trial to go on with; it has left its rung then."""
        found = self._next()
        return heappop(self.paused[found[0]])[1] if found else None

    def _next(self) -> tuple[int, int] | None:
        """Rung and trial of the next promotion. If the best that is paused has no right to it, none has."""
        for rung in reversed(self.came):
            paused, came = self.paused[rung], self.came[rung]
            if paused and bisect_left(came, paused[0]) < len(came) // self.reduction_factor:
                return rung, paused[0][1]
        return None


class FastHyperband(Hyperband):
    """:class:`search.halving.Hyperband` with a memory."""

    def __init__(self, *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3) -> None:
        super().__init__(
            max_resource=max_resource, min_resource=min_resource, reduction_factor=reduction_factor
        )
        self.fast = [
            FastASHA(max_resource=max_resource, min_resource=start, reduction_factor=reduction_factor)
            if start < max_resource
            else Scheduler(max_resource=max_resource)
            for _, start in self.brackets
        ]

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``stop`` or ``continue``."""
        return self.fast[self.bracket_of(trial)].after_report(trial, curves)

    def to_promote(self, curves: Sequence[Curve]) -> None:
        """None: it never pauses a trial."""


class FastSuccessiveHalving(SuccessiveHalving):
    """:class:`search.halving.SuccessiveHalving` with a memory, if no trial ends on the way."""

    def __init__(
        self, *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3, num_trials: int
    ) -> None:
        super().__init__(
            max_resource=max_resource,
            min_resource=min_resource,
            reduction_factor=reduction_factor,
            num_trials=num_trials,
        )
        self.came: dict[int, list[tuple[float, int]]] = {rung: [] for rung in self.rungs()}
        self.sizes = dict(zip(self.rungs(), itertools.pairwise([num_trials, *self.kept()]), strict=True))
        """By rung, how many come and how many leave."""
        self.leaving: deque[int] = deque()

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``pause`` or ``continue``."""
        losses = curves[trial].losses
        rung = len(losses)
        if rung not in self.came:
            return "continue"
        came = self.came[rung]
        came.append((losses[rung], trial))
        size, kept = self.sizes[rung]
        if len(came) == size:
            self.leaving.extend(number for _, number in sorted(came)[:kept])
        if self.leaving and self.leaving[0] == trial:
            self.leaving.popleft()
            return "continue"
        return "pause"

    def to_promote(self, curves: Sequence[Curve]) -> int | None:
        """The trial to go on with; it has left its rung then."""
        return self.leaving.popleft() if self.leaving else None


def make_fast_scheduler(
    name: str, *, max_resource: int, min_resource: int, reduction_factor: int, num_trials: int | None
) -> Scheduler:
    """The same as :func:`search.schedulers.make_scheduler`, with a memory where there is one that has it."""
    given: dict[str, Any] = {
        "max_resource": max_resource,
        "min_resource": min_resource,
        "reduction_factor": reduction_factor,
    }
    if name == "successive_halving" and num_trials is not None:
        return FastSuccessiveHalving(**given, num_trials=num_trials)
    fast = {"asha": FastASHA, "asha_promotion": FastPromotingASHA, "hyperband": FastHyperband}
    return fast[name](**given) if name in fast else make_scheduler(name, **given, num_trials=num_trials)
