"""Exact Gaussian process regression (section 18.3) as a plain module that knows no trainer.

GPyTorch gives the mean, the kernel and the noise with their constraints. The formulas of section 18.3.2 are
written here with a Cholesky factor: GPyTorch turns to approximate solvers beyond 800 examples, and keeps the
examples, without which there is no prediction, out of what is saved.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import check_at_least, check_choice, check_positive

with warnings.catch_warnings():
    # GPyTorch's own use of torch.jit.script, which newer releases of torch call deprecated.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    from gpytorch.constraints import GreaterThan, Positive
    from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
    from gpytorch.likelihoods import GaussianLikelihood
    from gpytorch.means import ConstantMean, ZeroMean

__all__ = ["KERNELS", "MEANS", "ExactGPNetwork", "GPPrediction", "fit_gp"]

KERNELS = ("rbf", "matern12", "matern32", "matern52")
"""Names of kernels: Matern's with smoothness 1/2, 3/2 and 5/2."""
MEANS = ("zero", "constant")
"""Names of prior means."""


class GPPrediction(NamedTuple):
    """What a Gaussian process says of each point on its own.

    Attributes:
        mean: Mean of the function and of an observation (points,), in units of the target.
        variance: Variance of the function (points,), positive, in squared units of the target.
        noisy_variance: Variance of an observation (points,): that of the function and the noise.
    """

    mean: Tensor
    variance: Tensor
    noisy_variance: Tensor


class _Distances:
    """Distances between points, for GPyTorch's kernels.

    GPyTorch's own depend on whether both inputs have the same values, which cannot be traced and makes an
    accelerator wait, and lose digits where points are close to each other and far from the rest.
    """

    def covar_dist(
        self,
        x1: Tensor,
        x2: Tensor,
        diag: bool = False,
        last_dim_is_batch: bool = False,
        square_dist: bool = False,
    ) -> Tensor:
        assert not diag, "the diagonal of these kernels is the output scale"
        assert not last_dim_is_batch, "the columns do not have kernels of their own"
        distance = torch.cdist(x1, x2, compute_mode="donot_use_mm_for_euclid_dist")
        return distance.square() if square_dist else distance


class _RBFKernel(_Distances, RBFKernel):  # type: ignore[misc]  # GPyTorch has no types
    pass


class _MaternKernel(_Distances, MaternKernel):  # type: ignore[misc]  # GPyTorch has no types
    pass


