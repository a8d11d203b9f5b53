"""The parameters of a study as axes between 0 and 1, logarithmic where the space is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.names import readable_values, short_names
from search.space import path_of
from search.trials import TrialView

__all__ = ["Dimension", "dimensions", "values_by_path"]

MAX_TICKS = 6


@dataclass(frozen=True)
class Dimension:
    """A parameter's axis.

    Attributes:
        path: Dotted path of the parameter.
        name: Its short name.
        low: Value at 0; 0 for a choice.
        high: Value at 1; 0 for a choice.
        log: Whether the axis is logarithmic.
        choices: For a choice its values as texts, from 0 to 1; None for a number.
        labels: How the choices read.
    """

    path: str
    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] | None = None
    labels: tuple[str, ...] = ()

    def position(self, value: Any) -> float:
        """Where a value lies; 0.5 if the axis has only one."""
        if self.choices is not None:
            return self.choices.index(str(value)) / (len(self.choices) - 1) if len(self.choices) > 1 else 0.5
        if self.low == self.high:
            return 0.5
        scale = math.log if self.log else float
        return (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of a few values."""
        if self.choices is not None:
            labels = zip(self.choices, self.labels, strict=True)
            return [(self.position(choice), label) for choice, label in labels]
        return [(self.position(value), text) for value, text in self.round_values()]

    def round_values(self) -> list[tuple[float, str]]:
        """A few round numbers on the axis, as numbers and as texts."""
        if self.low == self.high:
            values = [self.low]
        elif self.log:
            values = _round_factors(self.low, self.high)
        else:
            values = _round_steps(self.low, self.high)
        if isinstance(self.low, int) and isinstance(self.high, int):
            values = [value for value in values if round(value, 6) == round(value)]
        digits = 3
        while len({_tick(value, digits) for value in values}) < len(values):
            digits += 1
        return [(value, _tick(value, digits)) for value in values]


def _round_factors(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, about six at most."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 5), (1, 3), (1,)):
        values = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        values = [value for value in values if low / 1.001 <= value <= high * 1.001]
        if 2 <= len(values) <= MAX_TICKS:
            return values
    # Decades are too many, or the range lies between two round numbers.
    return values[:: math.ceil(len(values) / MAX_TICKS)] if len(values) > 2 else _round_steps(low, high)


def _round_steps(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, at most six of them."""
    for exponent in range(math.floor(math.log10((high - low) / MAX_TICKS)), 400):
        for digit in (1, 2, 5):
            step = digit * 10.0**exponent
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first < MAX_TICKS:
                return [step * n for n in range(first, last + 1)]
    raise AssertionError("no step is that large")


def _tick(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.{digits}g}"


def values_by_path(view: TrialView) -> dict[str, Any]:
    """A trial's parameters by dotted path: of one path, a trial has only one class's."""
    return {path_of(name): value for name, value in view.params.items()}


def dimensions(views: Iterable[TrialView], distributions: Mapping[str, BaseDistribution]) -> list[Dimension]:
    """One axis for each path that any trial has, over all that its distributions span.

    Args:
        views: The trials of a study.
        distributions: Optuna's distributions by a parameter's name in the study. Those of one path belong to
            different classes, and share its axis.
    """
    values: dict[str, list[Any]] = {}
    for view in views:
        for path, value in values_by_path(view).items():
            values.setdefault(path, []).append(value)
    of_path: dict[str, list[BaseDistribution]] = {}
    for name, distribution in distributions.items():
        of_path.setdefault(path_of(name), []).append(distribution)
    names = short_names(values)
    return [_dimension(path, names[path], of_path[path], values[path]) for path in values]


def _dimension(
    path: str, name: str, distributions: Sequence[BaseDistribution], values: Sequence[Any]
) -> Dimension:
    numbers = [d for d in distributions if isinstance(d, FloatDistribution | IntDistribution)]
    if len(numbers) == len(distributions):
        low, high = min(d.low for d in numbers), max(d.high for d in numbers)
        return Dimension(path, name, low, high, log=low > 0 and any(d.log for d in numbers))
    choices: dict[str, None] = {}
    for d in distributions:
        if isinstance(d, CategoricalDistribution):
            choices |= dict.fromkeys(map(str, d.choices))
    # Of one class it may be a choice and of another a number.
    choices |= dict.fromkeys(map(str, values))
    readable = readable_values(choices)
    return Dimension(path, name, choices=tuple(choices), labels=tuple(readable[c] for c in choices))
