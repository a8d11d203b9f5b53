"""Schedulers by name. What a scheduler is and who asks it: :mod:`search._scheduler`."""

from typing import Any

from search._scheduler import Decision, Median, Scheduler
from search.halving import ASHA, Hyperband, PromotingASHA, SuccessiveHalving, halving_plan
from zoo._checks import check_choice

__all__ = [
    "ASHA",
    "SCHEDULERS",
    "Decision",
    "Hyperband",
    "Median",
    "PromotingASHA",
    "Scheduler",
    "SuccessiveHalving",
    "halving_plan",
    "make_scheduler",
]

SCHEDULERS: dict[str, tuple[type[Scheduler], tuple[str, ...]]] = {
    "none": (Scheduler, ()),
    "median": (Median, ("min_resource",)),
    "asha": (ASHA, ("min_resource", "reduction_factor")),
    "asha_promotion": (PromotingASHA, ("min_resource", "reduction_factor")),
    "successive_halving": (SuccessiveHalving, ("min_resource", "reduction_factor", "num_trials")),
    "hyperband": (Hyperband, ("min_resource", "reduction_factor")),
}
"""Each by its name on the command line, with its arguments beyond ``max_resource``."""


def make_scheduler(
    name: str,
    *,
    max_resource: int,
    min_resource: int = 1,
    reduction_factor: int = 3,
    num_trials: int | None = None,
) -> Scheduler:
    """A scheduler by its name in ``SCHEDULERS``; what it has no use for is left out.

    Args:
        name: Its name.
        max_resource: Epochs or folds of a complete trial.
        min_resource: The first one at which it may decide.
        reduction_factor: About one trial in this many goes on from a rung.
        num_trials: Trials of the study, None if time alone ends it.

    Raises:
        ValueError: If the name is unknown, an argument is out of its range, or ``num_trials`` is missing.
    """
    check_choice("scheduler", name, SCHEDULERS)
    kind, names = SCHEDULERS[name]
    if "num_trials" in names and num_trials is None:
        raise ValueError(f"num_trials is None, but must be a number for {name}")
    given: dict[str, Any] = {
        "min_resource": min_resource,
        "reduction_factor": reduction_factor,
        "num_trials": num_trials,
    }
    return kind(max_resource=max_resource, **{key: given[key] for key in names})
