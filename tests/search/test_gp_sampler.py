"""Bayesian optimisation: the proposal against NumPy, its behaviour, and trials that a scheduler stopped."""

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search import gp_sampler
from search.gp_sampler import GaussianProcessSampler, acquire, propose, warp
from search.outcomes import comparable_losses
from search.samplers import make_sampler
from search.trials import Curve
from search.unit_cube import Array, UnitCube
from zoo.gp.regression import ExactGPNetwork, fit_gp

SQUARE: dict[str, BaseDistribution] = {"a": FloatDistribution(0.0, 1.0), "b": FloatDistribution(0.0, 1.0)}
NORMAL = NormalDist()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def branin(a: float, b: float) -> float:
    """On the unit square; its three minima are .398, its mean is 54."""
    u, v = 15 * a - 5, 15 * b
    bowl = v - 5.1 / (4 * math.pi**2) * u**2 + 5 / math.pi * u - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(u) + 10


def bowl(a: float, b: float) -> float:
    """Lowest, 0, at (.7, .3), and longer in one direction than across."""
    return (a - 0.7) ** 2 + 2 * (b - 0.3) ** 2 + (a - 0.7) * (b - 0.3)


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


# Trials that a scheduler stopped


def test_losses_are_those_of_the_highest_resource_with_enough_trials() -> None:
    curves = [Curve(n, {1: 0.5 + n / 10, 3: 0.3 + n / 10, 9: 0.1 + n / 10}, "complete") for n in range(3)]
    assert comparable_losses(curves, enough=3) == {0: 0.1, 1: 0.2, 2: pytest.approx(0.3)}
    # A running trial counts where it has reported, and not before.
    curves += [Curve(3, {1: 0.4, 3: 0.2}, "running"), Curve(4, {1: 0.9}, "running"), Curve(5, {}, "running")]
    assert comparable_losses(curves, enough=3).keys() == {0, 1, 2}
    assert comparable_losses(curves, enough=4) == {0: 0.3, 1: 0.4, 2: 0.5, 3: 0.2}
    # None has so many: the resource with most.
    assert comparable_losses(curves, enough=9)[4] == 0.9


def test_a_stopped_trial_gets_the_loss_with_which_its_rank_went_on() -> None:
    curves = [
        Curve(0, {1: 0.50, 9: 0.10}, "complete"),
        Curve(1, {1: 0.60, 9: 0.30}, "complete"),
        Curve(2, {1: 0.70, 9: 0.20}, "complete"),
        Curve(3, {1: 0.40}, "pruned"),  # better than all there: as the best
        Curve(4, {1: 0.65}, "paused"),  # two are no worse: as the third
        Curve(5, {1: 0.95}, "pruned"),  # .25 behind the worst
        Curve(6, {1: 0.70}, "pruned"),  # as bad as the worst
        Curve(7, {1: 0.60}, "paused"),  # as bad as the second: two are no worse
    ]
    losses = comparable_losses(curves, enough=3)
    assert [losses[number] for number in range(3)] == [0.10, 0.30, 0.20]
    assert [losses[number] for number in range(3, 8)] == pytest.approx([0.10, 0.30, 0.55, 0.30, 0.30])


def test_the_last_resource_of_a_stopped_trial_counts() -> None:
    curves = [
        Curve(0, {1: 0.9, 3: 0.2, 9: 0.1}, "complete"),
        Curve(1, {1: 0.8, 3: 0.3, 9: 0.2}, "complete"),
        Curve(2, {1: 0.1, 3: 0.7}, "pruned"),  # good after one epoch, bad after three
        Curve(3, {2: 0.5}, "pruned"),  # no other has reported there
    ]
    assert comparable_losses(curves, enough=2) == {0: 0.1, 1: 0.2, 2: pytest.approx(0.6)}


def test_failed_and_diverged_trials_are_the_worst() -> None:
    curves = [
        Curve(0, {1: 0.5, 9: 0.1}, "complete"),
        Curve(1, {1: 0.5, 9: math.nan}, "pruned"),
        Curve(2, {1: math.nan}, "pruned"),
        Curve(3, {}, "failed"),
        Curve(4, {1: 0.1, 9: 0.05}, "failed"),
        Curve(5, {}, "pruned"),
        Curve(6, {}, "paused"),
    ]
    losses = comparable_losses(curves, enough=1)
    assert losses == {0: 0.1, 1: math.inf, 2: math.inf, 3: math.inf, 4: math.inf}
    assert comparable_losses([Curve(0, {}, "failed"), Curve(1, {}, "running")], enough=3) == {0: math.inf}


# The sampler


