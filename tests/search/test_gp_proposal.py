"""Bayesian optimisation's proposal: against NumPy, of warped outcomes, and its behaviour."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from search import gp_sampler
from search.gp_sampler import acquire, propose, warp
from search.unit_cube import Array
from tests.search.sampling import branin
from zoo.gp.regression import ExactGPNetwork, fit_gp

NORMAL = NormalDist()


def table(rows: int, columns: int = 2, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((rows, columns))


# The proposal against NumPy


def numpy_kernel(kernel: str, x: Array, z: Array, lengthscales: Array, scale: float) -> Array:
    out = np.empty((len(x), len(z)))
    for i, p in enumerate(x):
        for j, q in enumerate(z):
            r = math.sqrt(sum(((p - q) / lengthscales) ** 2))
            if kernel == "rbf":
                out[i, j] = scale * math.exp(-(r**2) / 2)
            else:
                out[i, j] = scale * (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r)
    return out


def numpy_values(
    network: ExactGPNetwork, kernel: str, x: Array, y: Array, pending: Array, points: Array, acquisition: str
) -> list[float]:
    """Acquisition values by the textbook's formulas, from the hyperparameters alone."""
    lengthscales, scale = network.lengthscale.detach().numpy(), float(network.output_scale.detach())
    noise, prior = float(network.noise.detach()), float(network.mean_module.constant.detach())

    def posterior(examples: Array, targets: Array, at: Array) -> tuple[Array, Array]:
        k = numpy_kernel(kernel, examples, examples, lengthscales, scale) + noise * np.eye(len(examples))
        across = numpy_kernel(kernel, at, examples, lengthscales, scale)
        inverse = np.linalg.inv(k)
        mean = prior + across @ inverse @ (targets - prior)
        variance = scale - np.einsum("ij,jk,ik->i", across, inverse, across)
        return mean, variance

    best = posterior(x, y, x)[0].min()
    if len(pending):
        believed = posterior(x, y, pending)[0]
        x, y = np.concatenate([x, pending]), np.concatenate([y, believed])
    values = []
    for mean, variance in zip(*posterior(x, y, points), strict=True):
        std = math.sqrt(variance)
        z = (best - mean) / std
        values.append(
            {
                "ei": (best - mean) * NORMAL.cdf(z) + std * NORMAL.pdf(z),
                "pi": NORMAL.cdf(z),
                "ucb": 2 * std - mean,
            }[acquisition]
        )
    return values


@pytest.mark.parametrize("kernel", ["rbf", "matern"])
@pytest.mark.parametrize("acquisition", ["ei", "ucb", "pi"])
@pytest.mark.parametrize("num_pending", [0, 2])
def test_the_proposal_is_that_of_the_formulas(kernel: str, acquisition: str, num_pending: int) -> None:
    x, candidates, pending = table(7), table(40, seed=1), table(num_pending, seed=2)
    y = np.array([branin(*row) for row in x])
    network = fit_gp(
        torch.from_numpy(x), torch.from_numpy(warp(y)), kernel=gp_sampler.KERNELS[kernel], steps=60
    )
    expected = numpy_values(network, kernel, x, warp(y), pending, candidates, acquisition)
    np.testing.assert_allclose(
        acquire(network, pending, candidates, acquisition=acquisition), expected, rtol=1e-6, atol=1e-9
    )
    chosen = propose(
        x,
        y,
        candidates,
        acquisition=acquisition,
        kernel=kernel,
        seed=0,
        pending=pending if num_pending else None,
    )
    assert chosen == int(np.argmax(expected))


def test_pending_points_take_the_uncertainty_away_and_leave_the_mean() -> None:
    x, points, pending = table(6), table(30, seed=1), table(3, seed=2)
    network = fit_gp(torch.from_numpy(x), torch.from_numpy(warp(x.sum(1))), steps=20)
    with torch.no_grad():
        before = network.predict(torch.from_numpy(points))
        acquire(network, pending, points, acquisition="ei")
        after = network.predict(torch.from_numpy(points))
    torch.testing.assert_close(after.mean, before.mean)
    assert (after.variance < before.variance).all()


# The outcomes


def test_warping_leaves_the_better_half_and_ranks_the_worse_one() -> None:
    y = np.array([4.0, 0.0, 2.0, 1000.0, 1.0])
    spread = math.sqrt(((2 - 0) ** 2 + (2 - 1) ** 2) / 2)
    # Of five, the fourth and the fifth stand at .7 and .9 of the distribution.
    raw = [2 + spread * NORMAL.inv_cdf(0.7), 0.0, 2.0, 2 + spread * NORMAL.inv_cdf(0.9), 1.0]
    mean = sum(raw) / 5
    deviation = math.sqrt(sum((value - mean) ** 2 for value in raw) / 5)
    np.testing.assert_allclose(warp(y), [(value - mean) / deviation for value in raw])


