"""Optuna's trials as schedulers and people see them."""

import math
from datetime import datetime

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search.liveness import shown
from search.objectives import Objective
from search.space import Space
from search.trials import Curve, TrialState, TrialView

__all__ = ["STATES", "curve_of", "last_value", "view_of"]

STATES: dict[OptunaState, TrialState] = {
    OptunaState.RUNNING: "running",
    OptunaState.WAITING: "paused",
    OptunaState.COMPLETE: "complete",
    OptunaState.PRUNED: "pruned",
    OptunaState.FAIL: "failed",
}


def curve_of(trial: FrozenTrial, objective: Objective) -> Curve:
    """What a scheduler sees of a trial.

    Args:
        trial: The trial.
        objective: What it reports.
    """
    losses = {step: objective.loss(value) for step, value in trial.intermediate_values.items()}
    return Curve(trial.number, losses, STATES[trial.state])


def view_of(trial: FrozenTrial, space: Space) -> TrialView:
    """What people see of a trial.

    Args:
        trial: The trial.
        space: What varies; gives the order of the parameters.
    """
    attrs = trial.user_attrs
    return TrialView(
        number=trial.number,
        state=STATES[trial.state],
        params={name: trial.params[name] for name in space.distributions() if name in trial.params},
        curve=dict(sorted(trial.intermediate_values.items())),
        values=tuple(trial.values) if trial.state == OptunaState.COMPLETE else None,
        seconds=attrs.get("seconds", 0.0) + _running_seconds(trial),
        error=attrs.get("error"),
        worker=shown(attrs.get("owner")),
    )


def last_value(trial: FrozenTrial) -> float | None:
    """What a trial reported last, if that is a number that Optuna takes."""
    if not trial.intermediate_values:
        return None
    value = trial.intermediate_values[max(trial.intermediate_values)]
    return value if not math.isnan(value) else None


def _running_seconds(trial: FrozenTrial) -> float:
    """Time since a running trial was claimed, by this machine's clock."""
    if trial.state != OptunaState.RUNNING or trial.datetime_start is None:
        return 0.0
    return max(0.0, (datetime.now() - trial.datetime_start).total_seconds())
