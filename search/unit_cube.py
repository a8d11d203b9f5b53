"""A search space as the unit cube: one coordinate for each parameter, and back."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

__all__ = ["Array", "UnitCube", "num_values", "value_at"]

Array = npt.NDArray[np.float64]


class UnitCube:
    """Maps configurations to points of [0, 1]^d and back.

    Equal lengths of a coordinate mean equal lengths of its range, or of its logarithm where the distribution
    says so. What has only some values (steps, whole numbers, choices) divides the coordinate among them: in
    equal shares, so that the first and the last value are as likely as those between, or by the logarithm of
    ``v - 1/2`` to ``v + 1/2`` for whole numbers on a logarithmic scale. A value's point is the middle of its
    share (at ``log v`` on the logarithmic scale), and each point of the share leads back to that very value;
    plain floats come back up to rounding.

    Args:
        space: Distributions by name; at least one.

    Attributes:
        space: The same; a point's coordinates have its order.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        if not space:
            raise ValueError("the space has no parameters, but must have at least one")
        self.space = dict(space)

    def to_unit(self, params: Mapping[str, Any]) -> Array:
        """The point of a configuration.

        Args:
            params: Values by name; others than those of the space are ignored.

        Returns:
            Its coordinates (d,).
        """
        return np.array([_to_unit(distribution, params[name]) for name, distribution in self.space.items()])

    def from_unit(self, point: Array) -> dict[str, Any]:
        """The configuration of a point.

        Args:
            point: Coordinates (d,) in [0, 1].

        Returns:
            Values by name, of the distributions' own types.
        """
        return {
            name: _from_unit(distribution, float(coordinate))
            for (name, distribution), coordinate in zip(self.space.items(), point, strict=True)
        }

    def snap(self, points: Array) -> Array:
        """Move points to the middle of their shares, so that equal configurations are equal points.

        Args:
            points: Points (n, d); coordinates beyond [0, 1] are moved to the border.

        Returns:
            Points (n, d).
        """
        snapped = np.clip(points, 0.0, 1.0)
        for column, distribution in enumerate(self.space.values()):
            if num_values(distribution) is not None:
                snapped[:, column] = [
                    _to_unit(distribution, _from_unit(distribution, coordinate))
                    for coordinate in snapped[:, column].tolist()
                ]
        return snapped

    def features(self, points: Array) -> Array:
        """What a model sees of points: choices, which have no order, as one column of 0 and 1 each.

        Args:
            points: Points (n, d).

        Returns:
            Features (n, columns) in [0, 1], in the order of the space and of the choices.
        """
        columns = []
        for column, distribution in enumerate(self.space.values()):
            coordinate = points[:, column, None]
            if isinstance(distribution, CategoricalDistribution):
                count = len(distribution.choices)
                chosen = np.minimum((coordinate * count).astype(int), count - 1)
                coordinate = (chosen == np.arange(count)).astype(float)
            columns.append(coordinate)
        return np.concatenate(columns, axis=1)


def num_values(distribution: BaseDistribution) -> int | None:
    """Number of values that a parameter can have; None for a float without a step."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is not None:
        return round((distribution.high - distribution.low) / distribution.step) + 1
    return 1 if distribution.single() else None


def value_at(distribution: BaseDistribution, index: int) -> Any:
    """One of the values of a parameter that has only some.

    Args:
        distribution: One with choices or steps, or of whole numbers.
        index: From 0 on, below :func:`num_values`.

    Returns:
        The value; of steps the shortest decimal number (.3 for .1 and two steps of .1).
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[index]
    if isinstance(distribution, IntDistribution):
        return distribution.low + index * distribution.step
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is None:
        return distribution.low
    return float(Decimal(str(distribution.low)) + index * Decimal(str(distribution.step)))


def _bounds(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Ends of the range on the scale on which its coordinate is even, for all but equal shares."""
    half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    low, high = distribution.low - half, distribution.high + half
    return (float(np.log(low)), float(np.log(high))) if distribution.log else (low, high)


def _equal_shares(distribution: BaseDistribution) -> int | None:
    """Number of equal shares; None for what has none."""
    if isinstance(distribution, IntDistribution) and distribution.log:
        return None
    return num_values(distribution)


def _to_unit(distribution: BaseDistribution, value: Any) -> float:
    shares = _equal_shares(distribution)
    if shares is not None:
        return (_index_of(distribution, value) + 0.5) / shares
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _bounds(distribution)
    return ((float(np.log(value)) if distribution.log else value) - low) / (high - low)


def _from_unit(distribution: BaseDistribution, coordinate: float) -> Any:
    shares = _equal_shares(distribution)
    if shares is not None:
        return value_at(distribution, min(int(coordinate * shares), shares - 1))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _bounds(distribution)
    value = low + coordinate * (high - low)
    value = float(np.exp(value)) if distribution.log else value
    if isinstance(distribution, IntDistribution):
        value = round(value)
    return min(max(value, distribution.low), distribution.high)


def _index_of(distribution: BaseDistribution, value: Any) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(value))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return 0 if distribution.step is None else round((value - distribution.low) / distribution.step)
