"""Claims of trials in Optuna's storage: making a trial one's own, and knowing whether it still is.

One Optuna trial is one configuration. A trial that waits for a promotion, or was interrupted, is WAITING in
Optuna's terms; everything else is what its name says. Attributes on a trial: ``owner`` (see
:mod:`search.liveness`), ``beat`` (counts up while its worker lives), ``waits_for`` (``promotion`` or
``worker``), ``deaths`` (of workers that had it, since it last came further), ``passed`` (the newest
resource at which the scheduler let it go on), ``grid_point``, ``seconds``, ``error``.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from search.liveness import Watch, new_owner, shown
from search.schedulers import Scheduler
from search.space import Space

__all__ = ["Claim", "Claims"]

ATTEMPTS = 3
"""A trial whose worker died so many times is given up: it may be the trial that kills them."""


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


class Claims:
    """Claims of one worker in one study; whoever calls what changes anything holds the study's lock.

    Args:
        storage: Optuna's storage.
        study_id: Optuna's number of the study.
        space: What varies.
        scheduler: Which trials go on.
        grid: The points that trials take in turn in place of a sampler's; None without a grid.
        watch: Notices dead workers.
    """

    def __init__(
        self,
        *,
        storage: BaseStorage,
        study_id: int,
        space: Space,
        scheduler: Scheduler,
        grid: Sequence[dict[str, Any]] | None,
        watch: Watch,
    ) -> None:
        self.storage = storage
        self.study_id = study_id
        self.space = space
        self.scheduler = scheduler
        self.grid = grid
        self.watch = watch
        self._worker = os.urandom(8).hex()

    def is_left(self, trial: FrozenTrial) -> bool:
        """Whether the worker of a running trial is dead, or is this one, which has none now."""
        owner = trial.user_attrs.get("owner") or {}
        stale = self.watch.is_stale(trial.number, trial.user_attrs)
        return stale or owner.get("worker") == self._worker

    def take_over(self, trial: FrozenTrial) -> Claim | None:
        """Claim a trial that :meth:`is_left`; None if it was given up."""
        resource = max(trial.intermediate_values, default=0)
        deaths = trial.user_attrs.get("deaths", {"number": 0, "resource": 0})
        number = 1 + (deaths["number"] if resource <= deaths["resource"] else 0)
        if number >= ATTEMPTS:
            last = shown(trial.user_attrs.get("owner"))
            error = f"its worker died {number} times, last {last}"
            self.end(trial._trial_id, OptunaState.FAIL, error=error)
            return None
        self.storage.set_trial_user_attr(trial._trial_id, "deaths", {"number": number, "resource": resource})
        return self.claim(trial)

    def claim(self, trial: FrozenTrial) -> Claim | None:
        """Make a trial that exists this worker's own; None if it is not to be had any more."""
        owner = self._new_owner()
        attrs = trial.user_attrs
        steps = sorted(trial.intermediate_values)
        resource = steps[-1] if steps else 0
        self.storage.set_trial_user_attr(trial._trial_id, "owner", owner)
        promoted = trial.state == OptunaState.WAITING and attrs.get("waits_for") == "promotion"
        if promoted:
            self.storage.set_trial_user_attr(trial._trial_id, "passed", resource)
        if trial.state == OptunaState.WAITING and not self.storage.set_trial_state_values(
            trial._trial_id, OptunaState.RUNNING
        ):
            return None
        came = self.scheduler.comes_to_a_rung(steps[-2] if len(steps) > 1 else 0, resource)
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

    def free_points(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """Indices of the grid's points that no trial has."""
        taken = {trial.user_attrs.get("grid_point") for trial in trials}
        return [index for index in range(len(self.grid or [])) if index not in taken]

    def create(self, trials: Sequence[FrozenTrial]) -> Claim:
        """Start a new trial; with a grid, at a point that is left."""
        owner = self._new_owner()
        attrs: dict[str, Any] = {"owner": owner}
        values: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        if self.grid is not None:
            point = attrs["grid_point"] = self.free_points(trials)[0]
            values = dict(self.grid[point])
            of_all = self.space.distributions()
            distributions = {name: of_all[name] for name in values}
        template = create_trial(
            state=OptunaState.RUNNING, params=values, distributions=distributions, user_attrs=attrs
        )
        trial_id = self.storage.create_new_trial(self.study_id, template)
        number = self.storage.get_trial(trial_id).number
        return Claim(number, trial_id, owner["claim"], values=values)

    def end(
        self, trial_id: int, state: OptunaState, values: list[float] | None = None, error: str | None = None
    ) -> None:
        """End a trial, with its values or with what went wrong."""
        if error is not None:
            self.storage.set_trial_user_attr(trial_id, "error", error)
        self.storage.set_trial_state_values(trial_id, state, values)

    def note_seconds(self, claim: Claim, seconds: float) -> None:
        """Add the time that this worker had the trial."""
        total = round(claim.seconds + seconds, 3)
        self.storage.set_trial_user_attr(claim.trial_id, "seconds", total)

    def is_mine(self, claim: Claim) -> bool:
        """Whether the trial is still this worker's; notes it on the claim if not."""
        trial = self.storage.get_trial(claim.trial_id)
        mine = trial.state == OptunaState.RUNNING and trial.user_attrs["owner"]["claim"] == claim.claim
        claim.lost = claim.lost or not mine
        return mine

    def _new_owner(self) -> dict[str, Any]:
        return {**new_owner(), "worker": self._worker}
