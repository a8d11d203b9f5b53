"""Schedulers that pause trials and let the best go on: promotion, synchronous halving."""

import math
import random
from collections import Counter

import pytest

from search.schedulers import SCHEDULERS, PromotingASHA, SuccessiveHalving, halving_plan, make_scheduler
from search.trials import Curve
from tests.search.curves import curve

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
