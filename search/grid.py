"""The points of a grid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.errors import SearchError
from search.space import path_of
from search.unit_cube import num_values, value_at

__all__ = ["grid_points"]

MOST_WHOLE_NUMBERS = 16
"""A grid has each whole number of a range only if there are no more than this."""
MOST_POINTS = 100_000
"""The largest grid."""


def grid_points(space: Mapping[str, BaseDistribution], num: Mapping[str, int]) -> list[dict[str, Any]]:
    """All points of a grid: each choice, each step, and of other numbers as many as asked for, evenly spaced.

    Args:
        space: Distributions by name; a choice of classes before the settings of its classes.
        num: How many points a parameter has, by name: evenly spaced from its lowest value to its highest, in
            the logarithm where it is logarithmic; 1 is the middle. Without it a number has all its steps.

    Returns:
        Values by name, the last parameter varying fastest. Settings of a class are only there where the class
        is chosen.

    Raises:
        SearchError: If a number has neither ``num`` nor a step, or there are too many points.
        ValueError: If there is a setting of a class that cannot be chosen.
    """
    points: list[dict[str, Any]] = [{}]
    for name, distribution in space.items():
        values = _grid_values(name, distribution, num.get(name))
        longer: list[dict[str, Any]] = []
        for point in points:
            if _applies(name, point, space):
                longer += [{**point, name: value} for value in values]
            else:
                longer.append(point)
        points = longer
        _check_size(len(points))
    return points


def _check_size(size: int) -> None:
    if size > MOST_POINTS:
        raise SearchError(
            f"--sampler is 'grid', but the grid has more than {MOST_POINTS} points; "
            "give some parameters a smaller num"
        )


def _applies(name: str, point: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> bool:
    """Whether a point has a parameter: always, unless it is a setting of a class that is not chosen there."""
    path, _, chosen = name.partition("@")
    if not chosen:
        return True
    parents = [other for other in space if path.startswith(f"{path_of(other)}.init_args.")]
    parents = [other for other in parents if chosen in _choices(space[other])]
    if not parents:
        raise ValueError(f"{name} is a setting of the class {chosen}, but the space has no choice of it")
    nearest = max(len(path_of(other)) for other in parents)
    return any(point.get(other) == chosen for other in parents if len(path_of(other)) == nearest)


def _choices(distribution: BaseDistribution) -> Sequence[Any]:
    return distribution.choices if isinstance(distribution, CategoricalDistribution) else ()


def _grid_values(name: str, distribution: BaseDistribution, num: int | None) -> list[Any]:
    """Values of a parameter on the grid."""
    count, here = num_values(distribution), f"--sampler is 'grid', but {path_of(name)}"
    _check_size(num or 0)
    if num is None:
        if count is None:
            raise SearchError(f"{here} has neither num nor step; give it a number of points, such as num: 5")
        if (
            isinstance(distribution, IntDistribution)
            and distribution.step == 1
            and count > MOST_WHOLE_NUMBERS
        ):
            raise SearchError(
                f"{here} has {count} values; give it a number of points, such as num: 5, or a step"
            )
        num = count
    if count is not None and num > count:
        raise SearchError(f"{here} has num {num}, but only {count} values")
    # From end to end, or the middle alone.
    places = np.linspace(0, 1, num) if num > 1 else np.array([0.5])
    if count is not None and not (isinstance(distribution, IntDistribution) and distribution.log):
        return [value_at(distribution, math.floor(place * (count - 1) + 0.5)) for place in places]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if num == count:  # each whole number
        return list(range(int(low), int(high) + 1))
    spaced = [
        low * (high / low) ** place if distribution.log else low + place * (high - low) for place in places
    ]
    if isinstance(distribution, IntDistribution):
        return list(dict.fromkeys(math.floor(value + 0.5) for value in spaced))  # equal ones once
    # Twelve digits, so that .001 is written as such.
    return [min(max(float(f"{value:.12g}"), low), high) for value in spaced]
