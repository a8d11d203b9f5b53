import math
import random
import subprocess
import sys
from collections import Counter

import optuna
import pytest

from search.schedulers import (
    ASHA,
    SCHEDULERS,
    Hyperband,
    Median,
    PromotingASHA,
    Scheduler,
    SuccessiveHalving,
    halving_plan,
    make_scheduler,
)
from search.trials import Curve


def curve(number, losses, state="running"):
    """A curve from its losses, the first one at resource 1."""
    return Curve(number, dict(enumerate(losses, 1)), state)


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


# Promotion

LOSSES = [0.5, 0.1, 0.9, 0.3, 0.2, 0.4]


def test_promotes_the_best_third_of_a_rung_rounded_down():
    scheduler = PromotingASHA(max_resource=9)
    promoted = [
        scheduler.to_promote([curve(i, [loss], "paused") for i, loss in enumerate(LOSSES[:count])])
        for count in range(7)
    ]
    assert promoted == [None, None, None, 1, 1, 1, 1]


def test_no_trial_is_promoted_twice():
    scheduler = PromotingASHA(max_resource=9)
    curves = [curve(i, [loss], "paused") for i, loss in enumerate(LOSSES)]
    curves[1] = curve(1, [0.1])  # on its way to rung 3
    assert scheduler.to_promote(curves) == 4
    curves[4] = curve(4, [0.2, 0.2, 0.2], "paused")  # waits there for two more
    assert scheduler.to_promote(curves) is None
    curves[4] = curve(4, [0.2], "failed")  # what failed had its chance
    assert scheduler.to_promote(curves) is None
    curves[4] = curve(4, [0.2], "pruned")
    assert scheduler.to_promote(curves) is None


def test_the_highest_rung_comes_first():
    scheduler = PromotingASHA(max_resource=9)
    curves = [curve(i, [loss], "paused") for i, loss in enumerate(LOSSES)]
    curves += [curve(i, [loss] * 3, "paused") for i, loss in enumerate([0.8, 0.6, 0.7], 6)]
    assert scheduler.to_promote(curves) == 7
    curves[7] = curve(7, [0.6] * 4)
    # Of nine on the first rung, three may leave it, and 1, 4 and 3 are the best ones.
    assert scheduler.to_promote(curves) == 1


def test_a_rung_holds_every_trial_that_came_to_it():
    """Those that went on count, and so do those that ended; a diverged one is the worst."""
    scheduler = PromotingASHA(max_resource=9)
    others = [curve(0, [0.4]), curve(1, [math.nan], "pruned")]
    assert scheduler.to_promote([*others, curve(2, [0.5], "paused")]) is None
    assert scheduler.to_promote([*others, curve(2, [0.3], "paused")]) == 2
    assert scheduler.to_promote([curve(0, [0.4], "complete"), curve(1, [], "failed"), others[1]]) is None


def test_rungs_are_epochs_done():
    scheduler = PromotingASHA(max_resource=9, min_resource=2, reduction_factor=2)
    assert scheduler.rungs() == [2, 4, 8]
    decisions = [scheduler.after_report(0, [curve(0, [0.5] * n)]) for n in range(1, 9)]
    assert decisions == [*("continue", "pause") * 2, *("continue",) * 3, "pause"]


def test_there_is_no_rung_at_the_end():
    assert ASHA(max_resource=9).rungs() == [1, 3]
    assert Hyperband(max_resource=9).rungs() == [1, 3]


def test_a_trial_that_would_be_promoted_at_once_is_not_paused():
    scheduler = PromotingASHA(max_resource=9)
    waiting = [curve(0, [0.5], "paused"), curve(1, [0.4], "paused")]
    assert scheduler.after_report(2, [*waiting, curve(2, [0.3])]) == "continue"
    assert scheduler.after_report(2, [*waiting, curve(2, [0.45])]) == "pause"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_interrupted_trials_go_on_first(name):
    scheduler = make_scheduler(name, max_resource=9, num_trials=4)
    curves = [curve(i, [0.1 * i] * 3, "complete") for i in range(3)]
    for losses in [], [0.9, 0.9], [0.9] * 5:
        assert scheduler.to_promote([*curves, curve(3, losses, "paused")]) == 3
    assert scheduler.to_promote([*curves, curve(3, [0.9] * 3, "failed")]) is None
    assert scheduler.to_promote([*curves, curve(3, [], "running")]) is None


@pytest.mark.parametrize("name", ["none", "median", "asha", "hyperband"])
def test_who_never_pauses_takes_every_paused_trial_for_interrupted(name):
    scheduler = make_scheduler(name, max_resource=9)
    assert scheduler.to_promote([curve(0, [0.1]), curve(1, [0.9] * 3, "paused")]) == 1


