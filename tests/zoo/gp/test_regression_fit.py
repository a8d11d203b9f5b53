"""Fits of a Gaussian process: where they end, what they survive, what is refused."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.zoo.gp.networks import close, column, examples, network
from zoo.gp.regression import ExactGPNetwork, fit_gp


def test_fit_finds_what_the_examples_came_from() -> None:
    """Draws from a process with a column of no influence: the fit is likelier than the truth, and close."""
    true = network(3, lengthscale=[0.3, 0.8, 40.0], noise=0.01, ard=True, kernel="matern52")
    x = torch.rand(150, 3, dtype=torch.float64)
    with torch.no_grad():
        covariance = true.covariance(x, x) + 0.01 * torch.eye(150)
        y = torch.linalg.cholesky(covariance) @ torch.randn(150, dtype=torch.float64)
    found = fit_gp(x, y, priors=False, steps=300)
    assert found.log_marginal_likelihood(x, y) > true.log_marginal_likelihood(x, y)
    assert found.noise.item() == pytest.approx(0.01, rel=0.5)
    first, second, third = found.lengthscale.tolist()
    assert first == pytest.approx(0.3, rel=0.5)
    assert first < second < third
    assert third > 4


@pytest.mark.parametrize("priors", [True, False])
def test_fit_climbs_to_the_top(priors: bool) -> None:
    """In logarithms it is flat there: the marginal likelihood, or its sum with the priors, added here."""
    x, y = examples(25, 2)
    y = 2 * y + torch.cos(4 * x[:, 1])
    y = 2 * (y - y.mean()) / y.std()
    found = fit_gp(x, y, priors=priors, steps=400)
    kernel = found.covar_module.base_kernel
    top = (kernel.lengthscale.detach(), found.output_scale.detach(), found.noise.detach())

    @torch.no_grad()
    def height(lengthscale: Tensor, output_scale: Tensor, noise: Tensor) -> float:
        kernel.lengthscale, found.covar_module.outputscale, found.likelihood.noise = (
            lengthscale,
            output_scale,
            noise,
        )
        value = found.log_marginal_likelihood(x, y).item()
        if priors:
            for v, mean, variance in [
                *((v, math.sqrt(2) + math.log(2) / 2, 3) for v in lengthscale.flatten().tolist()),
                (noise.item(), -4, 1),
                (output_scale.item(), 0, 1),
            ]:
                value -= (math.log(v) - mean) ** 2 / (2 * variance)
        return value

    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    lengthscale, output_scale, noise = top

    def slope(along: Callable[[float], float]) -> float:
        return (along(math.exp(0.05)) - along(math.exp(-0.05))) / 0.1

    assert abs(slope(lambda factor: height(lengthscale * factor**first, output_scale, noise))) < 0.1
    assert abs(slope(lambda factor: height(lengthscale * factor**second, output_scale, noise))) < 0.1
    assert abs(slope(lambda factor: height(lengthscale, output_scale * factor, noise))) < 0.1
    assert abs(slope(lambda factor: height(lengthscale, output_scale, noise * factor))) < 0.1


def test_fit_is_the_same_each_time_and_ready_to_predict() -> None:
    x, y = examples(8)
    state = torch.get_rng_state()
    with torch.no_grad():
        first = fit_gp(x.float(), y.float())
    second = fit_gp(x.float(), y.float())
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training
    assert first.train_inputs.dtype == torch.float64
    close(first(x), second(x).detach(), 0)
    close(first.predict(x).mean, y, 0.3)


HARD = {
    "one example": (column(0.3), column(0.0)[:, 0]),
    "equal targets": (examples(8)[0], torch.zeros(8, dtype=torch.float64)),
    "one place": (column(*[0.5] * 8), examples(8)[1]),
    "large targets": (examples(8)[0], 1e4 * examples(8)[1]),
    "small targets": (examples(8)[0], 1e-8 * examples(8)[1]),
    "an outlier": (examples(8)[0], torch.tensor([0.0] * 7 + [1e6], dtype=torch.float64)),
}


@pytest.mark.parametrize("priors", [True, False])
@pytest.mark.parametrize("case", HARD)
def test_fit_survives_examples_that_say_little(case: str, priors: bool) -> None:
    x, y = HARD[case]
    found = fit_gp(x, y, priors=priors).predict(torch.rand(5, x.shape[1], dtype=torch.float64))
    assert all(values.isfinite().all() for values in found)
    assert (found.variance > 0).all()
    assert (found.noisy_variance > found.variance).all()


def test_bad_values_are_refused() -> None:
    x, y = examples(4)
    with pytest.raises(ValueError, match=r"^in_features is 0, but must be positive"):
        ExactGPNetwork(0)
    with pytest.raises(ValueError, match=r"^kernel is 'matern', but must be one of rbf, matern12"):
        ExactGPNetwork(1, kernel="matern")
    with pytest.raises(ValueError, match=r"^mean is 'none', but must be one of zero, constant"):
        ExactGPNetwork(1, mean="none")
    with pytest.raises(ValueError, match=r"^the number of examples is 0, but must be at least 1"):
        fit_gp(x[:0], y[:0])
    with pytest.raises(ValueError, match=r"^steps is 0, but must be at least 1"):
        fit_gp(x, y, steps=0)
    with pytest.raises(ValueError, match=r"not finite"):
        fit_gp(x, y / 0)
