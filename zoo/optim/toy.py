"""The small objectives of chapter 12, and the way an optimizer takes on them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo._checks import check_at_least
from zoo.optim.convexity import Objective

__all__ = ["bowl", "cosh", "parabola", "saddle", "tilted_valley", "trajectory", "valley", "wave"]


def parabola(x: Float[Tensor, "*points 1"]) -> Float[Tensor, "*points"]:
    """``x^2`` (section 12.3.1)."""
    return x[..., 0] ** 2


def wave(x: Float[Tensor, "*points 1"]) -> Float[Tensor, "*points"]:
    """``x cos(0.15 pi x)``: many local minima, curvature of both signs (sections 12.3.1 and 12.3.3)."""
    return x[..., 0] * torch.cos(0.15 * math.pi * x[..., 0])


def cosh(x: Float[Tensor, "*points 1"]) -> Float[Tensor, "*points"]:
    """``cosh(x / 2)``: convex, but no parabola (section 12.3.3.1)."""
    return torch.cosh(0.5 * x[..., 0])


def saddle(x: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points"]:
    """``x1^2 - x2^2`` (section 12.1.2.2)."""
    return x[..., 0] ** 2 - x[..., 1] ** 2


def bowl(x: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points"]:
    """``x1^2 + 2 x2^2`` (sections 12.3.2 and 12.4.1)."""
    return x[..., 0] ** 2 + 2 * x[..., 1] ** 2


def valley(x: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points"]:
    """``0.1 x1^2 + 2 x2^2``: twenty times as steep in one direction (sections 12.6 to 12.9)."""
    return 0.1 * x[..., 0] ** 2 + 2 * x[..., 1] ** 2


def tilted_valley(x: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points"]:
    """``0.1 (x1 + x2)^2 + 2 (x1 - x2)^2``: a valley that runs along no axis (section 12.7, exercise)."""
    return 0.1 * (x[..., 0] + x[..., 1]) ** 2 + 2 * (x[..., 0] - x[..., 1]) ** 2


def trajectory(
    objective: Objective,
    start: Sequence[float],
    optimizer: Callable[[list[nn.Parameter]], Optimizer],
    *,
    steps: int,
    lr_scheduler: Callable[[Any], LRScheduler] | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> Float[Tensor, "points d"]:
    """The points that an optimizer visits, in float64.

    Args:
        objective: From a point of shape (d,) to a scalar.
        start: First point, d numbers.
        optimizer: Builds the optimizer from the parameters.
        steps: Number of steps, at least 0.
        lr_scheduler: Builds a learning rate schedule, asked after every step.
        noise: Standard deviation of the normal noise that is added to the gradient, at least 0: it stands for
            the choice of a minibatch (section 12.4.1).
        seed: Seed of the noise.

    Returns:
        The first point and that after each step.
    """
    check_at_least("steps", steps, 0)
    check_at_least("noise", noise, 0)
    generator = torch.Generator().manual_seed(seed)
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    method = optimizer([x])
    schedule = None if lr_scheduler is None else lr_scheduler(method)

    def closure() -> float:
        method.zero_grad()
        loss = objective(x)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        assert x.grad is not None
        x.grad += noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return loss.item()

    path = [x.detach().clone()]
    for _ in range(steps):
        method.step(closure)
        if schedule is not None:
            schedule.step()
        path.append(x.detach().clone())
    return torch.stack(path)
