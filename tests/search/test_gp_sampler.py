"""Bayesian optimisation as a sampler of Optuna's: what it draws from the trials of a study."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search import gp_sampler
from search.gp_sampler import GaussianProcessSampler
from search.samplers import make_sampler
from search.unit_cube import Array, UnitCube
from tests.search.sampling import branin, quiet

SQUARE: dict[str, BaseDistribution] = {"a": FloatDistribution(0.0, 1.0), "b": FloatDistribution(0.0, 1.0)}

_quiet = pytest.fixture(quiet, autouse=True)


def bowl(a: float, b: float) -> float:
    """Lowest, 0, at (.7, .3), and longer in one direction than across."""
    return (a - 0.7) ** 2 + 2 * (b - 0.3) ** 2 + (a - 0.7) * (b - 0.3)


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
