"""Bayesian optimisation with a Gaussian process: fit it to what was observed, go on where most is promised.

Chapter 19 of the book searches without a model; chapter 18 has the Gaussian process and only predicts with
it. Here they meet (Snoek, Larochelle and Adams 2012, Practical Bayesian Optimization of Machine Learning
Algorithms).
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from scipy.special import ndtri
from scipy.stats import rankdata

from search.outcomes import comparable_losses
from search.samplers import QuasiRandomSampler, sobol_points
from search.trial_views import STATES
from search.trials import Curve
from search.unit_cube import Array, UnitCube
from zoo._checks import check_at_least, check_choice
from zoo.gp.acquisition import expected_improvement, probability_of_improvement, upper_confidence_bound
from zoo.gp.regression import ExactGPNetwork, fit_gp

__all__ = [
    "ACQUISITIONS",
    "KERNELS",
    "GaussianProcessSampler",
    "acquire",
    "propose",
    "warp",
]

ACQUISITIONS = ("ei", "ucb", "pi")
"""Expected improvement, upper confidence bound, probability of improvement."""
KERNELS = {"rbf": "rbf", "matern": "matern52"}
"""Kernels by name, with what the Gaussian process calls them."""
FINAL = sys.maxsize
"""Resource of a trial's final value, beyond all others."""
NUM_CANDIDATES = 512
"""So many points of the whole space, and as many near the best ones."""
SAME = 1e-9
"""Points no further apart than this in each coordinate are the same point."""
CLOSE = 0.01
"""The sampler keeps this distance from other trials in some coordinate, where it can: nearer, it would learn
little but the noise."""


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
    so the next worker goes elsewhere. Outcomes that are all equal say nothing: then the candidate furthest
    from all those points is next.

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
    known, targets = np.concatenate([x, pending]), warp(y)
    if targets.any():
        # Sixty steps change the fit of a hundred little, and save a tenth of a second.
        network = fit_gp(
            torch.from_numpy(x).double(),
            torch.from_numpy(targets),
            mean="constant",
            kernel=KERNELS[kernel],
            ard=True,
            priors=True,
            steps=60,
        )
        scores = acquire(network, pending, candidates, acquisition=acquisition)
    else:
        scores = np.square(candidates[:, None, :] - known[None, :, :]).sum(axis=2).min(axis=1)
    new = ~_among(candidates, known, SAME)
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
    y = y / max(float(np.abs(y).max()), sys.float_info.min)  # or squares of large ones overflow
    median = float(np.median(y))
    worse = y > median
    better = y[y < median]
    spread = float(np.sqrt(np.square(better - median).mean())) if len(better) else 1.0
    quantiles = ndtri((rankdata(y) - 0.5) / len(y))
    warped = np.where(worse, median + spread * quantiles, y)
    deviation = float(warped.std())
    return np.zeros(len(y)) if deviation == 0 else np.asarray((warped - warped.mean()) / deviation)


def _among(points: Array, others: Array, distance: float) -> npt.NDArray[np.bool_]:
    """Whether each point is at most so far, in each coordinate, from one of the others."""
    distances = np.abs(points[:, None, :] - others[None, :, :]).max(axis=2)
    return np.asarray((distances <= distance).any(axis=1))


