"""A study that many workers share: who gets which trial, and what becomes of it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from search.claims import Claim, Claims
from search.errors import SearchError
from search.liveness import Watch
from search.objectives import Objective
from search.schedulers import Scheduler
from search.space import Space
from search.storage import Storage
from search.trial_views import curve_of, last_value, view_of
from search.trials import Curve, TrialView

__all__ = ["SharedStudy", "trial_seed"]


def trial_seed(study_seed: int, number: int) -> int:
    """Seed of one trial's draws: the same whoever draws, and another for each trial.

    Args:
        study_seed: Seed of the study.
        number: Number of the trial.
    """
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0])


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
        self._id = storage.patiently(lambda: storage.optuna.get_study_id_from_name(name))
        self._claims = Claims(
            storage=storage.optuna,
            study_id=self._id,
            space=space,
            scheduler=scheduler,
            grid=grid,
            watch=watch or Watch(),
        )

    # What there is

    def trials(self) -> list[FrozenTrial]:
        """All trials, in the order of their numbers."""
        return self.storage.patiently(lambda: self.storage.optuna.get_all_trials(self._id, deepcopy=False))

    def views(self) -> list[TrialView]:
        """All trials, for people."""
        return [view_of(trial, self.space) for trial in self.trials()]

    def curves(self, trials: Sequence[FrozenTrial]) -> list[Curve]:
        """Trials as the scheduler sees them."""
        return [curve_of(trial, self.objectives[0]) for trial in trials]

    def num_trials(self) -> int | None:
        """How many trials the study is to have; None if only time limits it."""
        attrs = self.storage.patiently(lambda: self.storage.optuna.get_study_user_attrs(self._id))
        number: int | None = attrs.get("num_trials")
        return number if self.grid is None else min(number or len(self.grid), len(self.grid))

    def observe(self) -> None:
        """Let time pass for the workers of running trials; to be called now and then."""
        for trial in self.trials():
            if trial.state == OptunaState.RUNNING:
                self._claims.watch.is_stale(trial.number, trial.user_attrs)

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
            if trial.state == OptunaState.RUNNING and self._claims.is_left(trial):
                return self._claims.take_over(trial) or "wait"
            if trial.state == OptunaState.WAITING and waits_for != "promotion":
                return self._claims.claim(trial) or "wait"
        promoted = self.scheduler.to_promote(self.curves(trials))
        if promoted is not None:
            return self._claims.claim(trials[promoted]) or "wait"
        failed = states.count(OptunaState.FAIL)
        if failed >= (wanted or 30):
            errors = [trial.user_attrs.get("error") for trial in trials if trial.state == OptunaState.FAIL]
            raise SearchError(
                f"{failed} trials have failed, so the search ends; the last error: {errors[-1]}"
            )
        more = wanted is None or len(trials) - failed < wanted
        if more and (self.grid is None or self._claims.free_points(trials)):
            return self._claims.create(trials)
        if OptunaState.RUNNING in states:
            return "wait"
        finalist = self.scheduler.to_finish(self.curves(trials))
        if finalist is not None:
            return self._claims.claim(trials[finalist]) or "wait"
        for trial in trials:  # they were never promoted, and will not be
            if trial.state == OptunaState.WAITING:
                self._claims.end(trial._trial_id, OptunaState.PRUNED, self._last_values(trial))
        return "over"

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
        if self.storage.patiently(lambda: self._claims.is_mine(claim)):
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
        if not self.storage.patiently(lambda: self._claims.is_mine(claim)):
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
        if not self.scheduler.comes_to_a_rung(before, resource):
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

    def pause(self, claim: Claim, waits_for: Literal["promotion", "worker"], seconds: float) -> None:
        """Hand a trial back: to go on when it is promoted, or with the next free worker."""

        def pause() -> None:
            if self._claims.is_mine(claim):
                self.storage.optuna.set_trial_user_attr(claim.trial_id, "waits_for", waits_for)
                self._claims.note_seconds(claim, seconds)
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
            if not self._claims.is_mine(claim):
                return
            self._claims.note_seconds(claim, seconds)
            final = values
            if state == OptunaState.PRUNED:
                final = self._last_values(self.storage.optuna.get_trial(claim.trial_id))
            self._claims.end(claim.trial_id, state, final, error)

        self.storage.locked(finish)

    def _last_values(self, trial: FrozenTrial) -> list[float] | None:
        """Values of a trial that ends early: Optuna takes none unless it has all."""
        value = last_value(trial)
        return None if value is None or len(self.objectives) > 1 else [value]

    def _unless_ended(self, claim: Claim, change: Callable[[], None]) -> None:
        """Change a trial that may have been ended by another worker an instant ago."""
        try:
            self.storage.patiently(change)
        except optuna.exceptions.UpdateFinishedTrialError:
            claim.lost = True
