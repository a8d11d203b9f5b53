"""What a study makes best: names of metrics with a direction, and which of two values is better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.errors import SearchError
from search.trials import Direction

__all__ = ["Objective", "parse_objective", "parse_objectives"]

DIRECTIONS: dict[str, Direction] = {
    "min": "minimize",
    "minimize": "minimize",
    "max": "maximize",
    "maximize": "maximize",
}


@dataclass(frozen=True)
class Objective:
    """One objective of a study.

    Attributes:
        name: A metric that a run logs (``val/acc``), ``parameters`` or ``latency``.
        direction: ``minimize`` or ``maximize``.
    """

    name: str
    direction: Direction

    def loss(self, value: float) -> float:
        """The value as something that should be low; infinity for NaN, which is worse than every number."""
        if math.isnan(value):
            return math.inf
        return value if self.direction == "minimize" else -value

    def __str__(self) -> str:
        return f"{self.name}:{self.direction[:3]}"


def parse_objective(text: str) -> Objective:
    """An objective as the command line has it: ``val/acc:max``, ``parameters:min``.

    Raises:
        SearchError: If there is no name or no direction; the message is one line.
    """
    name, colon, direction = (part.strip() for part in text.rpartition(":"))
    if not colon:
        raise SearchError(f"objective {text!r} has no direction: write {text}:max or {text}:min")
    if direction not in DIRECTIONS:
        raise SearchError(f"objective {text!r} ends in {direction!r}, but must end in min or max: {name}:max")
    if not name:
        raise SearchError(f"objective {text!r} has no name: write one such as val/acc{text}")
    return Objective(name, DIRECTIONS[direction])


def parse_objectives(texts: Sequence[str]) -> tuple[Objective, ...]:
    """All objectives of a study, the one that prunes and draws curves first.

    Raises:
        SearchError: If one cannot be parsed, one is named twice, or there is none; the message is one line.
    """
    objectives = tuple(map(parse_objective, texts))
    if not objectives:
        raise SearchError("a study needs an objective, such as val/acc:max")
    names = [objective.name for objective in objectives]
    for name in names:
        if names.count(name) > 1:
            raise SearchError(f"objective {name!r} is given {names.count(name)} times, not once")
    return objectives