class ExactGPNetwork(nn.Module):
    """A Gaussian process prior, the noise, and the examples on which predictions are conditioned.

    Without examples it predicts its prior. The covariance is ``s k(|x - x'| / l)`` with the output scale s
    (the book's squared amplitude) and the lengthscale l: for ``rbf`` k(r) = exp(-r^2 / 2), rougher for Matern
    (Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, section 4.2). All of s, l and the
    noise variance start at .693, the softplus of 0; the noise stays above 1e-4. Linear algebra is done in
    float32 at least.

    Args:
        in_features: Number of input columns, positive.
        mean: Prior mean: ``zero``, or a learnt ``constant`` that starts at 0.
        kernel: ``rbf``, ``matern12``, ``matern32`` or ``matern52``.
        ard: One lengthscale for each input column (automatic relevance determination) instead of one for all.

    Attributes:
        train_inputs: Inputs of the examples (examples, in_features); saved with the parameters.
        train_targets: Their targets (examples,).

    Raises:
        ValueError: If an argument is out of its range.
    """

    train_inputs: Tensor
    train_targets: Tensor

    def __init__(
        self, in_features: int, *, mean: str = "zero", kernel: str = "rbf", ard: bool = False
    ) -> None:
        check_positive("in_features", in_features)
        check_choice("mean", mean, MEANS)
        check_choice("kernel", kernel, KERNELS)
        super().__init__()
        # GPyTorch looks at values while it builds, so they must be somewhere at first. Its constraints get a
        # transform of their own: by default all in a program share one module, and that one's mode.
        with torch.device("cpu"):
            shape = {
                "ard_num_dims": in_features if ard else None,
                "lengthscale_constraint": Positive(F.softplus),
            }
            base = _RBFKernel(**shape) if kernel == "rbf" else _MaternKernel(nu=int(kernel[-2]) / 2, **shape)
            # The names are those of GPyTorch's examples, and so are the keys of what is saved.
            self.mean_module = ZeroMean() if mean == "zero" else ConstantMean()
            self.covar_module = ScaleKernel(base, outputscale_constraint=Positive(F.softplus))
            self.likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-4, F.softplus))
        self.to(torch.get_default_device())
        self.register_buffer("train_inputs", torch.empty(0, in_features))
        self.register_buffer("train_targets", torch.empty(0))

    @property
    def noise(self) -> Float[Tensor, ""]:
        """Variance of the noise, in squared units of the target."""
        noise: Tensor = self.likelihood.noise
        return noise.squeeze()

    @property
    def output_scale(self) -> Float[Tensor, ""]:
        """Prior variance of the function, in squared units of the target."""
        scale: Tensor = self.covar_module.outputscale
        return scale

    @property
    def lengthscale(self) -> Float[Tensor, " lengthscales"]:
        """Lengthscale of all columns, or of each, in units of the inputs; not squared."""
        lengthscale: Tensor = self.covar_module.base_kernel.lengthscale
        return lengthscale.flatten()

    @torch.no_grad()
    def condition(
        self, features: Float[Tensor, "examples in_features"], target: Float[Tensor, " examples"]
    ) -> None:
        """Let predictions rest on these examples instead of the earlier ones."""
        self.train_inputs = features.to(self.train_inputs, copy=True)
        self.train_targets = target.to(self.train_targets, copy=True)

    def covariance(
        self, features: Float[Tensor, "rows in_features"], others: Float[Tensor, "columns in_features"]
    ) -> Float[Tensor, "rows columns"]:
        """Prior covariance of the function between points, without the noise."""
        # Calling the kernel itself wraps the matrix in a lazy one, which takes longer and cannot be compiled.
        covariance: Tensor = self.covar_module.forward(_wide(features), _wide(others))
        return covariance

    def log_marginal_likelihood(
        self, features: Float[Tensor, "examples in_features"], target: Float[Tensor, " examples"]
    ) -> Float[Tensor, ""]:
        """Log density of the targets under the prior, ``log p(y | X)``, in nats; the sum, not per example.

        It is ``-(y - m)^T (K + noise I)^-1 (y - m) / 2 - log |K + noise I| / 2 - n log(2 pi) / 2``
        (section 18.3.2, where m = 0).
        """
        factor = self._factor(features)
        # |L^-1 (y - m)|^2 is the quadratic form, and the determinant of L the root of the whole one.
        whitened = _solve(factor, self._residual(features, target))
        fit = -0.5 * whitened.square().sum()
        complexity = -factor.diagonal().log().sum()
        return fit + complexity - 0.5 * len(target) * math.log(2 * math.pi)

    def posterior(
        self, features: Float[Tensor, "points in_features"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points points"]]:
        """Mean and covariance of the function at points, given the examples.

        ``m + K* (K + noise I)^-1 (y - m)`` and ``K** - K* (K + noise I)^-1 K*^T``. Observations at these
        points have the same mean, and :attr:`noise` more on the diagonal of the covariance.
        """
        mean, whitened = self._condition_on_examples(features)
        return mean, self.covariance(features, features) - whitened.T @ whitened

    def predict(self, features: Float[Tensor, "points in_features"]) -> GPPrediction:
        """Mean and variances at each point, given the examples; only the diagonal of :meth:`posterior`."""
        mean, whitened = self._condition_on_examples(features)
        # At an example almost nothing is left, and rounding may leave less than nothing.
        smallest = torch.finfo(mean.dtype).eps * self.output_scale
        variance = torch.maximum(self.output_scale - whitened.square().sum(dim=0), smallest)
        return GPPrediction(mean, variance, variance + self.noise)

    def forward(self, x: Float[Tensor, "points in_features"]) -> Float[Tensor, "points 3"]:
        """The columns mean, variance of the function, variance of an observation; see :meth:`predict`."""
        return torch.stack(self.predict(x), dim=1).to(x)

    def _condition_on_examples(
        self, features: Float[Tensor, "points in_features"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "examples points"]]:
        """Mean of the function at points, and L^-1 K*^T with the factor L of the examples' covariance."""
        factor = self._factor(self.train_inputs)
        whitened = _solve(factor, self.covariance(self.train_inputs, features))
        residual = _solve(factor, self._residual(self.train_inputs, self.train_targets))
        return _wide(self.mean_module(features)) + (whitened.T @ residual).squeeze(1), whitened

    def _factor(self, features: Float[Tensor, "examples in_features"]) -> Float[Tensor, "examples examples"]:
        """Cholesky factor L of the covariance of noisy observations, K + noise I = L L^T."""
        covariance = self.covariance(features, features)
        noise = _wide(self.noise) * torch.eye(len(features), dtype=covariance.dtype, device=covariance.device)
        try:
            factor: Tensor = torch.linalg.cholesky(covariance + noise)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # exported undeclared
            raise ValueError(
                f"the covariance of {len(features)} examples has lost its precision in {covariance.dtype}: "
                f"the output scale is {self.output_scale.item():.3g} and the noise {self.noise.item():.3g}. "
                "Standardise the targets, or compute in float64 (--trainer.precision 64-true)"
            ) from None
        return factor

    def _residual(
        self, features: Float[Tensor, "examples in_features"], target: Float[Tensor, " examples"]
    ) -> Float[Tensor, "examples 1"]:
        return _wide(target - self.mean_module(features))[:, None]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # The examples come with the parameters, as many as there were.
        for name in ("train_inputs", "train_targets"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _wide(values: Tensor) -> Tensor:
    """In float32 at least: there is no Cholesky factor in half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    """``L^-1 right`` for a lower triangular factor L."""
    solution: Tensor = torch.linalg.solve_triangular(factor, right, upper=False)
    return solution


def fit_gp(
    features: Float[Tensor, "examples in_features"],
    target: Float[Tensor, " examples"],
    *,
    mean: str = "constant",
    kernel: str = "matern52",
    ard: bool = True,
    priors: bool = True,
    steps: int = 100,
) -> ExactGPNetwork:
    """A Gaussian process fitted to a few examples, in float64, by Adam on the marginal likelihood.

    It starts from the same values each time and draws nothing. The defaults are those of Bayesian
    optimisation: ``priors`` adds the log densities of log-normal priors, without which a handful of examples
    makes lengthscales run away. They are meant for inputs in [0, 1] and targets of mean 0 and variance 1:
    log lengthscale ~ N(sqrt(2) + log(in_features) / 2, 3), 3 the variance (Hvarfner, Hellsten and Nardi 2024,
    Vanilla Bayesian Optimization Performs Great in High Dimensions), log noise ~ N(-4, 1), log output scale
    ~ N(0, 1).

    Args:
        features: Inputs.
        target: Targets.
        mean: As in :class:`ExactGPNetwork`.
        kernel: As in ExactGPNetwork.
        ard: As in ExactGPNetwork.
        priors: Whether the priors count; False maximises the marginal likelihood alone.
        steps: Steps of Adam at a rate of .1, at least 1.

    Returns:
        The network in float64, conditioned on the examples, in evaluation mode.

    Raises:
        ValueError: If there are no examples, some number is not finite, or an argument is out of its range.
    """
    check_at_least("the number of examples", len(features), 1)
    check_at_least("steps", steps, 1)
    if not (features.isfinite().all() and target.isfinite().all()):
        raise ValueError("the examples have numbers that are not finite, but must be finite")
    x, y = features.detach().double(), target.detach().double()
    network = ExactGPNetwork(x.shape[1], mean=mean, kernel=kernel, ard=ard).double()
    # Slower than L-BFGS, whose line search runs into infinities when there is little to see in the examples.
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            loss = -network.log_marginal_likelihood(x, y)
            if priors:
                loss = loss - _log_prior(network, x.shape[1])
            (loss / len(y)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    network.condition(x, y)
    return network.eval()


def _log_prior(network: ExactGPNetwork, in_features: int) -> Float[Tensor, ""]:
    """Log density of the priors, up to a constant."""
    lengthscale = network.lengthscale.log() - math.sqrt(2) - math.log(in_features) / 2
    noise, output_scale = network.noise.log() + 4, network.output_scale.log()
    return -0.5 * (lengthscale.square().sum() / 3 + noise.square() + output_scale.square())
