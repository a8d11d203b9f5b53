"""A search in virtual time: workers, rungs, budgets, and schedulers with a memory."""

import math

import pytest

from benchmarks._fast_schedulers import make_fast_scheduler
from benchmarks._search_engine import History, Training, simulate
from search.schedulers import SCHEDULERS, PromotingASHA, Scheduler, SuccessiveHalving, make_scheduler
from tests.benchmarks.searches import drawn, trainings_of


def test_workers_share_the_time():
    trainings = [
        Training([0.9, 0.5], [1.0, 1.0]),
        Training([0.8, 0.4], [3.0, 2.0]),
        Training([0.7, 0.6], [1.5, 1.0]),
    ]
    history = simulate(Scheduler(max_resource=2), drawn(trainings), num_trials=3, num_workers=2)
    # The first worker has trials 0 (until 2) and 2 (until 4.5), the second one trial 1 (until 5).
    assert history.improvements == [(1, 1.0, 0.9), (2, 2.0, 0.5), (6, 5.0, 0.4)]
    assert (history.epochs, history.seconds, history.best) == (6, 5.0, 0.4)
    assert [c.state for c in history.curves] == ["complete"] * 3
    alone = simulate(Scheduler(max_resource=2), drawn(trainings), num_trials=3)
    assert (alone.epochs, alone.seconds) == (6, 9.5)


def test_a_rung_of_synchronous_halving_waits_for_the_slowest():
    losses = [[0.3, 0.3, 0.3, 0.3], [0.2, 0.2, 0.2, 0.2], [0.1, 0.1, 0.1, 0.05]]
    trainings = [Training(loss, [s] * 4) for loss, s in zip(losses, (1.0, 1.0, 5.0), strict=True)]
    scheduler = SuccessiveHalving(max_resource=4, num_trials=3)
    history = simulate(scheduler, drawn(trainings), num_trials=3, num_workers=3)
    # All are there after 5 seconds; one goes on for two epochs of 5, and then, alone, for the last one.
    assert history.improvements[-1] == (6, 20.0, 0.05)
    assert [c.resource for c in history.curves] == [1, 1, 4]


def test_who_waited_goes_on_when_the_last_one_comes():
    """The last one to come is the best and goes on at once; the second best does at the same time."""
    trainings = [
        Training([0.05, loss, loss], [s] * 3) for loss, s in [(0.2, 1.0), (0.4, 1.0), (0.3, 1.0), (0.1, 2.0)]
    ]
    scheduler = SuccessiveHalving(max_resource=3, min_resource=2, reduction_factor=2, num_trials=4)
    history = simulate(scheduler, drawn(trainings), num_trials=4, num_workers=4)
    assert [c.resource for c in history.curves] == [3, 2, 2, 3]
    assert history.seconds == 6


def test_a_promoted_trial_goes_on_where_it_was():
    trainings = trainings_of(0, 30, 9)
    history = simulate(PromotingASHA(max_resource=9), drawn(trainings), num_trials=30, num_workers=4)
    assert history.epochs == sum(c.resource for c in history.curves)
    assert {c.resource for c in history.curves} == {1, 3, 9}
    for curve, training in zip(history.curves, trainings, strict=True):
        assert curve.losses == {n + 1: training.losses[n] for n in range(curve.resource)}


def test_a_loss_that_is_no_number_ends_a_trial():
    trainings = [Training([math.nan, 0.1], [1.0] * 2), Training([0.3, math.inf], [1.0] * 2)]
    history = simulate(Scheduler(max_resource=2), drawn(trainings), num_trials=2)
    assert [(c.state, c.resource) for c in history.curves] == [("pruned", 1), ("pruned", 2)]
    assert history.best == 0.3


def test_a_small_study_ends_with_a_complete_trial():
    history = simulate(PromotingASHA(max_resource=9), drawn(trainings_of(1, 2, 9)), num_trials=2)
    assert sorted(c.resource for c in history.curves) == [1, 9]


@pytest.mark.parametrize("name", ["none", "asha", "successive_halving"])
def test_a_search_ends_at_its_target_or_budget(name):
    scheduler = make_scheduler(name, max_resource=9, num_trials=20)
    trainings = trainings_of(2, 20, 9)
    whole = simulate(scheduler, drawn(trainings), num_trials=20)
    assert len(whole.improvements) > 2
    epochs, seconds, loss = whole.improvements[-2]
    part = simulate(scheduler, drawn(trainings), num_trials=20, target=loss)
    assert (part.epochs, part.seconds, part.best) == (epochs, seconds, loss)
    for budget in epochs - 1, epochs, epochs + 1:
        part = simulate(scheduler, drawn(trainings), num_trials=20, max_epochs=budget)
        assert part.epochs == budget
        assert part.best == whole.best_after(budget)


def test_a_second_study_counts_on():
    history = History()
    trainings = [Training([0.5], [2.0]), Training([0.4], [3.0])]
    draw = drawn(trainings)
    for _ in range(2):
        simulate(Scheduler(max_resource=1), draw, num_trials=1, history=history)
    assert history.improvements == [(1, 2.0, 0.5), (2, 5.0, 0.4)]
    assert len(history.curves) == 1


def test_what_a_history_knows():
    history = History([(2, 5.0, 0.5), (4, 9.0, 0.3)])
    assert history.cost_of(0.5) == (2, 5.0)
    assert history.cost_of(0.4) == history.cost_of(0.3) == (4, 9.0)
    assert history.cost_of(0.2) is None
    assert [history.best_after(n) for n in (1, 2, 3, 4, 9)] == [math.inf, 0.5, 0.5, 0.3, 0.3]
    assert History().best == math.inf


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("workers", [1, 3, 40])
def test_schedulers_with_a_memory_decide_the_same(name, workers):
    given = {"max_resource": 10, "min_resource": 1, "reduction_factor": 2, "num_trials": 40}
    for seed in range(4):
        plain, fast = (
            simulate(
                make(name, **given), drawn(trainings_of(seed, 40, 10)), num_trials=40, num_workers=workers
            )
            for make in (make_scheduler, make_fast_scheduler)
        )
        assert fast == plain
        assert name == "none" or len({c.resource for c in plain.curves}) > 1


def test_those_with_a_memory_are_used():
    given = {"max_resource": 10, "min_resource": 2, "reduction_factor": 3, "num_trials": 7}
    for name in "asha", "asha_promotion", "hyperband", "successive_halving":
        scheduler = make_fast_scheduler(name, **given)
        assert type(scheduler).__module__ == "benchmarks._fast_schedulers"
        assert scheduler.rungs() == [2, 6]
