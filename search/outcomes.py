"""Outcomes of trials that were trained for different times."""

import math
from collections.abc import Sequence

from search.trials import Curve

__all__ = ["comparable_losses"]


def comparable_losses(curves: Sequence[Curve], *, enough: int) -> dict[int, float]:
    """One loss for each trial that has something to say, so that they can be compared.

    A scheduler stops most trials early, and losses after different numbers of epochs are no outcomes of one
    function. So, as in BOHB (Falkner, Klein and Hutter 2018), the losses are those at one resource: the
    highest one that enough trials have reached.

    The trials that ended or paused below it would be missed: a model would know nothing of the bad regions,
    and go there again and again. So each gets the loss with which a trial of its rank went on. Of the trials
    that reached both its last resource and the one in question, ``k`` were no worse at the former: its loss
    is the ``k``-th lowest at the latter, counted from 0. If it was worse than all, as most are, it gets the
    highest, and in addition what it was behind the worst.

    Args:
        curves: All trials of the study.
        enough: How many trials make a resource count; if none has so many, the one with most does.

    Returns:
        Losses by number of the trial. Failed trials and losses that are no numbers are infinite; running
        trials are left out until they reach the resource.
    """
    reached: dict[int, int] = {}
    for curve in curves:
        for resource in curve.losses:
            reached[resource] = reached.get(resource, 0) + 1
    if not reached:
        return {curve.number: math.inf for curve in curves if curve.state == "failed"}
    level = max(reached, key=lambda resource: (min(reached[resource], enough), resource))
    losses: dict[int, float] = {}
    for curve in curves:
        if curve.state == "failed":
            losses[curve.number] = math.inf
        elif level in curve.losses:
            losses[curve.number] = _or_infinite(curve.losses[level])
        elif curve.state != "running" and (loss := _stand_in(curve, curves, level)) is not None:
            losses[curve.number] = loss
    return losses


def _stand_in(curve: Curve, curves: Sequence[Curve], level: int) -> float | None:
    """The loss at a resource that a trial did not reach; None if it cannot be compared with any that did."""
    for resource in sorted((resource for resource in curve.losses if resource < level), reverse=True):
        loss = _or_infinite(curve.losses[resource])
        if math.isinf(loss):
            return math.inf
        pairs = [
            (_or_infinite(other.losses[resource]), _or_infinite(other.losses[level]))
            for other in curves
            if resource in other.losses and level in other.losses
        ]
        if pairs:
            rank = sum(early <= loss for early, _ in pairs)
            if rank < len(pairs):
                return sorted(late for _, late in pairs)[rank]
            return max(late for _, late in pairs) + loss - max(early for early, _ in pairs)
    return None


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
