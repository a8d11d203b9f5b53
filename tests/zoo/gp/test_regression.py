"""Exact Gaussian process regression: hand numbers, the formulas in NumPy, GPyTorch's own model."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

# Ours first: it keeps quiet a warning of GPyTorch's import.
from zoo.gp.regression import KERNELS, ExactGPNetwork  # isort: split

import gpytorch

from tests.zoo.gp.networks import close, column, examples, network

# By hand


def test_three_examples_by_hand() -> None:
    """x 0, 1, 2 and y 0, 1, 0; amplitude and lengthscale 1, noise .1."""
    made = network()
    x, y = column(0, 1, 2), column(0, 1, 0)[:, 0]
    close(made.log_marginal_likelihood(x, y), -3.493578, 1e-6)
    made.condition(x, y)
    found = made.predict(column(0.5, 3))
    close(found.mean, [0.574548, -0.332899], 1e-6)
    close(found.variance, [0.082395, 0.605941], 1e-6)
    close(found.noisy_variance, [0.182395, 0.705941], 1e-6)


def test_one_example_by_hand() -> None:
    """With one example every matrix is a number: k(1) = e^(-1/2) in place of the solve."""
    made = network(output_scale=2.0, noise=0.5, mean="constant")
    made.mean_module.constant = 3.0
    y = torch.tensor([4.0], dtype=torch.float64)
    close(
        made.log_marginal_likelihood(column(0), y),
        -0.5 / 2.5 - 0.5 * math.log(2.5) - 0.5 * math.log(2 * math.pi),
    )
    made.condition(column(0), y)
    found = made.predict(column(1))
    share = 2 * math.exp(-0.5) / 2.5
    close(found.mean, [3 + share])
    close(found.variance, [2 - share * 2 * math.exp(-0.5)])


def test_without_examples_the_prior_is_predicted() -> None:
    made = network(2, output_scale=1.5, noise=0.25, mean="constant")
    made.mean_module.constant = -1.0
    close(made(examples(4, 2)[0]), [[-1.0, 1.5, 1.75]] * 4)


def test_start_is_gpytorchs() -> None:
    """All three start at the softplus of 0, the noise 1e-4 above it."""
    made = ExactGPNetwork(3, ard=True)
    start = math.log(2)
    close(made.lengthscale, [start] * 3, 1e-6)
    close(made.output_scale, start, 1e-6)
    close(made.noise, start + 1e-4, 1e-6)
    assert len(list(made.parameters())) == 3
    assert ExactGPNetwork(3).lengthscale.shape == (1,)
    assert len(list(ExactGPNetwork(3, mean="constant").parameters())) == 4


def test_q21_lengthscale_is_not_squared_and_noise_is_a_variance() -> None:
    """At a distance of one lengthscale e^(-1/2) is left of the RBF kernel."""
    made = network(lengthscale=0.3, noise=0.04)
    close(made.covariance(column(0), column(0.3)), [[math.exp(-0.5)]])
    made.condition(column(0), column(0)[:, 0])
    found = made.predict(column(100))
    close(found.noisy_variance - found.variance, [0.04])


# The formulas


KERNEL_FORMULAS = {
    "rbf": lambda r: np.exp(-(r**2) / 2),
    "matern12": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + math.sqrt(3) * r) * np.exp(-math.sqrt(3) * r),
    "matern52": lambda r: (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r),
}

every_kernel = pytest.mark.parametrize("kernel", KERNELS)


@every_kernel
@pytest.mark.parametrize("lengthscale", [[0.4], [0.3, 0.7, 2.0]])
def test_is_the_formula_in_numpy(kernel: str, lengthscale: list[float]) -> None:
    made = network(
        3,
        kernel=kernel,
        mean="constant",
        ard=len(lengthscale) > 1,
        lengthscale=lengthscale,
        output_scale=1.7,
        noise=0.05,
    )
    made.mean_module.constant = 0.4
    (x, y), (new, _) = examples(), examples(5, seed=1)

    def k(a: Tensor, b: Tensor) -> Any:
        scaled = (a[:, None] - b[None]).numpy() / np.array(lengthscale)
        return 1.7 * KERNEL_FORMULAS[kernel](np.sqrt((scaled**2).sum(-1)))

    noisy = k(x, x) + 0.05 * np.eye(len(x))
    residual = y.numpy() - 0.4
    inverse = np.linalg.inv(noisy)
    density = -0.5 * residual @ inverse @ residual - 0.5 * np.linalg.slogdet(noisy)[1]
    close(made.log_marginal_likelihood(x, y), density - 0.5 * len(x) * math.log(2 * math.pi), 1e-8)

    made.condition(x, y)
    mean, covariance = made.posterior(new)
    close(mean, 0.4 + k(new, x) @ inverse @ residual, 1e-8)
    expected = k(new, new) - k(new, x) @ inverse @ k(x, new)
    close(covariance, expected, 1e-8)
    found = made.predict(new)
    close(found.mean, mean.detach(), 1e-12)
    close(found.variance, np.diag(expected).copy(), 1e-8)
    close(found.noisy_variance, np.diag(expected) + 0.05, 1e-8)
    close(made(new), torch.stack(found, dim=1).detach(), 1e-12)


class Reference(gpytorch.models.ExactGP):  # type: ignore[misc]  # GPyTorch ships no types
    """GPyTorch's own model of the book."""

    def __init__(self, x: Tensor, y: Tensor, likelihood: Any, ours: ExactGPNetwork) -> None:
        super().__init__(x, y, likelihood)
        self.mean_module = copy.deepcopy(ours.mean_module)
        self.covar_module = copy.deepcopy(ours.covar_module)

    def forward(self, x: Tensor) -> Any:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


