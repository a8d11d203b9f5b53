"""Bayesian optimisation with a Gaussian process: fit it to what was observed, go on where most is promised.

Chapter 19 of the book searches without a model; chapter 18 has the Gaussian process and only predicts with
it. Here they meet (Snoek, Larochelle and Adams 2012, Practical Bayesian Optimization of Machine Learning
Algorithms).
"""

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from scipy.stats import rankdata

from search.unit_cube import Array
from zoo._checks import check_choice
from zoo.gp.acquisition import expected_improvement, probability_of_improvement, upper_confidence_bound
from zoo.gp.regression import ExactGPNetwork, fit_gp

__all__ = ["ACQUISITIONS", "KERNELS", "acquire", "propose", "warp"]

ACQUISITIONS = ("ei", "ucb", "pi")
"""Expected improvement, upper confidence bound, probability of improvement."""
KERNELS = {"rbf": "rbf", "matern": "matern52"}
"""Kernels by name, with what the Gaussian process calls them."""
SAME = 1e-9
"""Points no further apart than this in each coordinate are the same point."""


def propose(
    x: Array,
    y: Array,
    candidates: Array,
    *,
    acquisition: str = "ei",
    kernel: str = "matern",
    seed: int,
    pending: Array | None = None,
) -> int:
    """Which candidate to evaluate next.

    A Gaussian process with one lengthscale for each coordinate is fitted to the outcomes, warped by
    :func:`warp`. Pending points count as observed at their predicted mean (the "kriging believer" of
    Ginsbourger, Le Riche and Carraro 2010): that leaves the mean as it is and takes the uncertainty away, and
    so the next worker goes elsewhere.

    Args:
        x: Observed points (n, d) in [0, 1], at least one; points may occur several times.
        y: Their outcomes (n,), the lower, the better; nan and infinities are as bad as the worst finite one.
        candidates: Points to choose from (m, d), at least one. Those observed or pending are left out, as
            long as there are others.
        acquisition: ``ei``, ``ucb`` or ``pi``.
        kernel: ``rbf`` or ``matern`` (smoothness 5/2).
        seed: Decides between candidates that promise equally much; nothing else is random.
        pending: Points that are being evaluated (p, d).

    Returns:
        Row of the candidate.

    Raises:
        ValueError: If there are no points, shapes do not fit, or a name is unknown.
    """
    check_choice("acquisition", acquisition, ACQUISITIONS)
    check_choice("kernel", kernel, KERNELS)
    pending = np.empty((0, x.shape[1])) if pending is None else pending
    if not (len(x) and len(x) == len(y) and len(candidates) and x.shape[1] == candidates.shape[1]):
        raise ValueError(
            f"x, y and candidates have shapes {x.shape}, {y.shape} and {candidates.shape}, but must be "
            "(n, d), (n,) and (m, d) with n and m at least 1"
        )
    inputs, targets = torch.from_numpy(x).double(), torch.from_numpy(warp(y))
    # Sixty steps change the fit of a hundred little, and save a tenth of a second.
    network = fit_gp(
        inputs, targets, mean="constant", kernel=KERNELS[kernel], ard=True, priors=True, steps=60
    )
    scores = acquire(network, pending, candidates, acquisition=acquisition)
    new = ~_among(candidates, np.concatenate([x, pending]))
    if new.any():
        scores[~new] = -np.inf
    best = np.flatnonzero(scores == scores.max())
    return int(np.random.default_rng(seed).choice(best))


@torch.no_grad()
def acquire(network: ExactGPNetwork, pending: Array, candidates: Array, *, acquisition: str) -> Array:
    """What each candidate promises, given the observations of a Gaussian process.

    The best outcome so far is the lowest mean at an observed point rather than the lowest outcome, which may
    be luck.

    Args:
        network: Conditioned on the observations; on the pending points too afterwards.
        pending: Points being evaluated (p, d).
        candidates: Points (m, d).
        acquisition: ``ei``, ``ucb`` or ``pi``.

    Returns:
        Values (m,); the more, the better.
    """
    best = float(network.predict(network.train_inputs).mean.min())
    if len(pending):
        waiting = torch.from_numpy(pending).double()
        believed = network.predict(waiting).mean
        network.condition(
            torch.cat([network.train_inputs, waiting]), torch.cat([network.train_targets, believed])
        )
    prediction = network.predict(torch.from_numpy(candidates).double())
    mean, std = prediction.mean, prediction.variance.sqrt()
    if acquisition == "ei":
        values = expected_improvement(mean, std, best=best, direction="minimize")
    elif acquisition == "pi":
        values = probability_of_improvement(mean, std, best=best, direction="minimize")
    else:
        values = upper_confidence_bound(mean, std, direction="minimize")
    return np.array(values.numpy())


def warp(y: Array) -> Array:
    """Outcomes as a Gaussian process likes them: mean 0, variance 1, and no outliers.

    A training that diverged may be a thousand times worse than a good one, and all good ones would look alike
    beside it. So outcomes better than the median stay in proportion, and of the worse ones only the order
    counts: they become the upper half of a normal distribution, as wide as the better half is (the half-rank
    warping of Song et al. 2024, The Vizier Gaussian Process Bandit Algorithm). Then all are standardised.

    Args:
        y: Outcomes (n,), the lower, the better; nan and infinities are as bad as the worst finite one.

    Returns:
        Warped outcomes (n,) in the same order; zeros if all are equal.
    """
    finite = np.isfinite(y)
    if not finite.any():
        return np.zeros(len(y))
    # Minus infinity is no feat either: such an objective is broken.
    y = np.where(finite, y, y[finite].max())
    median = float(np.median(y))
    worse = y > median
    better = y[y < median]
    spread = float(np.sqrt(np.square(better - median).mean())) if len(better) else 1.0
    quantiles = ndtri((rankdata(y) - 0.5) / len(y))
    warped = np.where(worse, median + spread * quantiles, y)
    deviation = float(warped.std())
    return np.zeros(len(y)) if deviation == 0 else np.asarray((warped - warped.mean()) / deviation)


def _among(points: Array, others: Array) -> npt.NDArray[np.bool_]:
    """Whether each point is one of the others."""
    distances = np.abs(points[:, None, :] - others[None, :, :]).max(axis=2)
    return np.asarray((distances <= SAME).any(axis=1))
