"""Samplers: which values to try next.

Each trial gets a sampler of its own, made for it. What a sampler must know of the study it reads from the
storage, and its seed comes from the study's seed and the trial's number. So workers never draw alike, and
what is drawn does not depend on who draws.
"""

import inspect
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.errors import SearchError
from search.grid import grid_points
from search.space import path_of
from search.unit_cube import Array, UnitCube
from zoo._checks import check_at_least, check_choice

__all__ = ["SAMPLERS", "QuasiRandomSampler", "check_sampler", "grid_points", "make_sampler", "sobol_points"]

SAMPLERS = {
    "random": True,
    "quasi_random": True,
    "grid": True,
    "tpe": True,
    "cma_es": False,
    "gp": True,
    "bo": False,
    "nsga2": True,
}
"""Each by its name on the command line, with whether it takes several objectives."""


def check_sampler(name: str, space: Mapping[str, BaseDistribution], *, num_objectives: int = 1) -> None:
    """Refuse a sampler that cannot do what it is asked for.

    Args:
        name: Its name in ``SAMPLERS``.
        space: Distributions by name.
        num_objectives: Number of objectives.

    Raises:
        SearchError: If it takes one objective only, or finds nothing in the space that it can vary.
        ValueError: If the name is unknown.
    """
    check_choice("sampler", name, SAMPLERS)
    if num_objectives > 1 and not SAMPLERS[name]:
        able = ", ".join(other for other, several in SAMPLERS.items() if several)
        raise SearchError(
            f"--sampler is {name!r}, but with {num_objectives} objectives must be one of {able}"
        )
    if name == "cma_es" and not any(map(_is_for_cma_es, space, space.values())):
        raise SearchError(
            "--sampler is 'cma_es', but it varies only numbers that every trial has, and the space has none; "
            "take tpe"
        )


def make_sampler(
    name: str,
    *,
    seed: int,
    trial_number: int,
    study_seed: int,
    space: Mapping[str, BaseDistribution],
    acquisition: str = "ei",
    num_startup: int = 10,
) -> BaseSampler:
    """The sampler of one trial.

    ``random``
        Draws each value on its own.
    ``quasi_random``
        :class:`QuasiRandomSampler`.
    ``tpe``
        Optuna's tree-structured Parzen estimator, over all parameters that occur together.
    ``cma_es``
        Optuna's covariance matrix adaptation, for numbers that every trial has. Choices, and the settings of
        a class that may not be chosen, are drawn at random. It learns from complete trials only: with a
        scheduler that stops most, it learns slowly.
    ``gp``
        Optuna's Gaussian process; conditional settings are drawn at random, and it learns from complete
        trials only.
    ``bo``
        Ours: :class:`search.gp_sampler.GaussianProcessSampler`.
    ``nsga2``
        Optuna's NSGA-II, an evolution for several objectives.

    Every argument of Optuna's samplers is given, since their defaults change: Optuna 5 turned on TPE's
    ``constant_liar`` and ``multivariate``.

    Args:
        name: Its name in ``SAMPLERS``; the worker hands out the points of a ``grid`` itself.
        seed: Seed of this trial's draws, from 0 to 2**32 - 1.
        trial_number: Number of the trial, from 0 on.
        study_seed: Seed of the study, at least 0.
        space: Distributions by name, those of all classes too.
        acquisition: ``ei``, ``ucb`` or ``pi``, for ``bo``.
        num_startup: How many trials ``tpe``, ``gp`` and ``bo`` must have seen before they model anything;
            half the population of ``nsga2``; at least 1.

    Returns:
        The sampler.

    Raises:
        ValueError: If a name is unknown or a number out of its range.
        SearchError: If the space has nothing that the sampler can vary.
    """
    check_sampler(name, space)
    check_at_least("num_startup", num_startup, 1)
    if name == "quasi_random":
        return QuasiRandomSampler(space, study_seed=study_seed, trial_number=trial_number)
    if name == "bo":
        from search.gp_sampler import GaussianProcessSampler  # takes seconds to import, of torch

        return GaussianProcessSampler(
            space,
            seed=seed,
            startup=QuasiRandomSampler(space, study_seed=study_seed, trial_number=trial_number),
            acquisition=acquisition,
            num_startup=num_startup,
        )
    if name == "grid":
        raise ValueError("sampler is 'grid', but the points of a grid come from grid_points()")
    with warnings.catch_warnings():
        # Which arguments are experimental differs between Optuna's releases.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _optuna_sampler(name, seed, num_startup)


