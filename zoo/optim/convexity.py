"""Critical points, convexity and constraints (sections 12.1 and 12.2).

An objective is a function of one point, a tensor of shape (d,), that returns a scalar and that autograd can
differentiate. Use float64: what counts as 0 depends on rounding.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zoo._checks import check_at_least, check_positive

__all__ = [
    "Objective",
    "classify_critical_point",
    "hessian",
    "is_convex",
    "jensen_gap",
    "lagrangian",
    "project_onto_ball",
]

Objective = Callable[[Tensor], Tensor]
"""From a point of shape (d,) to a scalar."""


def hessian(objective: Objective, x: Float[Tensor, " d"]) -> Float[Tensor, "d d"]:
    """The second derivatives at x."""
    second: Tensor = torch.func.jacrev(torch.func.grad(objective))(x)
    return second


def classify_critical_point(
    objective: Objective, x: Float[Tensor, " d"], *, tolerance: float = 1e-6
) -> Literal["minimum", "maximum", "saddle point", "undecided"]:
    """What a point without slope is, by the eigenvalues of the Hessian (section 12.1.2).

    Args:
        objective: The objective.
        x: The point.
        tolerance: Size up to which a slope or a curvature counts as 0, at least 0.

    Returns:
        ``minimum`` or ``maximum``, both local, ``saddle point``, or ``undecided`` if a curvature is 0 and the
        others have one sign: ``x^3`` and ``x^4`` have the same derivatives at 0 up to the second.

    Raises:
        ValueError: If the gradient is not 0.
    """
    check_at_least("tolerance", tolerance, 0)
    slope = float(torch.func.grad(objective)(x).norm())
    if not slope <= tolerance:
        raise ValueError(f"the gradient at x has length {slope:g}, but must be 0 at a critical point")
    curvatures = torch.linalg.eigvalsh(hessian(objective, x))
    up, down = curvatures > tolerance, curvatures < -tolerance
    if up.any() and down.any():
        return "saddle point"
    if up.all():
        return "minimum"
    return "maximum" if down.all() else "undecided"


def is_convex(objective: Objective, points: Float[Tensor, "points d"], *, tolerance: float = 1e-6) -> bool:
    """Whether the Hessian is positive semidefinite at all of these points (section 12.2.2.3).

    False is certain. True proves it for a quadratic objective only; for others, take many points.

    Args:
        objective: The objective.
        points: Where to look.
        tolerance: How far below 0 an eigenvalue may be, at least 0.
    """
    check_at_least("tolerance", tolerance, 0)
    return all(bool((torch.linalg.eigvalsh(hessian(objective, x)) >= -tolerance).all()) for x in points)


def jensen_gap(
    objective: Objective, points: Float[Tensor, "points d"], weights: Float[Tensor, " points"]
) -> Float[Tensor, ""]:
    """``sum_i a_i f(x_i) - f(sum_i a_i x_i)``, which is never negative for a convex f (section 12.2.1.3).

    With two points it is the definition of a convex function. It needs no derivative.

    Args:
        objective: The objective f.
        points: The points x_i.
        weights: The weights a_i, each at least 0, that sum to 1.

    Raises:
        ValueError: If the weights are not such.
    """
    total = float(weights.sum())
    if not (weights >= 0).all() or abs(total - 1) > 1e-6:
        raise ValueError(f"weights is {weights.tolist()}, but must be at least 0 each and sum to 1")
    mean_of_values = sum((a * objective(x) for a, x in zip(weights, points, strict=True)), torch.zeros(()))
    return mean_of_values - objective(weights @ points)


def project_onto_ball(x: Float[Tensor, "*shape"], *, radius: float) -> Float[Tensor, "*shape"]:
    """The point nearest to x whose norm is at most ``radius`` (section 12.2.3.3).

    It is ``x * min(1, radius / ||x||)``: for a gradient, clipping (section 9.5.3).

    Args:
        x: The point.
        radius: Radius of the ball around 0, positive.
    """
    check_positive("radius", radius)
    norm = torch.linalg.vector_norm(x)
    return x * (radius / norm) if norm > radius else x.clone()


def lagrangian(
    objective: Objective, constraints: Sequence[Objective], multipliers: Sequence[float]
) -> Objective:
    """``f(x) + sum_i a_i c_i(x)``: constraints ``c_i(x) <= 0`` as penalties (sections 12.2.3.1 and 12.2.3.2).

    Weight decay is one: ``c(w) = ||w||^2 / 2 - r`` with a constant r, and the decay as the multiplier.

    Args:
        objective: The objective f.
        constraints: The functions c_i.
        multipliers: The multipliers a_i, each at least 0.

    Returns:
        An objective.

    Raises:
        ValueError: If a multiplier is negative, or there are not as many as constraints.
    """
    if len(constraints) != len(multipliers):
        raise ValueError(
            f"the number of multipliers is {len(multipliers)}, but must be {len(constraints)}, "
            "that of the constraints"
        )
    for i, multiplier in enumerate(multipliers):
        check_at_least(f"multipliers[{i}]", multiplier, 0)

    def penalized(x: Tensor) -> Tensor:
        value = objective(x)
        for constraint, multiplier in zip(constraints, multipliers, strict=True):
            value = value + multiplier * constraint(x)
        return value

    return penalized
