"""Acquisition functions: how much an evaluation at a point promises, given a prediction of its outcome.

Bayesian optimisation fits a Gaussian process to what was evaluated and goes on where one of these is largest.
Chapter 19 of the book searches hyperparameters without a model, and chapter 18 only predicts: neither has
them. Larger is better for all of them and for both directions.

Where the prediction is certain, the standard deviation is 0: values and gradients are finite there too.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from zoo._checks import check_at_least, check_choice

__all__ = ["expected_improvement", "probability_of_improvement", "upper_confidence_bound"]


def expected_improvement(
    mean: Float[Tensor, "*points"], std: Float[Tensor, "*points"], *, best: float, direction: str
) -> Float[Tensor, "*points"]:
    """By how much a point beats the best value on average, ``E[max(f - best, 0)]`` for ``maximize``.

    With the mean gain d (``mean - best`` or, for ``minimize``, ``best - mean``), the standard deviation s and
    z = d / s it is d Phi(z) + s phi(z) (Jones, Schonlau and Welch 1998, Efficient Global Optimization of
    Expensive Black-Box Functions, equation 15).

    Args:
        mean: Predicted means, float32 or float64, in units of the objective.
        std: Predicted standard deviations without the noise of an observation, at least 0, in the same units.
        best: The best value so far, in the same units.
        direction: ``minimize`` or ``maximize``.

    Returns:
        Expected improvements, at least 0, in units of the objective.

    Raises:
        ValueError: If a standard deviation is negative or the direction is unknown.
    """
    gain, std = _gain(mean - best, direction), _not_zero(std)
    z = gain / std
    # Far below the best both terms nearly cancel, and rounding may leave less than nothing.
    return (gain * _normal_cdf(z) + std * _normal_density(z)).clamp_min(0)


def probability_of_improvement(
    mean: Float[Tensor, "*points"], std: Float[Tensor, "*points"], *, best: float, direction: str
) -> Float[Tensor, "*points"]:
    """How likely a point beats the best value, ``P(f > best)`` for ``maximize``: Phi(d / s).

    Source: Kushner 1964, A New Method of Locating the Maximum Point of an Arbitrary Multipeak Curve in the
    Presence of Noise. It does not ask by how much, and so stays near the best point.

    Args:
        mean: Predicted means, float32 or float64, in units of the objective.
        std: Predicted standard deviations without the noise of an observation, at least 0, in the same units.
        best: The best value so far, in the same units.
        direction: ``minimize`` or ``maximize``.

    Returns:
        Probabilities in [0, 1]; 1/2 where the prediction is certain and equals the best.

    Raises:
        ValueError: If a standard deviation is negative or the direction is unknown.
    """
    return _normal_cdf(_gain(mean - best, direction) / _not_zero(std))


def upper_confidence_bound(
    mean: Float[Tensor, "*points"], std: Float[Tensor, "*points"], *, direction: str, kappa: float = 2.0
) -> Float[Tensor, "*points"]:
    """The best that may reasonably be hoped for, ``mean + kappa std`` for ``maximize``.

    For ``minimize`` it is the negative of the lower bound, ``kappa std - mean``, so that larger is better
    there too (Srinivas et al. 2010, Gaussian Process Optimization in the Bandit Setting).

    Args:
        mean: Predicted means, float32 or float64, in units of the objective.
        std: Predicted standard deviations without the noise of an observation, at least 0, in the same units.
        direction: ``minimize`` or ``maximize``.
        kappa: Weight of what is unknown, at least 0; 0 only exploits.

    Returns:
        Bounds, in units of the objective.

    Raises:
        ValueError: If a standard deviation or ``kappa`` is negative or the direction is unknown.
    """
    check_at_least("kappa", kappa, 0)
    _check_std(std)
    return _gain(mean, direction) + kappa * std


def _gain(difference: Tensor, direction: str) -> Tensor:
    """The difference, turned so that more is better."""
    check_choice("direction", direction, ("minimize", "maximize"))
    return difference if direction == "maximize" else -difference


def _check_std(std: Tensor) -> None:
    if (std < 0).any():
        raise ValueError(f"std is {float(std.min())} at some point, but must be at least 0")


def _not_zero(std: Tensor) -> Tensor:
    """The standard deviation, so far from 0 that its square, by which gradients divide, is no subnormal."""
    _check_std(std)
    return std.clamp_min(torch.finfo(std.dtype).tiny ** 0.4)


def _normal_cdf(z: Tensor) -> Tensor:
    """Distribution function of the standard normal distribution."""
    probability: Tensor = torch.special.ndtr(z)
    return probability


def _normal_density(z: Tensor) -> Tensor:
    """Density of the standard normal distribution."""
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
