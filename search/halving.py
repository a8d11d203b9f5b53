"""Schedulers that keep a part of the trials at each rung: successive halving, ASHA and Hyperband.

Successive halving is Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization" (2016); Hyperband is Li et al., "Hyperband: a novel bandit-based approach to hyperparameter
optimization" (JMLR 2018); ASHA is Li et al., "A system for massively parallel hyperparameter tuning" (MLSys
2020). The book has them in sections 19.4 and 19.5; its successive halving trains what it promotes from the
start again.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from search._scheduler import Decision, Scheduler, check_min_resource, find, loss_at, rank
from search.trials import Curve
from zoo._checks import check_at_least

__all__ = ["ASHA", "Hyperband", "PromotingASHA", "SuccessiveHalving", "halving_plan"]


class _Halving(Scheduler):
    """Base of those that keep one trial in ``reduction_factor`` at each rung.

    The rungs are ``min_resource * reduction_factor**k``, as far as they are below ``max_resource``.

    Args:
        max_resource: Epochs or folds of a complete trial.
        min_resource: The first rung; at least 1, below ``max_resource``.
        reduction_factor: About one trial in this many goes on from a rung (eta); at least 2.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3) -> None:
        super().__init__(max_resource=max_resource)
        check_min_resource(min_resource, max_resource)
        check_at_least("reduction_factor", reduction_factor, 2)
        self.min_resource = min_resource
        self.reduction_factor = reduction_factor
        self._rungs = [min_resource]
        while self._rungs[-1] * reduction_factor < max_resource:
            self._rungs.append(self._rungs[-1] * reduction_factor)

    def rungs(self) -> list[int]:
        """The resources at which it decides."""
        return list(self._rungs)

    def _rung_of(self, curve: Curve) -> int | None:
        """The rung to which the newest report has brought the trial, the highest one; None if to none."""
        newest = curve.resource
        if newest in self._rungs:
            return newest
        before = max((resource for resource in curve.losses if resource < newest), default=0)
        return max((rung for rung in self._rungs if before < rung < newest), default=None)

    def _text(self, unit: str, rule: str) -> str:
        rungs = ", ".join(map(str, self._rungs))
        return f"rungs after {rungs} of {self.max_resource} {unit}: {rule}"


