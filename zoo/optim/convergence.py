"""How fast descent gets where, in numbers (sections 12.4 to 12.6)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zoo._checks import check_at_least, check_fraction, check_positive

__all__ = [
    "best_constant_rate",
    "chance_drawn",
    "minibatch_deviation",
    "momentum_radius",
    "polyak_average",
    "sgd_bound",
]


def sgd_bound(distance: float, largest_gradient: float, rates: Sequence[float]) -> float:
    """How far stochastic gradient descent is from the minimum at most, in the mean (section 12.4.3).

    The bound ``(r^2 + L^2 sum rate_t^2) / (2 sum rate_t)`` holds for a convex objective at the averaged point
    (:func:`polyak_average`).

    Args:
        distance: Distance r of the first point from the minimum, at least 0.
        largest_gradient: Largest norm L of a single example's gradient, at least 0.
        rates: Learning rate of each step, at least 0 and not all 0.

    Returns:
        Expected value there minus the smallest value.
    """
    check_at_least("distance", distance, 0)
    check_at_least("largest_gradient", largest_gradient, 0)
    _check_rates(rates)
    squares = math.fsum(rate**2 for rate in rates)
    return (distance**2 + largest_gradient**2 * squares) / (2 * math.fsum(rates))


def best_constant_rate(distance: float, largest_gradient: float, steps: int) -> float:
    """The rate ``r / (L sqrt(T))``, at which the bound is lowest: ``r L / sqrt(T)`` (section 12.4.3).

    Args:
        distance: Distance r of the first point from the minimum, positive.
        largest_gradient: Largest norm L of a single example's gradient, positive.
        steps: Number of steps T, positive.
    """
    check_positive("distance", distance)
    check_positive("largest_gradient", largest_gradient)
    check_positive("steps", steps)
    return distance / (largest_gradient * math.sqrt(steps))


def polyak_average(path: Float[Tensor, "steps ..."], rates: Sequence[float]) -> Float[Tensor, "..."]:
    """The points of a path, averaged with the learning rates as weights (section 12.4.3).

    It lies nearer to the minimum than the last point where noise is large; the bound is proved for it.

    Args:
        path: The point at the start of each step.
        rates: Learning rate of each step, at least 0 and not all 0.

    Raises:
        ValueError: If a rate is negative, all are 0, or there are not as many as steps.
    """
    if len(rates) != len(path):
        raise ValueError(f"the number of rates is {len(rates)}, but must be {len(path)}, one for each step")
    _check_rates(rates)
    weights = torch.tensor(rates, dtype=path.dtype, device=path.device)
    average: Tensor = torch.tensordot(weights / weights.sum(), path, dims=1)
    return average


def chance_drawn(examples: int, draws: int) -> float:
    """Chance ``1 - (1 - 1/n)^draws`` that an example is drawn at least once, with replacement (12.4.4).

    An epoch that draws n times from n examples misses more than a third of them, one that shuffles none.

    Args:
        examples: Number of examples n, positive.
        draws: Number of draws, at least 0.
    """
    check_positive("examples", examples)
    check_at_least("draws", draws, 0)
    return float(1 - (1 - 1 / examples) ** draws)


def minibatch_deviation(
    gradients: Float[Tensor, "examples ..."], batch_size: int, *, replacement: bool
) -> Float[Tensor, "..."]:
    """Standard deviation of a minibatch's gradient, over all minibatches (section 12.5.2).

    That of an example divided by ``sqrt(batch_size)``; without replacement less, and 0 for all examples.

    Args:
        gradients: Gradient of each example, two examples at least.
        batch_size: Size b of the minibatches, positive, at most the number of examples without replacement.
        replacement: Whether an example can be in a minibatch twice.

    Raises:
        ValueError: If the batch size is out of its range, or there are fewer than two examples.
    """
    n = len(gradients)
    check_at_least("the number of examples", n, 2)
    check_positive("batch_size", batch_size)
    variance = gradients.var(dim=0, correction=0) / batch_size
    if not replacement:
        if batch_size > n:
            raise ValueError(
                f"batch_size is {batch_size}, but must be at most {n} to draw without replacement"
            )
        variance = variance * (n - batch_size) / (n - 1)
    return variance.sqrt()


def momentum_radius(rate_times_curvature: float, momentum: float) -> float:
    """Factor by which momentum shrinks the distance per step, in the long run, on ``curvature / 2 * x^2``.

    Below 1, so that it converges, for a product in (0, 2 + 2 momentum); for gradient descent that is (0, 2)
    (section 12.6.3.2). It is the largest absolute eigenvalue of one step, a map of velocity and point.

    Args:
        rate_times_curvature: Learning rate times curvature.
        momentum: Share of the velocity that is kept, in [0, 1).
    """
    check_fraction("momentum", momentum)
    # In units of the curvature the book's matrix has 1 for lambda and this product for eta.
    step = torch.tensor(
        [[momentum, 1.0], [-rate_times_curvature * momentum, 1 - rate_times_curvature]], dtype=torch.float64
    )
    return float(torch.linalg.eigvals(step).abs().max())


def _check_rates(rates: Sequence[float]) -> None:
    for i, rate in enumerate(rates):
        check_at_least(f"rates[{i}]", rate, 0)
    check_positive("the sum of rates", math.fsum(rates))
