"""How much each parameter matters for an objective, from the trials that are complete."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from search.dimensions import Dimension, values_by_path
from search.trials import TrialView

__all__ = ["Importances", "importances"]

MIN_TRIALS = 4


@dataclass(frozen=True)
class Importances:
    """Shares of parameters in how an objective varies.

    Attributes:
        shares: By short name, largest first; they sum to 1.
        method: Who reckoned them.
        trials: Number of complete trials that they come from.
        left_out: Short names of parameters that not every one of these trials has.
    """

    shares: dict[str, float]
    method: str
    trials: int
    left_out: list[str]


def importances(views: Sequence[TrialView], axes: Sequence[Dimension], objective: int) -> Importances | str:
    """Functional ANOVA on a random forest (Hutter et al., 2014), Optuna's, the same whenever it is called.

    Args:
        views: The trials of a study. Only complete ones count: values of pruned ones are of other epochs.
        axes: The axes of their parameters.
        objective: Index of the objective.

    Returns:
        The shares; one sentence, when the trials tell nothing.
    """
    points = [
        (values_by_path(view), view.values[objective])
        for view in views
        if view.state == "complete" and view.values is not None and math.isfinite(view.values[objective])
    ]
    if len(points) < MIN_TRIALS:
        return (
            f"No importances: they need at least {MIN_TRIALS} complete trials, and there are {len(points)}."
        )
    if len({value for _, value in points}) == 1:
        return f"No importances: all {len(points)} complete trials have the same value."
    common = [axis for axis in axes if all(axis.path in params for params, _ in points)]
    varying = [axis for axis in common if len({str(params[axis.path]) for params, _ in points}) > 1]
    if not varying:
        return "No importances: no parameter varies that all complete trials have."
    distributions = {axis.path: _distribution(axis) for axis in varying}
    with _quiet():
        study = optuna.create_study(storage=None, sampler=optuna.samplers.RandomSampler(seed=0))
        for params, value in points:
            chosen = {
                a.path: str(params[a.path]) if a.choices else a.position(params[a.path]) for a in varying
            }
            study.add_trial(create_trial(params=chosen, distributions=distributions, value=value))
        evaluator = FanovaImportanceEvaluator(n_trees=64, max_depth=64, seed=0)
        shares = get_param_importances(study, evaluator=evaluator, normalize=True)
    names = {axis.path: axis.name for axis in axes}
    # A single value explains nothing.
    constant = {axis.name: 0.0 for axis in common if axis not in varying}
    left_out = [axis.name for axis in axes if axis not in common]
    by_name = {names[path]: float(share) for path, share in shares.items()}
    return Importances(by_name | constant, "fANOVA", len(points), left_out)


def _distribution(axis: Dimension) -> BaseDistribution:
    # Positions: the forest weighs every part of an axis alike, on a logarithmic one every decade.
    return FloatDistribution(0.0, 1.0) if axis.choices is None else CategoricalDistribution(axis.choices)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line about a new study."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