class GaussianProcessSampler(BaseSampler):
    """Bayesian optimisation of one objective; see :func:`propose`.

    The first trials, and parameters that not every trial has, get the values of ``startup``. Afterwards the
    candidates are the points of a Sobol sequence, and others near the best trials. Trials that a scheduler
    stopped or paused count as :func:`search.outcomes.comparable_losses` says.

    Args:
        space: Distributions by name.
        seed: Seed of the candidates, at least 0.
        startup: Where the values of the first trials come from.
        acquisition: ``ei``, ``ucb`` or ``pi``.
        kernel: ``rbf`` or ``matern``.
        num_startup: How many trials must have an outcome before they are modelled, at least 1.

    Raises:
        ValueError: If a name is unknown or a number out of its range.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        *,
        seed: int,
        startup: QuasiRandomSampler,
        acquisition: str = "ei",
        kernel: str = "matern",
        num_startup: int = 10,
    ) -> None:
        check_choice("acquisition", acquisition, ACQUISITIONS)
        check_choice("kernel", kernel, KERNELS)
        check_at_least("num_startup", num_startup, 1)
        self._space = dict(space)
        self._seed = seed
        self._startup = startup
        self._acquisition = acquisition
        self._kernel = kernel
        self._num_startup = num_startup

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What all trials with an outcome have in common, once there are enough of them."""
        others = _others(study, trial)
        losses = self._losses(study, others)
        if len(losses) < self._num_startup:
            return {}
        # One that failed may have done so before it had all its values.
        whole = [other for other in others if other.number in losses and other.state != OptunaState.FAIL]
        return {
            name: distribution
            for name, distribution in self._space.items()
            if not distribution.single()
            and all(other.distributions.get(name) == distribution for other in whole)
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposal."""
        # Other workers' trials may still be getting their values, and failed ones may never have got them.
        others = [other for other in _others(study, trial) if search_space.keys() <= other.params.keys()]
        losses = self._losses(study, others)
        if not search_space or not losses:
            return {}
        cube = UnitCube(search_space)
        points = {other.number: cube.to_unit(other.params) for other in others}
        x, y = np.array([points[number] for number in losses]), np.array(list(losses.values()))
        pending = [point for number, point in points.items() if number not in losses]
        candidates = self._candidates(cube, x[np.argsort(y, kind="stable")[:5]])
        new = ~_among(candidates, np.array(list(points.values())), CLOSE)
        if new.any():  # else each configuration of a small space has one nearby
            candidates = candidates[new]
        chosen = propose(
            cube.features(x),
            y,
            cube.features(candidates),
            acquisition=self._acquisition,
            kernel=self._kernel,
            seed=self._seed,
            pending=cube.features(np.array(pending)) if pending else None,
        )
        return cube.from_unit(candidates[chosen])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The startup's value."""
        return self._startup.sample_independent(study, trial, param_name, param_distribution)

    def _losses(self, study: Study, trials: Sequence[FrozenTrial]) -> dict[int, float]:
        if len(study.directions) > 1:
            raise ValueError(f"the study has {len(study.directions)} objectives, but must have one")
        sign = -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0
        num_columns = sum(
            len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 1
            for distribution in self._space.values()
        )
        return comparable_losses([_curve(trial, sign) for trial in trials], enough=num_columns + 2)

    def _candidates(self, cube: UnitCube, best: Array) -> Array:
        """Points of the whole space, and others that differ from the best ones in some coordinates."""
        rng = np.random.default_rng(self._seed)
        dimensions = len(cube.space)
        everywhere = sobol_points(NUM_CANDIDATES, dimensions, seed=self._seed)
        near = best[rng.integers(len(best), size=NUM_CANDIDATES)]
        moved = rng.random(near.shape) < 0.5
        moved[np.arange(len(near)), rng.integers(dimensions, size=len(near))] = True
        distance = 10 ** rng.uniform(-2.0, -0.5, size=(len(near), 1))
        step = distance * rng.standard_normal(near.shape)
        choice = np.array([isinstance(d, CategoricalDistribution) for d in cube.space.values()])
        elsewhere = np.where(choice, rng.random(near.shape), np.clip(near + step, 0, 1))
        return cube.snap(np.concatenate([everywhere, np.where(moved, elsewhere, near)]))


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """All other trials that have got values."""
    trials = study.get_trials(deepcopy=False)
    return [other for other in trials if other.params and other.number != trial.number]


def _curve(trial: FrozenTrial, sign: float) -> Curve:
    """A trial's losses, with the final value beyond all resources."""
    losses = {step: sign * value for step, value in trial.intermediate_values.items()}
    if trial.state == OptunaState.COMPLETE:
        assert trial.value is not None
        losses[FINAL] = sign * trial.value
    return Curve(trial.number, losses, STATES[trial.state])