def test_outliers_do_not_matter_for_the_scale() -> None:
    y = np.array([0.12, 0.15, 0.2, 0.3, 0.5, 0.9])
    far = np.array([0.12, 0.15, 0.2, 0.3, 0.5, 1e9])
    np.testing.assert_allclose(warp(far), warp(y))
    np.testing.assert_allclose(warp(1e-3 * y + 7), warp(y))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_as_bad_as_the_worst(bad: float) -> None:
    y = np.array([1.0, bad, 3.0, 2.0, 4.0])
    np.testing.assert_array_equal(warp(y), warp(np.array([1.0, 4.0, 3.0, 2.0, 4.0])))


@pytest.mark.parametrize(
    "y",
    [[1.0, 1.0, 1.0], [0.3], [math.nan, math.nan], [0.0, 0.0, 0.0, 5.0], [1.0, 2.0], [1.0, 1.0, math.inf]],
)
def test_warped_outcomes_keep_their_order(y: list[float]) -> None:
    warped = warp(np.array(y))
    assert np.isfinite(warped).all()
    finite = [value for value in y if math.isfinite(value)]
    plain = [value if math.isfinite(value) else max(finite, default=0.0) for value in y]
    for i in range(len(y)):
        for j in range(len(y)):
            assert (warped[i] < warped[j]) == (plain[i] < plain[j])


# Behaviour of the proposal


@pytest.mark.parametrize("acquisition", ["ei", "ucb", "pi"])
def test_no_configuration_of_a_table_is_proposed_twice(acquisition: str) -> None:
    points = table(8)
    y = np.array([branin(*row) for row in points])
    seen = [0]
    while len(seen) < len(points):
        # The whole table is offered each time; one configuration is still on its way.
        waits = (seen[-1] + 1) % len(points)
        pending = points[[waits]] if waits not in seen and len(seen) < len(points) - 1 else None
        chosen = propose(points[seen], y[seen], points, acquisition=acquisition, seed=0, pending=pending)
        assert chosen not in seen
        assert pending is None or chosen != waits
        seen.append(chosen)
    assert 0 <= propose(points, y, points, seed=0) < len(points)  # nothing new is left


@pytest.mark.parametrize(
    "y",
    [
        [0.1, math.nan, 0.3, 0.2, math.inf],
        [math.nan] * 5,
        [0.5] * 5,
        [1e300, 1e-300, -1e300, 0.0, 1.0],
        [0.1, 0.2, 0.1, 1e12, 0.3],
    ],
)
@pytest.mark.parametrize("acquisition", ["ei", "ucb", "pi"])
def test_no_outcomes_break_the_proposal(y: list[float], acquisition: str) -> None:
    x = table(5)
    x[2] = x[0]  # the same configuration twice
    x[3, 0] = x[0, 0]
    candidates = np.concatenate([x, table(20, seed=1)])
    chosen = propose(x, np.array(y), candidates, acquisition=acquisition, seed=0)
    assert 5 <= chosen < 25


def test_one_observation_is_enough_and_seeds_decide_between_equals() -> None:
    x, y, corners = np.array([[0.5, 0.5]]), np.array([1.0]), np.array([[0.0, 0.0], [1.0, 1.0], [0.6, 0.6]])
    chosen = [propose(x, y, corners, seed=seed) for seed in range(10)]
    assert chosen == [propose(x, y, corners, seed=seed) for seed in range(10)]
    assert set(chosen) == {0, 1}


def test_equal_outcomes_send_it_where_least_is_known() -> None:
    x, y = np.array([[0.0], [1.0], [0.3]]), np.array([0.9, 0.9, 0.9])
    candidates = np.array([[0.1], [0.5], [0.62], [0.88]])
    assert propose(x, y, candidates, seed=0) == 2
    assert propose(x, y, candidates, seed=0, pending=np.array([[0.6]])) == 3


def test_diverged_neighbours_are_avoided() -> None:
    # The right half has diverged; the left half has what is good.
    x = np.array([[u, v] for u in (0.1, 0.3, 0.7, 0.9) for v in (0.2, 0.8)])
    y = np.array([0.2, 0.3, 0.25, 0.35, math.nan, 1e6, math.inf, 1e8])
    candidates = table(200, seed=3)
    chosen = candidates[propose(x, y, candidates, seed=0)]
    assert chosen[0] < 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.empty((0, 2)), "y": np.empty(0)}, "x, y and candidates have shapes"),
        ({"y": np.zeros(4)}, r"have shapes \(3, 2\), \(4,\) and \(5, 2\)"),
        ({"candidates": np.empty((0, 2))}, "n and m at least 1"),
        ({"candidates": np.zeros((5, 3))}, r"\(5, 3\)"),
        ({"acquisition": "EI"}, "acquisition is 'EI', but must be one of ei, ucb, pi"),
        ({"kernel": "matern52"}, "kernel is 'matern52', but must be one of rbf, matern"),
    ],
)
def test_arguments_of_a_proposal_are_checked(change: dict[str, Any], message: str) -> None:
    arguments = {"x": table(3), "y": np.zeros(3), "candidates": table(5), "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        propose(**arguments)