@every_kernel
@pytest.mark.parametrize("mean", ["zero", "constant"])
def test_is_gpytorchs_model_with_gradients(kernel: str, mean: str) -> None:
    ours = network(
        3, kernel=kernel, mean=mean, ard=True, lengthscale=[0.3, 0.7, 2.0], output_scale=1.7, noise=0.05
    )
    (x, y), (new, _) = examples(), examples(5, seed=1)
    theirs = Reference(x, y, copy.deepcopy(ours.likelihood), ours).double()
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(theirs.likelihood, theirs)
    value = marginal(theirs(x), y)  # per example, unlike ours
    value.backward()
    found = ours.log_marginal_likelihood(x, y) / len(y)
    found.backward()
    close(found, value.detach(), 1e-8)
    gradients = dict(theirs.named_parameters())
    assert len(gradients) == (4 if mean == "constant" else 3)
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-3
        close(parameter.grad, gradients[name].grad, 1e-6)

    ours.condition(x, y)
    theirs.eval()
    latent, observed = theirs(new), theirs.likelihood(theirs(new))
    found_mean, found_covariance = ours.posterior(new)
    close(found_mean, latent.mean.detach(), 1e-7)
    close(found_covariance, latent.covariance_matrix.detach(), 1e-7)
    close(ours.predict(new).noisy_variance, observed.variance.detach(), 1e-7)


@every_kernel
def test_gradients_reach_the_points_that_are_predicted(kernel: str) -> None:
    """An acquisition function is climbed along them."""
    made = network(2, kernel=kernel, lengthscale=0.5)
    made.condition(*examples(6, 2))
    point = torch.tensor([[0.31, 0.62]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple(made.predict(x)[:2]), (point,))


def test_variance_stays_positive_where_nothing_is_left() -> None:
    """In float32 the difference of two large numbers is as often negative as positive."""
    made = network(1, output_scale=1000.0, noise=1e-4, lengthscale=10.0).float()
    x = torch.linspace(0, 1, 5)[:, None]
    made.condition(x, x[:, 0])
    points = x.clone().requires_grad_()
    variance = made.predict(points).variance
    assert (variance > 0).all()
    variance.sqrt().sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


def test_posterior_samples_have_the_posteriors_moments() -> None:
    made = network(1, lengthscale=0.5, noise=0.05)
    made.condition(*examples(6, 1))
    mean, covariance = (value.detach() for value in made.posterior(column(0.1, 0.5, 2.0)))
    factor = torch.linalg.cholesky(covariance)
    samples = mean + torch.randn(200_000, 3, dtype=torch.float64) @ factor.T
    close(samples.mean(dim=0), mean, 0.01)
    close(samples.T.cov(), covariance, 0.01)


def test_lost_precision_is_an_error_that_says_what_to_do() -> None:
    made = network(1, output_scale=1e6, noise=1e-4, lengthscale=100.0).float()
    x = torch.linspace(0, 1, 30)[:, None]
    with pytest.raises(ValueError, match=r"precision in torch\.float32: .*--trainer\.precision 64-true"):
        made.log_marginal_likelihood(x, x[:, 0])


# Saved and copied


def test_examples_are_saved_and_replace_others() -> None:
    made = network(3)
    x, y = examples()
    made.condition(x, y)
    other = ExactGPNetwork(3).double()
    other.condition(*examples(2))
    other.load_state_dict(made.state_dict())
    new, _ = examples(5, seed=1)
    close(other(new), made(new).detach(), 0)
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        close(again(new), made(new).detach(), 0)
    with pytest.raises(RuntimeError, match=r"train_inputs"):
        other.load_state_dict({k: v for k, v in made.state_dict().items() if not k.startswith("train_")})


def test_examples_are_copied() -> None:
    made = network(3)
    x, y = examples()
    made.condition(x, y)
    before = made(x).detach()
    x_before = x.clone()
    x[0] += 1
    close(made(x_before), before, 0)