def test_a_study_ends_with_a_complete_trial():
    scheduler = PromotingASHA(max_resource=9)
    curves = [curve(0, [1.0], "paused"), curve(1, [0.9] * 3, "paused"), curve(2, [0.8] * 3, "paused")]
    assert scheduler.to_promote(curves) is None
    assert scheduler.to_finish(curves) == 2
    assert scheduler.to_finish([*curves[:2], curve(2, [0.8] * 9, "complete")]) is None
    assert scheduler.to_finish([curve(0, [0.1], "pruned")]) is None
    assert scheduler.to_finish([]) is None


# Synchronous halving


def test_a_rung_is_decided_when_all_are_there():
    scheduler = SuccessiveHalving(max_resource=9, num_trials=6)
    curves = [curve(i, [loss], "paused") for i, loss in enumerate(LOSSES)]
    assert scheduler.to_promote(curves[:5]) is None  # one has not started
    assert scheduler.to_promote([*curves[:5], curve(5, [])]) is None  # one is on its way
    assert scheduler.to_promote(curves) == 1
    assert scheduler.after_report(5, [*curves[:5], curve(5, [0.05])]) == "continue"
    curves[1] = curve(1, [0.1])
    assert scheduler.to_promote(curves) == 4
    curves[4] = curve(4, [0.2] * 3, "paused")
    assert scheduler.to_promote(curves) is None  # two of six are kept, and the second rung waits for 1
    curves[1] = curve(1, [0.3] * 3, "paused")
    assert scheduler.to_promote(curves) == 4  # at least one goes on


def test_what_ends_on_the_way_counts_as_the_worst():
    scheduler = SuccessiveHalving(max_resource=9, num_trials=3)
    curves = [curve(0, [math.nan], "pruned"), curve(1, [math.inf], "pruned"), curve(2, [7.0], "paused")]
    assert scheduler.to_promote(curves) == 2
    curves[2] = curve(2, [7.0, math.nan], "pruned")
    assert scheduler.to_promote(curves) is None


def test_a_failed_trials_place_is_taken():
    scheduler = SuccessiveHalving(max_resource=9, num_trials=3)
    curves = [curve(0, [0.1], "failed"), curve(1, [0.2], "paused"), curve(2, [0.3], "paused")]
    assert scheduler.to_promote(curves) is None
    assert scheduler.to_promote([*curves, curve(3, [])]) is None
    assert scheduler.to_promote([*curves, curve(3, [0.5], "paused")]) == 1


def test_halving_has_the_books_rungs():
    """Section 19.4: epochs 2 to 10, halved, 8 + 4 + 2 + 1 configurations."""
    scheduler = SuccessiveHalving(max_resource=10, min_resource=2, reduction_factor=2, num_trials=8)
    assert [*scheduler.rungs(), scheduler.max_resource] == [2, 4, 8, 10]
    curves, _ = drive(scheduler, 8, workers=3, seed=0)
    assert [sum(c.resource >= rung for c in curves) for rung in (2, 4, 8, 10)] == [8, 4, 2, 1]


def drive(scheduler, num_trials, workers, seed):
    """Run a study to its end in random order; returns the resources of all trials and what was promoted."""
    rng = random.Random(seed)
    curves, promoted = [], []
    quality = [rng.random() for _ in range(num_trials)]
    while True:
        while sum(c.state == "running" for c in curves) < workers:
            number = scheduler.to_promote(curves)
            if number is not None:
                assert curves[number].state == "paused"
                promoted.append((number, curves[number].resource))
            elif len(curves) < num_trials:
                number = len(curves)
                curves.append(Curve(number, {}, "paused"))
            else:
                break
            curves[number] = Curve(number, curves[number].losses, "running")
        running = [c for c in curves if c.state == "running"]
        if not running:
            return curves, promoted
        number, losses = (chosen := rng.choice(running)).number, chosen.losses
        losses[chosen.resource + 1] = quality[number] + 0.3 * rng.random()
        decision = "stop"
        if len(losses) < scheduler.max_resource:
            decision = scheduler.after_report(number, curves)
        elif decision == "stop":
            curves[number] = Curve(number, losses, "complete")
            continue
        states = {"continue": "running", "pause": "paused", "stop": "pruned"}
        curves[number] = Curve(number, losses, states[decision])


@pytest.mark.parametrize("workers", [1, 4, 30])
@pytest.mark.parametrize(("num_trials", "kept"), [(27, [9, 3, 1]), (20, [6, 2, 1]), (2, [1, 1, 1])])
def test_halving_trains_as_many_as_planned(workers, num_trials, kept):
    scheduler = SuccessiveHalving(max_resource=20, num_trials=num_trials)
    assert scheduler.rungs() == [1, 3, 9]
    assert scheduler.kept() == kept
    curves, promoted = drive(scheduler, num_trials, workers, seed=workers)
    for rung, resource, keep in zip([1, 3, 9], [3, 9, 20], kept, strict=True):
        came = sorted((c for c in curves if c.resource >= rung), key=lambda c, rung=rung: c.losses[rung])
        assert {c.number for c in curves if c.resource >= resource} == {c.number for c in came[:keep]}
    assert max(Counter(promoted).values(), default=1) == 1


