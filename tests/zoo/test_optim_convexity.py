"""Critical points, convexity and constraints."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.zoo.optim_runs import START, f64
from zoo import optim
from zoo.optim import convexity, toy


@pytest.mark.parametrize(
    ("objective", "x", "kind"),
    [
        (toy.saddle, (0, 0), "saddle point"),
        (toy.valley, (0, 0), "minimum"),
        (lambda x: -toy.valley(x), (0, 0), "maximum"),
        (lambda x: x[0] ** 3, (0,), "undecided"),
        (lambda x: x[0] ** 2 + x[1] ** 4, (0, 0), "undecided"),
        (lambda x: x[0] ** 2 - x[1] ** 2 + x[2] ** 4, (0, 0, 0), "saddle point"),
        (lambda x: x[0] * x[1], (0, 0), "saddle point"),
        (lambda x: torch.cos(math.pi * x[0]), (1,), "minimum"),
        (lambda x: torch.cos(math.pi * x[0]), (2,), "maximum"),
    ],
)
def test_critical_points(objective: Any, x: tuple[float, ...], kind: str) -> None:
    assert convexity.classify_critical_point(objective, f64(*x)) == kind


def test_point_with_a_slope_is_not_critical() -> None:
    with pytest.raises(ValueError, match="the gradient at x has length 5, but must be 0 at a critical point"):
        convexity.classify_critical_point(lambda x: 3 * x[0] + 4 * x[1], f64(0, 0))


def test_hessian_by_hand() -> None:
    hessian = convexity.hessian(lambda x: x[0] ** 3 * x[1] + x[1] ** 2, f64(2, 5))
    torch.testing.assert_close(hessian, f64([60, 12], [12, 2]))


def test_convex_functions_of_the_section() -> None:
    line = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    assert convexity.is_convex(lambda x: 0.5 * x[0] ** 2, line)
    assert convexity.is_convex(lambda x: torch.exp(0.5 * x[0]), line)
    assert convexity.is_convex(lambda x: -x[0], line)
    assert not convexity.is_convex(lambda x: torch.cos(math.pi * x[0]), line)
    assert not convexity.is_convex(lambda x: -(x[0] ** 2), line)
    plane = torch.cartesian_prod(line[:, 0], line[:, 0])
    assert convexity.is_convex(toy.tilted_valley, plane)
    assert not convexity.is_convex(toy.saddle, plane)


def test_jensen_gap_is_the_variance_for_a_square() -> None:
    points, weights = f64([1], [2], [6]), f64(0.5, 0.25, 0.25)
    mean = 0.5 + 0.5 + 1.5
    variance = 0.5 * (1 - mean) ** 2 + 0.25 * (2 - mean) ** 2 + 0.25 * (6 - mean) ** 2
    assert convexity.jensen_gap(lambda x: x[0] ** 2, points, weights).item() == pytest.approx(variance)
    assert convexity.jensen_gap(lambda x: 3 * x[0] + 1, points, weights).item() == pytest.approx(0, abs=1e-12)
    assert convexity.jensen_gap(lambda x: -(x[0] ** 2), points, weights).item() == pytest.approx(-variance)
    for bad in (f64(0.5, 0.5, 0.5), f64(1.5, -0.25, -0.25)):
        with pytest.raises(ValueError, match="but must be at least 0 each and sum to 1"):
            convexity.jensen_gap(lambda x: x[0], points, bad)


def test_projection_is_the_nearest_point_of_the_ball() -> None:
    x = f64([3, 0], [0, 4])
    projected = convexity.project_onto_ball(x, radius=2.5)
    torch.testing.assert_close(projected, x / 2)
    others = torch.randn(500, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    others = others * (2.5 / others.flatten(1).norm(dim=1).clamp(min=2.5))[:, None, None]
    assert ((others - x).flatten(1).norm(dim=1) >= (projected - x).norm()).all()
    assert torch.equal(convexity.project_onto_ball(x, radius=6), x)
    assert not convexity.project_onto_ball(torch.zeros(2), radius=1).any()
    with pytest.raises(ValueError, match="radius is 0, but must be positive"):
        convexity.project_onto_ball(x, radius=0)


def test_projection_of_a_gradient_is_clipping() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([3.0, -4, 12])
    expected = convexity.project_onto_ball(parameter.grad, radius=1)
    nn.utils.clip_grad_norm_([parameter], 1)
    torch.testing.assert_close(parameter.grad, expected)


def test_multiplier_enforces_a_constraint() -> None:
    """(x - 2)^2 under x <= 1 has the multiplier 2: there the slopes of objective and penalty cancel."""
    penalized = convexity.lagrangian(lambda x: (x[0] - 2) ** 2, [lambda x: x[0] - 1], [2.0])
    path = toy.trajectory(penalized, (0.0,), lambda p: optim.Newton(p), steps=1)
    assert path[-1].item() == pytest.approx(1)
    assert penalized(f64(1)).item() == pytest.approx(1)  # the constraint is tight: its penalty is 0
    with pytest.raises(ValueError, match="the number of multipliers is 1, but must be 0"):
        convexity.lagrangian(toy.bowl, [], [1.0])
    with pytest.raises(ValueError, match=r"multipliers\[0\] is -1\.0, but must be at least 0"):
        convexity.lagrangian(toy.bowl, [toy.bowl], [-1.0])


def test_weight_decay_is_a_penalty() -> None:
    penalized = convexity.lagrangian(toy.valley, [lambda x: (x @ x) / 2 - 7], [0.3])
    path = toy.trajectory(penalized, START, lambda p: optim.SGD(p, lr=0.1), steps=5)
    decayed = toy.trajectory(toy.valley, START, lambda p: optim.SGD(p, lr=0.1, weight_decay=0.3), steps=5)
    torch.testing.assert_close(path, decayed)
