"""What is known of a trial, apart from how a storage keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Curve", "Direction", "TrialState", "TrialView"]

Direction = Literal["minimize", "maximize"]
TrialState = Literal["running", "paused", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Curve:
    """What a scheduler sees of a trial.

    Attributes:
        number: Number of the trial in its study, from 0 on.
        losses: Objective by resource (epochs or folds done, from 1 on); the lower, the better.
        state: ``running``; ``paused``, to go on when it is promoted; or how it ended.
    """

    number: int
    losses: Mapping[int, float]
    state: TrialState

    @property
    def resource(self) -> int:
        """Epochs or folds done."""
        return max(self.losses, default=0)


@dataclass(frozen=True)
class TrialView:
    """A trial as people look at it.

    Attributes:
        number: Its number in the study, from 0 on; its folder is ``trials/<number>``, with four digits.
        state: ``running``, ``paused`` (waits for a promotion, or was interrupted) or how it ended.
        params: Values by name of the search space, in its order.
        curve: First objective by resource (epochs or folds done, from 1 on), as it was measured.
        values: The final objectives; None unless the trial is ``complete``. A ``pruned`` trial has its curve.
        seconds: Time spent in training so far, in seconds, over all workers that had it.
        error: One line, when it failed.
        worker: Who has or had it last: ``host:pid``.
    """

    number: int
    state: TrialState
    params: Mapping[str, Any]
    curve: Mapping[int, float] = field(default_factory=dict)
    values: tuple[float, ...] | None = None
    seconds: float = 0.0
    error: str | None = None
    worker: str | None = None
