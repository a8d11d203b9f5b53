"""Samplers by name: what they are given, what they draw, which can do what; quasi-random points."""

import functools
import inspect
import logging
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._tpe import sampler as optuna_tpe
from optuna.trial import Trial
from scipy.stats.qmc import Sobol

from search import samplers
from search.errors import SearchError
from search.samplers import SAMPLERS, check_sampler, make_sampler
from search.study import Claim
from tests.search.sampling import LR, quiet
from tests.search.studies import make_study

ROOT = Path(__file__).resolve().parent.parent.parent
OPTIMIZER = CategoricalDistribution(["SGD", "Adam"])
CONDITIONAL: dict[str, BaseDistribution] = {
    "lr": LR,
    "size": IntDistribution(1, 64, log=True),
    "optimizer": OPTIMIZER,
    "optimizer.init_args.momentum@SGD": FloatDistribution(0.0, 0.9),
    "depth": IntDistribution(1, 5),
}
OPTUNAS = {
    "random": "RandomSampler",
    "tpe": "TPESampler",
    "cma_es": "CmaEsSampler",
    "gp": "GPSampler",
    "nsga2": "NSGAIISampler",
}

_quiet = pytest.fixture(quiet, autouse=True)


class Messages(logging.Handler):
    """Collects what Optuna logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def messages() -> Iterator[list[str]]:
    handler = Messages()
    logger = logging.getLogger("optuna")
    logger.addHandler(handler)
    yield handler.texts
    logger.removeHandler(handler)


def suggest(trial: Trial, space: dict[str, BaseDistribution]) -> dict[str, Any]:
    for name, distribution in space.items():
        if not name.endswith("@SGD") or trial.params["optimizer"] == "SGD":
            trial._suggest(name, distribution)
    return dict(trial.params)


def loss(params: dict[str, Any]) -> float:
    """Lowest, 0, at lr .01, size 8 and Adam."""
    distance = (math.log10(params["lr"]) + 2) ** 2 + math.log2(params["size"] / 8) ** 2 / 4
    return float(distance + (params["optimizer"] == "SGD"))


def run(name: str, num_trials: int, study_seed: int = 0, **arguments: Any) -> list[dict[str, Any]]:
    """A study in which each trial has a new study object and sampler, as if each had a worker of its own."""
    storage = optuna.storages.InMemoryStorage()
    minimize = optuna.study.StudyDirection.MINIMIZE
    optuna.create_study(
        storage=storage, study_name="s", directions=[minimize] * (2 if name == "nsga2" else 1)
    )
    drawn = []
    for number in range(num_trials):
        sampler = make_sampler(
            name,
            seed=1000 * study_seed + number,
            trial_number=number,
            study_seed=study_seed,
            space=CONDITIONAL,
            **arguments,
        )
        study = optuna.load_study(storage=storage, study_name="s", sampler=sampler)
        trial = study.ask()
        drawn.append(suggest(trial, CONDITIONAL))
        value = loss(drawn[-1])
        study.tell(trial, [value, drawn[-1]["depth"]] if name == "nsga2" else value)
    return drawn


# Samplers of Optuna


@pytest.mark.parametrize("name", OPTUNAS)
def test_every_argument_of_optunas_samplers_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = getattr(optuna.samplers, OPTUNAS[name])
    given: dict[str, Any] = {}
    original = kind.__init__

    @functools.wraps(original)
    def record(self: Any, *args: Any, **kwargs: Any) -> None:
        assert not args
        given.update(kwargs)
        original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "__init__", record)
    sampler = make_sampler(name, seed=7, trial_number=0, study_seed=0, space=CONDITIONAL, num_startup=6)
    assert type(sampler) is kind
    assert given.keys() == inspect.signature(kind).parameters.keys()
    assert given["seed"] == 7
    if name == "tpe":
        assert (given["multivariate"], given["group"], given["constant_liar"]) == (True, True, True)
    if name in ("tpe", "gp"):
        assert given["n_startup_trials"] == 6


def test_arguments_that_a_release_warns_of_or_has_not_are_left_alone() -> None:
    class Older(optuna.samplers.RandomSampler):
        def __init__(self, seed: int | None = None, weight: float = 2.0, gone: str | None = None) -> None:
            super().__init__(seed)

    class Newer(optuna.samplers.RandomSampler):
        def __init__(self, seed: int | None = None, weight: float | None = None) -> None:
            super().__init__(seed)

    assert samplers._retired(Older, weight=1.0, gone=None) == {"weight": 1.0, "gone": None}
    assert samplers._retired(Newer, weight=1.0, gone=None) == {"weight": None}


def test_what_older_releases_get_for_tpe_is_optunas_default() -> None:
    for count in (0, 1, 9, 10, 11, 24, 25, 26, 60, 249, 250, 251, 1000):
        assert samplers._num_good(count) == optuna_tpe.default_gamma(count)
        np.testing.assert_allclose(samplers._recent_count_most(count), optuna_tpe.default_weights(count))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_draws_follow_from_the_seeds_alone(name: str, messages: list[str]) -> None:
    first = run(name, 6, num_startup=4)
    assert first == run(name, 6, num_startup=4)
    other = run(name, 6, study_seed=1, num_startup=4)
    assert all(ours["lr"] != theirs["lr"] for ours, theirs in zip(first, other, strict=True))
    assert len({params["lr"] for params in first}) == 6
    for params in first:
        assert ("optimizer.init_args.momentum@SGD" in params) == (params["optimizer"] == "SGD")
    # Optuna 5 says once that its Gaussian process could be faster.
    assert [text for text in messages if "greenlet" not in text] == []


@pytest.mark.parametrize("name", ["tpe", "gp", "cma_es"])
def test_samplers_draw_at_random_only_at_the_start(name: str) -> None:
    drawn, at_random = run(name, 7, num_startup=4), run("random", 7)
    start = 1 if name == "cma_es" else 4
    assert drawn[:start] == at_random[:start]
    for params, other in zip(drawn[start:], at_random[start:], strict=True):
        assert params["lr"] != other["lr"]


@pytest.mark.parametrize("name", ["tpe", "cma_es"])
def test_samplers_learn_from_other_workers_trials(name: str) -> None:
    at_random = np.mean([loss(params) for params in run("random", 24)[12:]])
    assert np.mean([loss(params) for params in run(name, 24, num_startup=6)[12:]]) < 0.6 * at_random


def test_nsga2_breeds_from_its_second_generation_on() -> None:
    drawn, at_random = run("nsga2", 14, num_startup=5), run("random", 14)
    assert drawn[:10] == at_random[:10]
    sizes = {params["size"] for params in drawn[:10]}
    assert sum(params["size"] in sizes for params in drawn[10:]) >= 3
    assert drawn[10:] != at_random[10:]


def test_cma_es_draws_choices_and_conditional_values_at_random() -> None:
    drawn = run("cma_es", 40)
    assert all(math.log10(params["lr"]) < -1 for params in drawn[30:])  # it has learnt
    assert Counter(params["optimizer"] for params in drawn[10:])["SGD"] == pytest.approx(15, abs=6)


@pytest.mark.parametrize("name", ["tpe", "cma_es"])
def test_a_worker_draws_with_all_that_is_known_by_then(name: str, tmp_path: Path) -> None:
    def sampler(number: int) -> BaseSampler:
        space: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}
        return make_sampler(name, seed=number, trial_number=number, study_seed=0, space=space, num_startup=3)

    def draw(folder: str, *, anew: bool) -> list[float]:
        drawn: list[float] = []
        study = make_study(tmp_path / folder, trials=10)
        for _ in range(10):
            study = make_study(tmp_path / folder) if anew else study
            study.make_sampler = sampler
            claim = study.next_trial()
            assert isinstance(claim, Claim)
            drawn.append(claim.values["x"])
            study.complete(claim, [drawn[-1]], 0.0)
        return drawn

    assert draw("one worker", anew=False) == draw("ten workers", anew=True)


# Which can do what


def test_samplers_of_one_objective_refuse_several() -> None:
    several = "random, quasi_random, grid, tpe, gp, nsga2"
    expected = f"--sampler is 'cma_es', but with 2 objectives must be one of {several}"
    with pytest.raises(SearchError) as error:
        check_sampler("cma_es", CONDITIONAL, num_objectives=2)
    assert str(error.value) == expected
    with pytest.raises(SearchError, match="--sampler is 'bo', but with 3 objectives"):
        check_sampler("bo", CONDITIONAL, num_objectives=3)


@pytest.mark.parametrize("name", [name for name, several in SAMPLERS.items() if several and name != "grid"])
def test_samplers_of_several_objectives_take_several(name: str) -> None:
    check_sampler(name, CONDITIONAL, num_objectives=2)
    study = optuna.create_study(directions=["minimize", "maximize"])
    for number in range(5):
        study.sampler = make_sampler(
            name, seed=number, trial_number=number, study_seed=0, space=CONDITIONAL, num_startup=2
        )
        trial = study.ask()
        params = suggest(trial, CONDITIONAL)
        study.tell(trial, [loss(params), params["depth"]])


def test_cma_es_needs_a_number_that_every_trial_has() -> None:
    space: dict[str, BaseDistribution] = {
        "optimizer": OPTIMIZER,
        "optimizer.init_args.momentum@SGD": FloatDistribution(0.0, 0.9),
        "fixed": IntDistribution(3, 3),
    }
    with pytest.raises(SearchError, match="varies only numbers that every trial has, and the space has none"):
        make_sampler("cma_es", seed=0, trial_number=0, study_seed=0, space=space)
    check_sampler("cma_es", {**space, "lr": LR})


def test_cma_es_takes_a_single_number() -> None:
    study = optuna.create_study()
    for number in range(8):
        study.sampler = make_sampler(
            "cma_es", seed=number, trial_number=number, study_seed=0, space={"lr": LR}
        )
        trial = study.ask()
        study.tell(trial, trial.suggest_float("lr", 1e-4, 1.0, log=True))


def test_names_and_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match=r"sampler is 'tpee', but must be one of .*did you mean tpe"):
        make_sampler("tpee", seed=0, trial_number=0, study_seed=0, space=CONDITIONAL)
    with pytest.raises(ValueError, match="num_startup is 0, but must be at least 1"):
        make_sampler("tpe", seed=0, trial_number=0, study_seed=0, space=CONDITIONAL, num_startup=0)
    with pytest.raises(ValueError, match="come from grid_points"):
        make_sampler("grid", seed=0, trial_number=0, study_seed=0, space=CONDITIONAL)


def test_only_what_needs_them_imports_the_heavy_libraries() -> None:
    # Tens of workers whose trials need no torch start at once.
    code = """if True:
        import sys
        from optuna.distributions import FloatDistribution
        from search.samplers import make_sampler
        for name in ("random", "quasi_random", "tpe", "cma_es"):
            make_sampler(name, seed=0, trial_number=0, study_seed=0, space={"x": FloatDistribution(0, 1)})
        print(sorted({"torch", "lightning", "gpytorch", "scipy.stats"} & sys.modules.keys()))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


# Quasi-random points


def test_a_trial_has_the_sobol_point_of_its_number() -> None:
    space: dict[str, BaseDistribution] = {"a": FloatDistribution(0.0, 1.0), "b": FloatDistribution(0.0, 2.0)}
    points = Sobol(2, scramble=True, seed=5).random(8)
    for number in reversed(range(8)):  # whatever the order in which workers come
        study = optuna.create_study()
        study.sampler = make_sampler(
            "quasi_random", seed=number, trial_number=number, study_seed=5, space=space
        )
        params = suggest(study.ask(), space)
        assert [params["a"], params["b"] / 2] == pytest.approx(points[number].tolist())


def test_quasi_random_choices_are_even() -> None:
    drawn = run("quasi_random", 16)
    assert Counter(params["optimizer"] for params in drawn) == {"SGD": 8, "Adam": 8}
    assert set(Counter(int(4 * (math.log10(params["lr"]) + 4) / 4) for params in drawn).values()) == {4}
