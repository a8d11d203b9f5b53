import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from zoo.gp.acquisition import expected_improvement, probability_of_improvement, upper_confidence_bound

DIRECTIONS = ("minimize", "maximize")

# Means, standard deviations; the best value is 0.5.
MEAN = torch.tensor([0.5, 1.5, -0.5, 0.25, 3.0, 0.5], dtype=torch.float64)
STD = torch.tensor([1.0, 1.0, 2.0, 0.5, 0.1, 0.125], dtype=torch.float64)
BEST = 0.5


def test_expected_improvement_by_hand() -> None:
    """At the best value it is std * phi(0); one standard deviation above it, Phi(1) + phi(1)."""
    found = expected_improvement(MEAN[:2], STD[:2], best=BEST, direction="maximize")
    expected = [0.3989422804, 0.8413447461 + 0.2419707245]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)
    # Minimising, that point is one standard deviation worse: phi(1) - (1 - Phi(1)).
    found = expected_improvement(MEAN[:2], STD[:2], best=BEST, direction="minimize")
    expected = [0.3989422804, 0.2419707245 - 0.1586552539]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def test_probability_of_improvement_by_hand() -> None:
    """Phi(0), Phi(1) and Phi(-1/2)."""
    found = probability_of_improvement(MEAN[:3], STD[:3], best=BEST, direction="maximize")
    expected = torch.tensor(
        [0.5, 0.8413447461, 0.3085375387], dtype=torch.float64
    )  # Phi(0), Phi(1), Phi(-1/2)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    found = probability_of_improvement(MEAN[:3], STD[:3], best=BEST, direction="minimize")
    torch.testing.assert_close(found, 1 - expected, atol=1e-9, rtol=0)


def test_upper_confidence_bound_by_hand() -> None:
    mean, std = torch.tensor([1.0, -1.0]), torch.tensor([0.5, 2.0])
    maximize = upper_confidence_bound(mean, std, direction="maximize", kappa=3)
    minimize = upper_confidence_bound(mean, std, direction="minimize", kappa=3)
    torch.testing.assert_close(maximize, torch.tensor([2.5, 5.0]))
    torch.testing.assert_close(minimize, torch.tensor([0.5, 7.0]))
    torch.testing.assert_close(
        upper_confidence_bound(mean, std, direction="maximize"), torch.tensor([2.0, 3.0])
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_samples_say(direction: str) -> None:
    """Monte Carlo with a million samples: errors are below five standard errors."""
    size = 1_000_000
    noise = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    improvement = expected_improvement(MEAN, STD, best=BEST, direction=direction)
    probability = probability_of_improvement(MEAN, STD, best=BEST, direction=direction)
    for i in range(len(MEAN)):
        samples = MEAN[i] + STD[i] * noise
        gains = (samples - BEST if direction == "maximize" else BEST - samples).clamp_min(0)
        error = 5 * gains.std() / math.sqrt(size) + 1e-12
        assert abs(gains.mean() - improvement[i]) < error
        assert abs((gains > 0).double().mean() - probability[i]) < 5 * 0.5 / math.sqrt(size)


@pytest.mark.parametrize("function", [expected_improvement, probability_of_improvement])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradients_are_the_derivatives(function: Callable[..., Tensor], direction: str) -> None:
    mean, std = MEAN.clone().requires_grad_(), STD.clone().requires_grad_()
    function(mean, std, best=BEST, direction=direction).sum().backward()
    sign = 1.0 if direction == "maximize" else -1.0
    z = sign * (MEAN - BEST) / STD
    density, below = Normal(0.0, 1.0).log_prob(z).exp(), Normal(0.0, 1.0).cdf(z)
    if function is expected_improvement:
        expected = (sign * below, density)
    else:
        expected = (sign * density / STD, -density * z / STD)
    for variable, derivative in zip((mean, std), expected, strict=True):
        assert variable.grad is not None
        torch.testing.assert_close(variable.grad, derivative, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("small", [0.0, 1e-45, 1e-30, 1e-19, 1e-12, 1e-6])
def test_values_and_gradients_are_finite_where_the_prediction_is_certain(
    dtype: torch.dtype, direction: str, small: float
) -> None:
    gains = torch.tensor([-1e3, -2.0, -1e-6, 0.0, 1e-6, 2.0, 1e3], dtype=dtype)
    mean = (gains if direction == "maximize" else -gains).requires_grad_()
    std = torch.full_like(gains, small).requires_grad_()
    improvement = expected_improvement(mean, std, best=0.0, direction=direction)
    probability = probability_of_improvement(mean, std, best=0.0, direction=direction)
    bound = upper_confidence_bound(mean, std, direction=direction)
    torch.testing.assert_close(improvement, gains.clamp_min(0), atol=2 * small + 1e-15, rtol=1e-6)
    if small < 1e-6:
        expected = torch.tensor([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0], dtype=dtype)
        torch.testing.assert_close(probability, expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(bound, gains, atol=3 * small, rtol=1e-6)
    for value in (improvement, probability, bound):
        mean.grad = std.grad = None
        value.sum().backward()
        assert mean.grad is not None
        assert mean.grad.isfinite().all()
        assert std.grad is not None
        assert std.grad.isfinite().all()


def test_no_improvement_is_never_negative() -> None:
    """The two terms cancel far below the best."""
    mean = torch.linspace(-20, 0, 20001)
    for std in (0.3, 1.0, 1.7):
        found = expected_improvement(mean, torch.full_like(mean, std), best=0.0, direction="maximize")
        assert (found >= 0).all()


def test_shape_and_dtype_are_those_of_the_means() -> None:
    mean, std = torch.zeros(3, 2, 1), torch.ones(3, 2, 1)
    for found in (
        expected_improvement(mean, std, best=0.0, direction="minimize"),
        probability_of_improvement(mean, std, best=0.0, direction="minimize"),
        upper_confidence_bound(mean, std, direction="minimize"),
    ):
        assert (found.shape, found.dtype) == ((3, 2, 1), torch.float32)


def test_bad_values_are_refused() -> None:
    mean, std = torch.zeros(2), torch.tensor([1.0, -0.5])
    for function in (expected_improvement, probability_of_improvement):
        with pytest.raises(ValueError, match=r"^std is -0\.5 at some point, but must be at least 0"):
            function(mean, std, best=0.0, direction="minimize")
        with pytest.raises(ValueError, match=r"^direction is 'min', but must be"):
            function(mean, std.abs(), best=0.0, direction="min")
    with pytest.raises(ValueError, match=r"^std is -0\.5 at some point"):
        upper_confidence_bound(mean, std, direction="minimize")
    with pytest.raises(ValueError, match=r"^direction is 'max', but must be"):
        upper_confidence_bound(mean, std.abs(), direction="max")
    with pytest.raises(ValueError, match=r"^kappa is -1, but must be at least 0"):
        upper_confidence_bound(mean, std.abs(), direction="minimize", kappa=-1)