class ASHA(_Halving):
    """Asynchronous successive halving that only stops trials, and never goes back to one.

    A trial that comes to a rung goes on if it is among the best ``floor(n / reduction_factor)`` of the ``n``
    that have come there so far, itself included, or the best one. The same as
    ``optuna.pruners.SuccessiveHalvingPruner`` with ``min_early_stopping_rate=0`` and ``bootstrap_count=0``,
    which has no right rung unless the first epoch is reported as step 1.

    Args:
        max_resource: Epochs or folds of a complete trial.
        min_resource: The first rung; at least 1, below ``max_resource``.
        reduction_factor: About one trial in this many goes on from a rung (eta); at least 2.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def describe(self, unit: str = "epochs") -> str:
        """One sentence for the user."""
        best = f"the best 1/{self.reduction_factor} of those that came so far"
        return self._text(unit, f"a trial stops there unless it is in {best}")

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``stop`` or ``continue``."""
        curve = find(trial, curves)
        rung = self._rung_of(curve)
        if rung is None:
            return "continue"
        losses = sorted(loss for other in curves if not math.isnan(loss := loss_at(other, rung)))
        keep = max(1, len(losses) // self.reduction_factor)
        return "continue" if curve.losses[curve.resource] <= losses[keep - 1] else "stop"


class _Pausing(_Halving, ABC):
    """Base of those that pause every trial at a rung, to go on with some of them later."""

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``pause`` at a rung, unless this trial is promoted at once, else ``continue``."""
        if self._rung_of(find(trial, curves)) is None:
            return "continue"
        paused = [replace(curve, state="paused") if curve.number == trial else curve for curve in curves]
        return "continue" if self.to_promote(paused) == trial else "pause"

    def to_promote(self, curves: Sequence[Curve]) -> int | None:
        """Number of the paused trial to go on with, or None; interrupted ones come first."""
        interrupted = [c.number for c in curves if c.state == "paused" and self._rung_of(c) is None]
        return interrupted[0] if interrupted else self._promoted(curves)

    @abstractmethod
    def _promoted(self, curves: Sequence[Curve]) -> int | None:
        """Number of the next trial to leave its rung, or None."""

    def _best_paused(self, best: Sequence[Curve], rung: int) -> int | None:
        """Number of the first one that is paused at this rung, or None."""
        return next((c.number for c in best if c.state == "paused" and self._rung_of(c) == rung), None)


class PromotingASHA(_Pausing):
    """Asynchronous successive halving that goes back to what has proved good (section 19.5).

    Every trial pauses at every rung. A free worker promotes: of the ``n`` trials that have come to a rung,
    the best ``floor(n / reduction_factor)`` may leave it; the highest rung with one that has not yet left
    comes first, and there the best one. Only if there is none does a new trial start.

    Args:
        max_resource: Epochs or folds of a complete trial.
        min_resource: The first rung; at least 1, below ``max_resource``.
        reduction_factor: One trial in this many leaves a rung (eta); at least 2.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def describe(self, unit: str = "epochs") -> str:
        """One sentence for the user."""
        rule = (
            f"a trial pauses there, and goes on from its checkpoint once it is in the best "
            f"1/{self.reduction_factor} of those that came"
        )
        return self._text(unit, rule)

    def _promoted(self, curves: Sequence[Curve]) -> int | None:
        for rung in reversed(self._rungs):
            came = _came(curves, rung)
            trial = self._best_paused(came[: len(came) // self.reduction_factor], rung)
            if trial is not None:
                return trial
        return None


class SuccessiveHalving(_Pausing):
    """Synchronous successive halving: a rung is decided when all its trials are there (section 19.4).

    ``num_trials`` trials start; ``max(1, floor(num_trials / reduction_factor**k))`` leave the rung of number
    ``k``, counted from 1. A trial that ended on the way, of a loss that is no number, counts as the worst. A
    failed one counts nowhere: a new trial takes its place, and the first rung waits for it.

    Args:
        max_resource: Epochs or folds of a complete trial.
        min_resource: The first rung; at least 1, below ``max_resource``.
        reduction_factor: One trial in this many leaves a rung (eta); at least 2.
        num_trials: Number of trials of the study, at least 1.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self, *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3, num_trials: int
    ) -> None:
        super().__init__(
            max_resource=max_resource, min_resource=min_resource, reduction_factor=reduction_factor
        )
        check_at_least("num_trials", num_trials, 1)
        self.num_trials = num_trials

    def kept(self) -> list[int]:
        """How many trials leave each rung."""
        return [max(1, self.num_trials // self.reduction_factor**k) for k in range(1, len(self._rungs) + 1)]

    def describe(self, unit: str = "epochs") -> str:
        """One sentence for the user."""
        kept = ", ".join(map(str, self.kept()))
        return self._text(unit, f"when all {self.num_trials} trials are there, the best {kept} go on")

    def _promoted(self, curves: Sequence[Curve]) -> int | None:
        trials = [curve for curve in curves if curve.state != "failed"]
        if len(trials) < self.num_trials:
            return None
        for rung, keep in zip(self._rungs, self.kept(), strict=True):
            # Nobody is interrupted, so those on the way are running.
            if any(curve.state == "running" and curve.resource < rung for curve in trials):
                return None
            trial = self._best_paused(_came(trials, rung)[:keep], rung)
            if trial is not None:
                return trial
        return None


class Hyperband(_Halving):
    """Brackets of stopping ASHA, each with another first rung: ``min_resource * reduction_factor**bracket``.

    A bracket's share of the trials is that of the paper's algorithm 1, where it has
    ``ceil((s_max + 1) * reduction_factor**s / (s + 1))`` of them with ``s = s_max - bracket``. Which trial
    is in which bracket follows from its number alone.

    Args:
        max_resource: Epochs or folds of a complete trial.
        min_resource: The first rung of the first bracket; at least 1, below ``max_resource``.
        reduction_factor: About one trial in this many goes on from a rung (eta); at least 2.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3) -> None:
        super().__init__(
            max_resource=max_resource, min_resource=min_resource, reduction_factor=reduction_factor
        )
        starts = list(self._rungs)
        if starts[-1] * reduction_factor == max_resource:
            starts.append(max_resource)  # nothing is stopped there
        count = len(starts)
        self.brackets: list[tuple[int, int]] = [
            (-(-count * reduction_factor**s // (s + 1)), start)
            for s, start in zip(reversed(range(count)), starts, strict=True)
        ]
        """Number of trials and first rung of each, the largest bracket first."""
        self._schedulers = [
            ASHA(max_resource=max_resource, min_resource=start, reduction_factor=reduction_factor)
            if start < max_resource
            else Scheduler(max_resource=max_resource)
            for start in starts
        ]
        self._round = sum(size for size, _ in self.brackets)
        # Steps of about the golden section visit every place of a round once, and neighbours far apart.
        self._step = round(self._round * (math.sqrt(5) - 1) / 2)
        while math.gcd(self._step, self._round) > 1:
            self._step += 1

    def bracket_of(self, trial: int) -> int:
        """Index of a trial's bracket. Of every round of trials, each bracket has its exact number."""
        place = trial * self._step % self._round
        for index, (size, _) in enumerate(self.brackets):
            place -= size
            if place < 0:
                return index
        raise AssertionError("a place beyond the last bracket")

    def describe(self, unit: str = "epochs") -> str:
        """One sentence for the user."""
        shares = ", ".join(
            f"{100 * size / self._round:.0f}% from {start} on" for size, start in self.brackets
        )
        rule = (
            f"a trial stops there unless it is in the best 1/{self.reduction_factor} of its bracket: {shares}"
        )
        return self._text(unit, rule)

    def after_report(self, trial: int, curves: Sequence[Curve]) -> Decision:
        """``stop`` or ``continue``."""
        if self._rung_of(find(trial, curves)) is None:
            return "continue"
        bracket = self.bracket_of(trial)
        peers = [curve for curve in curves if self.bracket_of(curve.number) == bracket]
        return self._schedulers[bracket].after_report(trial, peers)


def halving_plan(*, num_trials: int, budget: int, reduction_factor: int) -> list[tuple[int, int]]:
    """Rounds of successive halving that share a budget equally (section 19.4).

    There are ``ceil(log(num_trials))`` rounds to the base ``reduction_factor``, which leave one trial; that
    one is not trained further.

    Args:
        num_trials: Trials of the first round, at least 2.
        budget: Epochs to spend in all.
        reduction_factor: One trial in this many is kept, for this many times the epochs; at least 2.

    Returns:
        For each round the number of trials and the epochs of each, rounded down.

    Raises:
        ValueError: If an argument is out of its range, or the budget is less than an epoch for each trial.
    """
    check_at_least("num_trials", num_trials, 2)
    check_at_least("reduction_factor", reduction_factor, 2)
    rounds = 1
    while reduction_factor**rounds < num_trials:  # a logarithm in floats gives 4 rounds for 125 and 5
        rounds += 1
    check_at_least("budget", budget, num_trials * rounds)
    first = budget // (num_trials * rounds)
    return [(num_trials // reduction_factor**k, first * reduction_factor**k) for k in range(rounds)]


def _came(curves: Sequence[Curve], rung: int) -> list[Curve]:
    """The trials that have come to a rung, the best first; losses that are no numbers are the worst."""
    return sorted((c for c in curves if c.resource >= rung), key=lambda curve: rank(curve, rung))
