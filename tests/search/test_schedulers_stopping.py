"""Schedulers that stop trials: the same decisions as Optuna's pruners, and Hyperband's brackets."""

import math
import random
from collections import Counter

import optuna
import pytest

from search.schedulers import ASHA, Hyperband, Median
from search.trials import Curve
from tests.search.curves import curve

# Stopping: the same decisions as Optuna's pruners


def same_as_optuna(scheduler, pruner, *, seed, losses, num_trials=12):
    """Both decide on trials that report in a random order; returns how often they stopped one."""
    rng = random.Random(seed)
    study = optuna.create_study(pruner=pruner)
    trials, curves, stopped = [], [], 0
    while True:
        running = [c for c in curves if c.state == "running"]
        if len(curves) < num_trials and (not running or rng.random() < 0.2):
            trials.append(study.ask())
            running.append(Curve(len(curves), {}, "running"))
            curves.append(running[-1])
        if not running:
            return stopped
        number = rng.choice(running).number
        resource = curves[number].resource + 1
        loss = losses(rng)
        trials[number].report(loss, resource)
        curves[number].losses[resource] = loss
        state = "running"
        if not math.isfinite(loss):
            state = "pruned"
        elif resource == scheduler.max_resource:
            state = "complete"
        else:
            stop = trials[number].should_prune()
            assert scheduler.after_report(number, curves) == ("stop" if stop else "continue")
            state = "pruned" if stop else "running"
            stopped += stop
        if state != "running":
            curves[number] = Curve(number, curves[number].losses, state)
            value = loss if state == "complete" else None
            trials_state = optuna.trial.TrialState[state.upper()]
            study.tell(trials[number], value, trials_state)


def any_loss(rng):
    return rng.random()


def few_losses(rng):
    return rng.choice([0.0, 0.1, 0.2, 0.3])


def diverging(rng):
    return rng.choice([rng.random()] * 12 + [math.nan, -0.0, 1e300])


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.mark.parametrize("losses", [any_loss, few_losses, diverging])
@pytest.mark.parametrize(("minimum", "factor", "maximum"), [(1, 3, 10), (2, 2, 9), (3, 4, 12), (1, 2, 8)])
def test_asha_is_optunas(losses, minimum, factor, maximum):
    stopped = 0
    for seed in range(20):
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=minimum, reduction_factor=factor, min_early_stopping_rate=0, bootstrap_count=0
        )
        scheduler = ASHA(max_resource=maximum, min_resource=minimum, reduction_factor=factor)
        stopped += same_as_optuna(scheduler, pruner, seed=seed, losses=losses)
    assert stopped > 50


@pytest.mark.parametrize("losses", [any_loss, few_losses, diverging])
@pytest.mark.parametrize(("startup", "warmup"), [(0, 1), (1, 3), (5, 2)])
def test_median_is_optunas(losses, startup, warmup):
    stopped = 0
    for seed in range(20):
        pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
        scheduler = Median(max_resource=6, min_resource=warmup, num_startup_trials=startup)
        stopped += same_as_optuna(scheduler, pruner, seed=seed, losses=losses)
    assert stopped > 0


@pytest.mark.parametrize("losses", [any_loss, few_losses, diverging])
def test_hyperband_is_optunas_but_for_who_is_where(losses, monkeypatch):
    scheduler = Hyperband(max_resource=9, min_resource=1, reduction_factor=3)
    monkeypatch.setattr(
        optuna.pruners.HyperbandPruner,
        "_get_bracket_id",
        lambda pruner, study, trial: scheduler.bracket_of(trial.number),
    )
    stopped = 0
    for seed in range(20):
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
        stopped += same_as_optuna(scheduler, pruner, seed=seed, losses=losses, num_trials=20)
    assert stopped > 50


def test_a_sparse_report_brings_a_trial_to_the_rungs_before_it():
    scheduler = ASHA(max_resource=10)
    curves = [Curve(0, {2: 0.1, 4: 0.1}, "running"), Curve(1, {2: 0.2, 4: 0.2}, "running")]
    assert scheduler.after_report(1, curves) == "stop"  # rung 3, reached with the report at 4
    curves = [Curve(0, {4: 0.1, 5: 0.1}, "running"), Curve(1, {4: 0.2, 5: 0.2}, "running")]
    assert scheduler.after_report(1, curves) == "continue"  # no rung between 4 and 5


def test_there_is_no_rung_at_the_end():
    assert ASHA(max_resource=9).rungs() == [1, 3]
    assert Hyperband(max_resource=9).rungs() == [1, 3]


def test_median_starts_where_it_says():
    scheduler = Median(max_resource=4, min_resource=2, num_startup_trials=1)
    assert scheduler.rungs() == [2, 3]
    done = curve(0, [0.1] * 4, "complete")
    assert [scheduler.after_report(1, [done, curve(1, [0.2] * n)]) for n in (1, 2)] == ["continue", "stop"]


# Hyperband


def test_brackets_are_the_papers():
    """Sizes and first resources of algorithm 1 for R = 81 and eta = 3."""
    assert Hyperband(max_resource=81).brackets == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    # Logarithms of floats find four rungs below 243.
    assert [start for _, start in Hyperband(max_resource=243).brackets] == [1, 3, 9, 27, 81, 243]
    assert [start for _, start in Hyperband(max_resource=10, min_resource=2).brackets] == [2, 6]


@pytest.mark.parametrize(("maximum", "factor"), [(81, 3), (10, 3), (64, 4), (100, 2)])
def test_brackets_have_their_share_early(maximum, factor):
    scheduler = Hyperband(max_resource=maximum, reduction_factor=factor)
    sizes = [size for size, _ in scheduler.brackets]
    counts = Counter(scheduler.bracket_of(number) for number in range(7, 7 + sum(sizes)))
    assert [counts[index] for index in range(len(sizes))] == sizes
    for trials in range(1, sum(sizes)):
        counts = Counter(scheduler.bracket_of(number) for number in range(trials))
        for index, size in enumerate(sizes):
            assert abs(counts[index] - trials * size / sum(sizes)) < 3
    assert scheduler.bracket_of(0) == 0


def test_sizes_of_brackets_are_optunas():
    pruner = optuna.pruners.HyperbandPruner(min_resource=2, max_resource=100, reduction_factor=3)
    pruner._try_initialization(optuna.create_study())
    scheduler = Hyperband(max_resource=100, min_resource=2)
    assert [size for size, _ in scheduler.brackets] == pruner._trial_allocation_budgets


def test_a_bracket_competes_with_itself_alone():
    scheduler = Hyperband(max_resource=9)
    first, second = ([n for n in range(40) if scheduler.bracket_of(n) == bracket][:2] for bracket in range(2))
    good = curve(first[0], [0.1])
    bad = curve(first[1], [0.2])
    assert scheduler.after_report(bad.number, [good, bad]) == "stop"
    elsewhere = curve(second[0], [0.05], "pruned")
    assert scheduler.after_report(good.number, [elsewhere, good]) == "continue"
    late = curve(second[1], [0.2])  # its bracket has no rung there
    assert scheduler.after_report(late.number, [good, late, elsewhere]) == "continue"