def run(
    name: str,
    num_trials: int,
    *,
    study_seed: int = 0,
    space: dict[str, BaseDistribution] = SQUARE,
    objective: Callable[..., float] = branin,
    direction: str = "minimize",
    num_startup: int = 6,
) -> list[dict[str, Any]]:
    study = optuna.create_study(direction=direction)
    drawn = []
    for number in range(num_trials):
        study.sampler = make_sampler(
            name,
            seed=100 * study_seed + number,
            trial_number=number,
            study_seed=study_seed,
            space=space,
            num_startup=num_startup,
        )
        trial = study.ask(space)
        drawn.append(dict(trial.params))
        study.tell(trial, objective(**trial.params))
    return drawn


def test_it_is_far_better_than_random_search() -> None:
    def regret(name: str, seed: int) -> float:
        drawn = run(name, 12, study_seed=seed, objective=bowl, num_startup=5)
        return min(bowl(**params) for params in drawn)

    ours, at_random = ([regret(name, seed) for seed in range(4)] for name in ("bo", "random"))
    assert sum(ours) < 0.1 * sum(at_random)
    assert max(ours) < min(at_random)


def test_the_first_trials_are_quasi_random() -> None:
    ours, theirs = run("bo", 8), run("quasi_random", 8)
    assert ours[:6] == theirs[:6]
    assert ours[6] != theirs[6]
    assert ours[7] != theirs[7]


def test_maximising_is_minimising_the_negative() -> None:
    largest = run("bo", 9, objective=lambda a, b: -branin(a, b), direction="maximize")
    assert largest == run("bo", 9)


def test_a_table_of_choices_is_searched_without_repetition() -> None:
    space: dict[str, BaseDistribution] = {
        "act": CategoricalDistribution(["relu", "tanh", None]),
        "depth": IntDistribution(1, 2),
        "rate": FloatDistribution(0.0, 0.5, step=0.5),
    }
    drawn = run(
        "bo",
        12,
        space=space,
        objective=lambda act, depth, rate: depth + rate + (act is None),
        num_startup=1,
    )
    assert len({tuple(params.values()) for params in drawn}) == 12
    assert drawn.index({"act": "relu", "depth": 1, "rate": 0.0}) < 6


def add(
    study: optuna.Study,
    state: TrialState,
    params: dict[str, Any],
    *,
    value: float | None = None,
    reports: dict[int, float] | None = None,
    space: dict[str, BaseDistribution] = SQUARE,
) -> None:
    study.add_trial(
        create_trial(
            state=state,
            params=params,
            distributions={name: space[name] for name in params},
            value=value,
            intermediate_values=reports or {},
        )
    )


def proposal(study: optuna.Study, *, num_startup: int = 3, **arguments: Any) -> dict[str, Any]:
    number = len(study.trials)
    space = arguments.pop("space", SQUARE)
    sampler = make_sampler(
        "bo",
        trial_number=number,
        study_seed=0,
        num_startup=num_startup,
        space=space,
        **{"seed": 0, **arguments},
    )
    assert isinstance(sampler, GaussianProcessSampler)
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = number
    return sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))


def test_workers_at_the_same_time_propose_different_points() -> None:
    study = optuna.create_study()
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            add(study, TrialState.COMPLETE, {"a": a, "b": b}, value=1.0)
    first = proposal(study)
    assert math.dist(first.values(), (0.5, 0.5)) < 0.1  # where least is known
    assert proposal(study) == first
    assert proposal(study, seed=1) != first
    add(study, TrialState.RUNNING, first)
    second = proposal(study)
    assert math.dist(first.values(), second.values()) > 0.4


def test_stopped_trials_say_where_not_to_go() -> None:
    study = optuna.create_study()
    for number, a in enumerate((0.1, 0.15, 0.2, 0.25)):
        add(
            study, TrialState.COMPLETE, {"a": a, "b": 0.5}, value=0.1, reports={1: 0.5, 9: 0.1 + number / 100}
        )
    alone = proposal(study)
    for a in (0.4, 0.6, 0.8, 1.0):
        for b in (0.0, 0.5, 1.0):
            add(study, TrialState.PRUNED, {"a": a, "b": b}, value=0.9, reports={1: 0.9})
    assert alone["a"] > 0.3  # nothing is known there
    assert proposal(study)["a"] < 0.35


def test_there_is_no_proposal_before_enough_trials_have_an_outcome() -> None:
    study = optuna.create_study()
    add(study, TrialState.COMPLETE, {"a": 0.5, "b": 0.5}, value=1.0)
    add(study, TrialState.RUNNING, {"a": 0.1, "b": 0.5})
    add(study, TrialState.WAITING, {"a": 0.2, "b": 0.5})
    assert proposal(study, num_startup=2) == {}
    add(study, TrialState.WAITING, {"a": 0.3, "b": 0.5}, reports={1: 0.3})
    add(study, TrialState.FAIL, {"a": 0.4, "b": 0.5})
    assert proposal(study, num_startup=2).keys() == {"a", "b"}
    assert proposal(study, num_startup=3) == {}