@pytest.mark.parametrize("workers", [1, 4, 30])
def test_promotion_leaves_no_promotable_trial_behind(workers):
    scheduler = PromotingASHA(max_resource=20, reduction_factor=2)
    curves, promoted = drive(scheduler, 40, workers, seed=workers)
    assert max(Counter(promoted).values()) == 1
    for rung in scheduler.rungs():
        came = sorted((c for c in curves if c.resource >= rung), key=lambda c, rung=rung: c.losses[rung])
        assert all(c.resource > rung for c in came[: len(came) // 2])
        # With no noise of the order, no more than those would have left.
        assert sum(c.resource > rung for c in came) >= len(came) // 2


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


# The rest


def test_rounds_that_share_a_budget():
    assert halving_plan(num_trials=27, budget=81, reduction_factor=3) == [(27, 1), (9, 3), (3, 9)]
    assert halving_plan(num_trials=8, budget=48, reduction_factor=2) == [(8, 2), (4, 4), (2, 8)]
    # Three rounds, where the logarithm of floats is above 3; what is not divisible is rounded down.
    assert halving_plan(num_trials=125, budget=800, reduction_factor=5) == [(125, 2), (25, 10), (5, 50)]
    assert halving_plan(num_trials=10, budget=30, reduction_factor=3) == [(10, 1), (3, 3), (1, 9)]
    with pytest.raises(ValueError, match=r"^budget is 29, but must be at least 30$"):
        halving_plan(num_trials=10, budget=29, reduction_factor=3)
    with pytest.raises(ValueError, match=r"^num_trials is 1, but must be at least 2$"):
        halving_plan(num_trials=1, budget=29, reduction_factor=3)


def test_median_starts_where_it_says():
    scheduler = Median(max_resource=4, min_resource=2, num_startup_trials=1)
    assert scheduler.rungs() == [2, 3]
    done = curve(0, [0.1] * 4, "complete")
    assert [scheduler.after_report(1, [done, curve(1, [0.2] * n)]) for n in (1, 2)] == ["continue", "stop"]


def test_every_trial_runs_to_the_end_without_a_scheduler():
    scheduler = Scheduler(max_resource=3)
    assert scheduler.rungs() == []
    assert scheduler.after_report(1, [curve(0, [0.1]), curve(1, [9.0])]) == "continue"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none", "every trial runs all 10 folds"),
        ("median", "after each of 1 to 9 of 10 folds"),
        ("asha", "rungs after 1, 3, 9 of 10 folds: a trial stops there unless it is in the best 1/3"),
        ("asha_promotion", "rungs after 1, 3, 9 of 10 folds: a trial pauses there"),
        ("successive_halving", "when all 30 trials are there, the best 10, 3, 1 go on"),
        ("hyperband", "in the best 1/3 of its bracket: 53% from 1 on, 29% from 3 on, 18% from 9 on"),
    ],
)
def test_what_it_does_is_said_first(name, text):
    assert text in make_scheduler(name, max_resource=10, num_trials=30).describe("folds")


def test_arguments_reach_the_scheduler():
    given = {"max_resource": 20, "min_resource": 2, "reduction_factor": 4}
    for name in "asha", "asha_promotion", "successive_halving", "hyperband":
        scheduler = make_scheduler(name, **given, num_trials=7)
        assert type(scheduler) is SCHEDULERS[name][0]
        assert scheduler.rungs() == [2, 8]
    assert make_scheduler("median", **given).rungs() == list(range(2, 20))
    assert make_scheduler("successive_halving", **given, num_trials=7).num_trials == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "ashra"}, "scheduler is 'ashra', but must be one of none, .*did you mean asha"),
        ({"max_resource": 0}, "max_resource is 0, but must be at least 1"),
        ({"min_resource": 0}, "min_resource is 0, but must be at least 1 and below max_resource, 9"),
        ({"min_resource": 9}, "min_resource is 9, but must be at least 1 and below max_resource, 9"),
        ({"reduction_factor": 1}, "reduction_factor is 1, but must be at least 2"),
        ({"num_trials": None}, "num_trials is None, but must be a number for successive_halving"),
        ({"num_trials": 0}, "num_trials is 0, but must be at least 1"),
    ],
)
def test_bad_values_are_refused(changed, message):
    given = {"name": "successive_halving", "max_resource": 9, "num_trials": 3, **changed}
    with pytest.raises(ValueError, match=message):
        make_scheduler(given.pop("name"), **given)


def test_schedulers_need_no_torch():
    """Fifty workers may run on one machine."""
    code = "import sys, search.schedulers; sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