def _optuna_sampler(name: str, seed: int, num_startup: int) -> BaseSampler:
    at_random = optuna.samplers.RandomSampler(seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(
            n_startup_trials=num_startup,
            n_ei_candidates=24,
            seed=seed,
            multivariate=True,
            group=True,  # of a conditional space, what occurs together is modelled together
            constant_liar=True,
            constraints_func=None,
            **_retired(
                optuna.samplers.TPESampler,
                consider_prior=True,
                prior_weight=1.0,
                consider_magic_clip=True,
                consider_endpoints=False,
                gamma=_num_good,
                weights=_recent_count_most,
                warn_independent_sampling=False,
                categorical_distance_func=None,
            ),
        )
    if name == "cma_es":
        return optuna.samplers.CmaEsSampler(
            n_startup_trials=1,
            independent_sampler=at_random,
            warn_independent_sampling=False,
            seed=seed,
            consider_pruned_trials=False,  # their last values are of different epochs
            popsize=None,
            use_separable_cma=False,
            with_margin=False,
            lr_adapt=False,
            source_trials=None,
            **_retired(
                optuna.samplers.CmaEsSampler, x0=None, sigma0=None, restart_strategy=None, inc_popsize=-1
            ),
        )
    if name == "gp":
        return optuna.samplers.GPSampler(
            seed=seed,
            independent_sampler=at_random,
            n_startup_trials=num_startup,
            deterministic_objective=False,
            constraints_func=None,
            warn_independent_sampling=False,
        )
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(
            population_size=2 * num_startup,  # Optuna's 50 would leave most studies in the first generation
            mutation_prob=None,
            crossover=None,
            crossover_prob=0.9,
            swapping_prob=0.5,
            seed=seed,
            constraints_func=None,
            elite_population_selection_strategy=None,
            child_generation_strategy=None,
            after_trial_strategy=None,
            **_retired(optuna.samplers.NSGAIISampler, mutation=None),
        )
    return at_random


def _retired(sampler: type[BaseSampler], **values: Any) -> dict[str, Any]:
    """Arguments that not all releases of Optuna have, or that some warn of unless they are None.

    Args:
        sampler: The sampler.
        values: What the releases without the warning get.
    """
    known = inspect.signature(sampler).parameters
    return {
        name: None if known[name].default is None else value
        for name, value in values.items()
        if name in known
    }


def _num_good(num_trials: int) -> int:
    """Of so many trials TPE takes so many as good ones: a tenth, at most 25, as Optuna does."""
    return min(math.ceil(0.1 * num_trials), 25)


def _recent_count_most(num_trials: int) -> Array:
    """TPE's weights, as Optuna's: 1 for the newest 25 trials, and less and less for older ones."""
    older = max(num_trials - 25, 0)
    return np.concatenate([np.linspace(1 / max(num_trials, 1), 1, older), np.ones(num_trials - older)])


def _is_for_cma_es(name: str, distribution: BaseDistribution) -> bool:
    numeric = not isinstance(distribution, CategoricalDistribution)
    return numeric and not distribution.single() and name == path_of(name)


class QuasiRandomSampler(BaseSampler):
    """Points of a scrambled Sobol sequence, which leave smaller holes than random ones do.

    Trial ``i`` has the point of number ``i``, and each parameter its own coordinate, whether a trial has it
    or not. So workers share no point and lose none. (Optuna's own sampler counts the points in the storage.
    It reads and writes the count in two steps, and two workers may get the same point.)

    Args:
        space: Distributions by name.
        study_seed: Seed of the scrambling, the same for all trials of a study; at least 0.
        trial_number: Number of the trial, from 0 on.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], *, study_seed: int, trial_number: int) -> None:
        self._columns = {name: column for column, name in enumerate(space)}
        self._study_seed = study_seed
        self._trial_number = trial_number
        self._point: Array | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing: values are looked up one by one."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value at the parameter's coordinate."""
        if self._point is None:
            points = sobol_points(1, len(self._columns), seed=self._study_seed, first=self._trial_number)
            self._point = points[0]
        column = self._columns[param_name]
        return UnitCube({param_name: param_distribution}).from_unit(self._point[[column]])[param_name]


def sobol_points(count: int, dimensions: int, *, seed: int, first: int = 0) -> Array:
    """Points of a scrambled Sobol sequence.

    Args:
        count: How many.
        dimensions: Number of coordinates, at least 1.
        seed: Seed of the scrambling.
        first: Number of the first one.

    Returns:
        Points (count, dimensions) in [0, 1).
    """
    from scipy.stats.qmc import Sobol  # takes half a second to import, and most samplers do not need it

    sequence = Sobol(dimensions, scramble=True, seed=seed)
    if first:
        sequence.fast_forward(first)
    return np.asarray(sequence.random(count))