def test_only_parameters_of_all_trials_are_modelled() -> None:
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "opt": CategoricalDistribution(["SGD", "Adam"]),
        "opt.init_args.momentum@SGD": FloatDistribution(0.0, 0.9),
        "fixed": IntDistribution(3, 3),
    }
    study = optuna.create_study()
    add(
        study,
        TrialState.COMPLETE,
        {"lr": 0.1, "opt": "SGD", "opt.init_args.momentum@SGD": 0.1},
        value=1.0,
        space=space,
    )
    add(study, TrialState.COMPLETE, {"lr": 0.01, "opt": "Adam"}, value=2.0, space=space)
    add(study, TrialState.COMPLETE, {"lr": 0.02, "opt": "Adam"}, value=3.0, space=space)
    # Others have just begun, or failed before they had their values.
    add(study, TrialState.RUNNING, {"lr": 0.5}, space=space)
    add(study, TrialState.FAIL, {"lr": 0.7}, space=space)
    assert proposal(study, space=space).keys() == {"lr", "opt"}


def test_failed_trials_are_not_repeated() -> None:
    space: dict[str, BaseDistribution] = {"n": IntDistribution(1, 3)}
    study = optuna.create_study()
    for n in (1, 2):
        add(study, TrialState.FAIL, {"n": n}, space=space)
    assert proposal(study, num_startup=1, space=space) == {"n": 3}


def test_trials_that_failed_before_they_had_values_are_no_ground_for_a_proposal() -> None:
    study = optuna.create_study()
    add(study, TrialState.FAIL, {"a": 0.5})
    add(study, TrialState.FAIL, {"b": 0.5})
    assert proposal(study, num_startup=1) == {}


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match="the study has 2 objectives, but must have one"):
        proposal(study)


def test_names_are_checked_when_the_sampler_is_made() -> None:
    with pytest.raises(ValueError, match="acquisition is 'eii', but must be one of ei, ucb, pi"):
        make_sampler("bo", seed=0, trial_number=0, study_seed=0, space=SQUARE, acquisition="eii")


def test_candidates_are_configurations_of_the_space() -> None:
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "size": IntDistribution(32, 256),
        "act": CategoricalDistribution(["relu", "tanh", "gelu"]),
    }

    def objective(lr: float, size: int, act: str) -> float:
        return (math.log10(lr) + 1) ** 2 + size / 100 + (act != "gelu")

    drawn = run("bo", 14, space=space, objective=objective)
    for params in drawn:
        assert isinstance(params["size"], int)
        assert 32 <= params["size"] <= 256
        assert 1e-4 <= params["lr"] <= 1
    assert min(objective(**params) for params in drawn[6:]) < min(objective(**params) for params in drawn[:6])


def test_a_proposal_keeps_a_distance_from_earlier_trials() -> None:
    study = optuna.create_study()
    for a in (0.0, 0.5, 1.0):
        for b in (0.0, 0.5, 1.0):
            add(study, TrialState.COMPLETE, {"a": a, "b": b}, value=a + b)
    for _ in range(3):  # the best corner is attractive, and known
        params = proposal(study)
        for other in study.trials:
            assert max(abs(params[name] - other.params[name]) for name in SQUARE) > gp_sampler.CLOSE
        add(study, TrialState.COMPLETE, params, value=sum(params.values()))


def test_the_final_value_counts_and_not_the_last_report() -> None:
    study = optuna.create_study()
    for a in (0.0, 0.2, 0.8, 1.0):
        for b in (0.0, 0.5, 1.0):
            reports = {1: 1 - a + (b - 0.5) ** 2}  # the right half looked better
            add(study, TrialState.COMPLETE, {"a": a, "b": b}, value=a + (b - 0.5) ** 2, reports=reports)
    assert proposal(study)["a"] < 0.2


def test_a_trial_is_not_pending_to_itself() -> None:
    study = optuna.create_study()
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            add(study, TrialState.COMPLETE, {"a": a, "b": b}, value=1.0)
    before = proposal(study)
    # A worker died after it had drawn the values, and another one draws for the same trial.
    add(study, TrialState.RUNNING, before)
    sampler = make_sampler("bo", seed=0, trial_number=4, study_seed=0, num_startup=3, space=SQUARE)
    trial = study.trials[4]
    assert sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial)) == before


def test_candidates_are_other_ones_for_each_seed() -> None:
    def candidates(seed: int) -> Array:
        sampler = make_sampler("bo", seed=seed, trial_number=0, study_seed=0, space=SQUARE)
        assert isinstance(sampler, GaussianProcessSampler)
        return sampler._candidates(UnitCube(SQUARE), np.array([[0.4, 0.6]]))

    first, second = candidates(0), candidates(1)
    num = gp_sampler.NUM_CANDIDATES
    assert first.shape == (2 * num, 2)
    assert not (first == second).all(axis=1).any()
    near = np.abs(first[num:] - [0.4, 0.6])
    assert np.median(near.max(axis=1)) < 0.15
    assert (near > 0).any(axis=1).all()
    assert ((near == 0).mean(axis=0) > 0.1).all()  # only some coordinates move
