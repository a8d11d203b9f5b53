"""A study that many workers share: who gets which trial, and what becomes of it.

One Optuna trial is one configuration. A trial that waits for a promotion, or was interrupted, is WAITING in
Optuna's terms; everything else is what its name says. Attributes on a trial: ``owner`` (see
:mod:`search.liveness`), ``beat`` (counts up while its worker lives), ``waits_for`` (``promotion`` or
``worker``), ``deaths`` (of workers that had it, since it last came further), ``passed`` (the newest
resource at which the scheduler let it go on), ``seconds``, ``error``.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, create_trial
from optuna.trial import TrialState as OptunaState

from search.errors import SearchError
from search.liveness import Watch, new_owner, shown
from search.objectives import Objective
from search.schedulers import Scheduler
from search.space import Space
from search.storage import Storage
from search.trials import Curve, TrialState, TrialView

__all__ = ["Claim", "SharedStudy", "trial_seed"]

ATTEMPTS = 3
"""A trial whose worker died so many times is given up: it may be the trial that kills them."""
STATES: dict[OptunaState, TrialState] = {
    OptunaState.RUNNING: "running",
    OptunaState.WAITING: "paused",
    OptunaState.COMPLETE: "complete",
    OptunaState.PRUNED: "pruned",
    OptunaState.FAIL: "failed",
}


def trial_seed(study_seed: int, number: int) -> int:
    """Seed of one trial's draws: the same whoever draws, and another for each trial.

    Args:
        study_seed: Seed of the study.
        number: Number of the trial.
    """
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0])


@dataclass
class Claim:
    """A trial that this worker has.

    Attributes:
        number: Its number.
        trial_id: Optuna's number of it.
        claim: Says which claim it is; another on the trial means that this one is lost.
        values: Values by name of the space.
        resource: Epochs or folds reported so far, at first by those who had it before.
        newest: The value that was reported last.
        undecided: Whether its last worker ended before it could act on what the scheduler said to that.
        seconds: Time that they took.
        lost: Whether it was declared dead, and is another worker's now.
    """

    number: int
    trial_id: int
    claim: str
    values: dict[str, Any] = field(default_factory=dict)
    resource: int = 0
    newest: float | None = None
    undecided: bool = False
    seconds: float = 0.0
    lost: bool = False


class SharedStudy:
    """A study as one worker sees it.

    Args:
        storage: Where it is kept.
        name: Its name there.
        objectives: What it makes best; the first is reported while a trial runs.
        space: What varies.
        scheduler: Which trials go on.
        make_sampler: Makes the sampler of a new trial from the trial's number.
        grid: The points that trials take in turn in place of a sampler's.
        watch: Notices dead workers.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        name: str,
        objectives: Sequence[Objective],
        space: Space,
        scheduler: Scheduler,
        make_sampler: Callable[[int], BaseSampler],
        grid: Sequence[dict[str, Any]] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.storage = storage
        self.name = name
        self.objectives = list(objectives)
        self.space = space
        self.scheduler = scheduler
        self.make_sampler = make_sampler
        self.grid = grid
        self.watch = watch or Watch()
        self._worker = os.urandom(8).hex()
        self._id = storage.patiently(lambda: storage.optuna.get_study_id_from_name(name))

    # What there is

    def trials(self) -> list[FrozenTrial]:
        """All trials, in the order of their numbers."""
        return self.storage.patiently(lambda: self.storage.optuna.get_all_trials(self._id, deepcopy=False))

    def views(self) -> list[TrialView]:
        """All trials, for people."""
        return [self._view(trial) for trial in self.trials()]

    def num_trials(self) -> int | None:
        """How many trials the study is to have; None if only time limits it."""
        attrs = self.storage.patiently(lambda: self.storage.optuna.get_study_user_attrs(self._id))
        number: int | None = attrs.get("num_trials")
        return number if self.grid is None else min(number or len(self.grid), len(self.grid))

    def observe(self) -> None:
        """Let time pass for the workers of running trials; to be called now and then."""
        for trial in self.trials():
            if trial.state == OptunaState.RUNNING:
                self.watch.is_stale(trial.number, trial.user_attrs)

    # What a free worker does

    def next_trial(self) -> Claim | Literal["wait", "over"]:
        """Claim what is to be done next: a dead worker's trial, an interrupted or promoted one, or a new one.

        Returns:
            The claim; ``wait`` if something may come up when others report; ``over`` if nothing can.

        Raises:
            SearchError: If as many trials failed as the study was to have.
        """
        wanted = self.num_trials()
        found = self.storage.locked(lambda: self._next_trial(wanted))
        if isinstance(found, Claim) and not found.values:
            try:
                found.values = self._values(found)
            except BaseException:
                self.pause(found, "worker", 0.0)
                raise
        return found

    def _next_trial(self, wanted: int | None) -> Claim | Literal["wait", "over"]:
        trials = self.storage.optuna.get_all_trials(self._id, deepcopy=False)
        states = [trial.state for trial in trials]
        for trial in trials:
            waits_for = trial.user_attrs.get("waits_for")
            if trial.state == OptunaState.RUNNING and self._is_left(trial):
                return self._take_over(trial)
            if trial.state == OptunaState.WAITING and waits_for != "promotion":
                return self._claim(trial) or "wait"
        promoted = self.scheduler.to_promote(self.curves(trials))
        if promoted is not None:
            return self._claim(trials[promoted]) or "wait"
        failed = states.count(OptunaState.FAIL)
        if failed >= (wanted or 30):
            errors = [trial.user_attrs.get("error") for trial in trials if trial.state == OptunaState.FAIL]
            raise SearchError(
                f"{failed} trials have failed, so the search ends; the last error: {errors[-1]}"
            )
        more = wanted is None or len(trials) - failed < wanted
        if more and (self.grid is None or self._free_points(trials)):
            return self._create(trials)
        if OptunaState.RUNNING in states:
            return "wait"
        finalist = self.scheduler.to_finish(self.curves(trials))
        if finalist is not None:
            return self._claim(trials[finalist]) or "wait"
        for trial in trials:  # they were never promoted, and will not be
            if trial.state == OptunaState.WAITING:
                self._end(trial._trial_id, OptunaState.PRUNED, value=_last_value(trial))
        return "over"

    def _is_left(self, trial: FrozenTrial) -> bool:
        """Whether the worker of a running trial is dead, or is this one, which has none now."""
        owner = trial.user_attrs.get("owner") or {}
        stale = self.watch.is_stale(trial.number, trial.user_attrs)
        return stale or owner.get("worker") == self._worker

    def _take_over(self, trial: FrozenTrial) -> Claim | Literal["wait"]:
        """Claim a dead worker's trial, or give the trial up; the caller holds the lock."""
        resource = max(trial.intermediate_values, default=0)
        deaths = trial.user_attrs.get("deaths", {"number": 0, "resource": 0})
        number = 1 + (deaths["number"] if resource <= deaths["resource"] else 0)
        if number >= ATTEMPTS:
            last = shown(trial.user_attrs.get("owner"))
            error = f"its worker died {number} times, last {last}"
            self._end(trial._trial_id, OptunaState.FAIL, error=error)
            return "wait"
        self.storage.optuna.set_trial_user_attr(
            trial._trial_id, "deaths", {"number": number, "resource": resource}
        )
        return self._claim(trial) or "wait"

    def _claim(self, trial: FrozenTrial) -> Claim | None:
        """Make a trial that exists this worker's own, if it is still to be had; the caller holds the lock."""
        storage, owner = self.storage.optuna, self._new_owner()
        attrs = trial.user_attrs
        steps = sorted(trial.intermediate_values)
        resource = steps[-1] if steps else 0
        storage.set_trial_user_attr(trial._trial_id, "owner", owner)
        promoted = trial.state == OptunaState.WAITING and attrs.get("waits_for") == "promotion"
        if promoted:
            storage.set_trial_user_attr(trial._trial_id, "passed", resource)
        if trial.state == OptunaState.WAITING and not storage.set_trial_state_values(
            trial._trial_id, OptunaState.RUNNING
        ):
            return None
        came = self._comes_to_a_rung(steps[-2] if len(steps) > 1 else 0, resource)
        return Claim(
            trial.number,
            trial._trial_id,
            owner["claim"],
            # A worker may have died while it drew them.
            values=dict(trial.params) if self.space.has_all(trial.params) else {},
            resource=resource,
            newest=trial.intermediate_values[resource] if steps else None,
            undecided=came and not promoted and attrs.get("passed") != resource,
            seconds=attrs.get("seconds", 0.0),
        )

    def _free_points(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """Indices of the grid's points that no trial has."""
        taken = {trial.user_attrs.get("grid_point") for trial in trials}
        return [index for index in range(len(self.grid or [])) if index not in taken]

    def _create(self, trials: Sequence[FrozenTrial]) -> Claim:
        """Start a new trial; the caller holds the lock."""
        owner = self._new_owner()
        attrs: dict[str, Any] = {"owner": owner}
        values: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        if self.grid is not None:
            point = attrs["grid_point"] = self._free_points(trials)[0]
            values = dict(self.grid[point])
            of_all = self.space.distributions()
            distributions = {name: of_all[name] for name in values}
        template = create_trial(
            state=OptunaState.RUNNING, params=values, distributions=distributions, user_attrs=attrs
        )
        trial_id = self.storage.optuna.create_new_trial(self._id, template)
        number = self.storage.optuna.get_trial(trial_id).number
        return Claim(number, trial_id, owner["claim"], values=values)

    def _new_owner(self) -> dict[str, Any]:
        return {**new_owner(), "worker": self._worker}

    def _values(self, claim: Claim) -> dict[str, Any]:
        """Let the sampler draw; what the trial has already stays."""

        def suggest() -> dict[str, Any]:
            # Optuna's samplers see the trials as a study object first saw them: each draw gets a new one.
            study = optuna.load_study(
                study_name=self.name, storage=self.storage.optuna, sampler=self.make_sampler(claim.number)
            )
            return self.space.suggest(Trial(study, claim.trial_id))

        return self.storage.patiently(suggest)

    # What a worker says of its trial

    def beat(self, claim: Claim, count: int) -> None:
        """Say that the worker lives; notes whether the trial is still its own."""
        if self._is_mine(claim):
            self._unless_ended(
                claim, lambda: self.storage.optuna.set_trial_user_attr(claim.trial_id, "beat", count)
            )

    def report(self, claim: Claim, resource: int, value: float) -> Literal["continue", "pause", "stop"]:
        """Note the first objective after an epoch or a fold, and ask whether to go on.

        Args:
            claim: The trial.
            resource: Epochs or folds done, counted from 1.
            value: The objective as measured.
        """
        if not self._is_mine(claim):
            return "stop"
        storage = self.storage.optuna
        self._unless_ended(
            claim, lambda: storage.set_trial_intermediate_value(claim.trial_id, resource, value)
        )
        if claim.lost or not math.isfinite(value):
            return "stop"
        # What is done once more, since the checkpoint was lost, comes to no rung again.
        before, claim.resource = claim.resource, max(claim.resource, resource)
        claim.newest = value
        if not self._comes_to_a_rung(before, resource):
            return "continue"  # without reading all trials, of which others may have many
        return self.decide(claim)

    def decide(self, claim: Claim) -> Literal["continue", "pause", "stop"]:
        """Ask the scheduler what becomes of a trial after its newest report."""
        decision = self.scheduler.after_report(claim.number, self.curves(self.trials()))
        if decision == "continue":
            self._unless_ended(
                claim,
                lambda: self.storage.optuna.set_trial_user_attr(claim.trial_id, "passed", claim.resource),
            )
        return decision

    def _comes_to_a_rung(self, before: int, resource: int) -> bool:
        if resource >= self.scheduler.max_resource:
            return False
        return any(before < rung <= resource for rung in self.scheduler.rungs())

    def pause(self, claim: Claim, waits_for: Literal["promotion", "worker"], seconds: float) -> None:
        """Hand a trial back: to go on when it is promoted, or with the next free worker."""

        def pause() -> None:
            if self._is_mine_now(claim):
                self.storage.optuna.set_trial_user_attr(claim.trial_id, "waits_for", waits_for)
                self._note_seconds(claim, seconds)
                self.storage.optuna.set_trial_state_values(claim.trial_id, OptunaState.WAITING)

        self.storage.locked(pause)

    def complete(self, claim: Claim, values: Sequence[float], seconds: float) -> None:
        """End a trial with its final values."""
        self._finish(claim, OptunaState.COMPLETE, values=list(values), seconds=seconds)

    def prune(self, claim: Claim, seconds: float) -> None:
        """End a trial early; its value is the last that it reported."""
        self._finish(claim, OptunaState.PRUNED, seconds=seconds)

    def fail(self, claim: Claim, error: str, seconds: float) -> None:
        """End a trial that could not be run, with one line that says why."""
        self._finish(claim, OptunaState.FAIL, error=error, seconds=seconds)

    def _finish(
        self,
        claim: Claim,
        state: OptunaState,
        *,
        seconds: float,
        values: list[float] | None = None,
        error: str | None = None,
    ) -> None:
        def finish() -> None:
            if not self._is_mine_now(claim):
                return
            self._note_seconds(claim, seconds)
            value = None
            if state == OptunaState.PRUNED:
                value = _last_value(self.storage.optuna.get_trial(claim.trial_id))
            self._end(claim.trial_id, state, values=values, value=value, error=error)

        self.storage.locked(finish)

    def _end(
        self,
        trial_id: int,
        state: OptunaState,
        *,
        values: list[float] | None = None,
        value: float | None = None,
        error: str | None = None,
    ) -> None:
        if error is not None:
            self.storage.optuna.set_trial_user_attr(trial_id, "error", error)
        if value is not None and len(self.objectives) == 1:
            values = [value]
        self.storage.optuna.set_trial_state_values(trial_id, state, values)

    def _note_seconds(self, claim: Claim, seconds: float) -> None:
        total = round(claim.seconds + seconds, 3)
        self.storage.optuna.set_trial_user_attr(claim.trial_id, "seconds", total)

    def _is_mine(self, claim: Claim) -> bool:
        return self.storage.patiently(lambda: self._is_mine_now(claim))

    def _is_mine_now(self, claim: Claim) -> bool:
        trial = self.storage.optuna.get_trial(claim.trial_id)
        mine = trial.state == OptunaState.RUNNING and trial.user_attrs["owner"]["claim"] == claim.claim
        claim.lost = claim.lost or not mine
        return mine

    def _unless_ended(self, claim: Claim, change: Callable[[], None]) -> None:
        """Change a trial that may have been ended by another worker an instant ago."""
        try:
            self.storage.patiently(change)
        except optuna.exceptions.UpdateFinishedTrialError:
            claim.lost = True

    # As others see it

    def curves(self, trials: Sequence[FrozenTrial]) -> list[Curve]:
        """What the scheduler sees."""
        first = self.objectives[0]
        return [
            Curve(
                trial.number,
                {step: first.loss(value) for step, value in trial.intermediate_values.items()},
                STATES[trial.state],
            )
            for trial in trials
        ]

    def _view(self, trial: FrozenTrial) -> TrialView:
        attrs = trial.user_attrs
        order = [name for name in self.space.distributions() if name in trial.params]
        return TrialView(
            number=trial.number,
            state=STATES[trial.state],
            params={name: trial.params[name] for name in order},
            curve=dict(sorted(trial.intermediate_values.items())),
            values=tuple(trial.values) if trial.state == OptunaState.COMPLETE else None,
            seconds=attrs.get("seconds", 0.0) + _running_seconds(trial),
            error=attrs.get("error"),
            worker=shown(attrs.get("owner")),
        )


def _running_seconds(trial: FrozenTrial) -> float:
    """Time since a running trial was claimed, by this machine's clock."""
    if trial.state != OptunaState.RUNNING or trial.datetime_start is None:
        return 0.0
    return max(0.0, (datetime.now() - trial.datetime_start).total_seconds())


def _last_value(trial: FrozenTrial) -> float | None:
    """What an ended trial reported last, if that is a number that Optuna takes."""
    if not trial.intermediate_values:
        return None
    value = trial.intermediate_values[max(trial.intermediate_values)]
    return value if not math.isnan(value) else None
