import math
import random
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest

from benchmarks import search, search_replay, search_simulate
from benchmarks._children import ROOT
from benchmarks._fast_schedulers import make_fast_scheduler
from benchmarks._search_engine import History, Training, simulate
from benchmarks._tables import mean_interval
from benchmarks.search_replay import METHODS, Method, Recorded, read_curves
from search import gp_sampler
from search.schedulers import SCHEDULERS, PromotingASHA, Scheduler, SuccessiveHalving, make_scheduler
from search.trials import Curve


def row_of(table, method):
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    (cells,) = (row for row in rows if row[0] == method)
    return cells, head


def drawn(trainings):
    """Draws them in turn."""
    left = iter(trainings)
    return lambda curves: next(left)


def trainings_of(seed, count, epochs):
    rng = random.Random(seed)
    quality = [rng.random() for _ in range(count)]
    # Whole seconds, so that epochs often end together; losses so few that some are equal.
    return [
        Training(
            [round(q + 0.5 * rng.random(), 2) for _ in range(epochs)], [float(rng.randint(1, 3))] * epochs
        )
        for q in quality
    ]


# Virtual time


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


def test_intervals_are_students():
    # Of 1, 2 and 3: mean 2, standard error 1 / sqrt(3), and 4.3027 is the 97.5% quantile of 2 degrees.
    assert mean_interval([1, 3, 2]) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert mean_interval([1200, 1200]).text() == "1,200 (1,200 to 1,200)"
    assert mean_interval([1, 3, 2]).text(1) == "2.0 (-0.5 to 4.5)"


# Part simulate


def test_synthetic_curves_fall_and_cross():
    rng = np.random.default_rng(0)
    losses = np.array([search_simulate.synthetic_training(rng).losses for _ in range(200)])
    assert losses.shape == (200, 81)
    assert (losses[:, 0] > losses[:, -1] + 0.02).all()
    assert 0.3 < np.corrcoef(losses[:, 0], losses[:, -1])[0, 1] < 0.8
    training = search_simulate.synthetic_training(rng)
    assert len(training.seconds) == 81
    assert 2 / 3 <= training.seconds[0] <= 4 / 3


@pytest.mark.parametrize("name", search_simulate.METHODS.values())
def test_a_simulated_search_ends_at_its_target(name, monkeypatch):
    monkeypatch.setattr(search_simulate, "MAX_RESOURCE", 9)
    history = search_simulate.search_once(name, num_workers=20, target=0.15, seed=3)
    assert history.best <= 0.15
    assert [history.epochs, history.seconds] == list(history.improvements[-1][:2])
    other = search_simulate.search_once("none", num_workers=1, target=0.3, seed=3)
    # Trial 0 is the same, whoever searches.
    shared = min(history.curves[0].resource, other.curves[0].resource)
    if name != "successive_halving":
        assert all(history.curves[0].losses[n] == other.curves[0].losses[n] for n in range(1, shared + 1))


def test_halving_begins_again_with_other_configurations(monkeypatch):
    monkeypatch.setattr(search_simulate, "MAX_RESOURCE", 9)
    sizes = []

    def one_study(scheduler, draw, *, num_trials, num_workers, target, history):
        sizes.append((scheduler.num_trials, num_trials, draw([]).losses[0]))
        history.improvements.append((1, 1.0, 0.5 - 0.1 * len(sizes)))

    monkeypatch.setattr(search_simulate, "simulate", one_study)
    search_simulate.search_once("successive_halving", num_workers=4, target=0.25, seed=0)
    assert [size[:2] for size in sizes] == [(9, 9)] * 3
    assert len({size[2] for size in sizes}) == 3
    sizes.clear()
    search_simulate.search_once("successive_halving", num_workers=40, target=0.45, seed=0)
    assert sizes[0][:2] == (40, 40)


def test_tables_of_a_simulation(monkeypatch, capsys):
    asked = []

    def search_once(name, *, num_workers, target, seed):
        asked.append((name, num_workers, target, seed))
        return History(epochs=1000 * num_workers, seconds=100.0 + seed)

    monkeypatch.setattr(search_simulate, "search_once", search_once)
    monkeypatch.setattr(search_simulate, "target_loss", lambda: 0.125)
    search_simulate.compare(Namespace(seeds=2, virtual_workers=[1, 1000]))
    out = capsys.readouterr().out
    assert asked[:4] == [
        ("none", 1, 0.125, 0),
        ("none", 1, 0.125, 1),
        *(("none", 1000, 0.125, s) for s in (0, 1)),
    ]
    assert len(asked) == 4 * len(search_simulate.METHODS)
    assert "a loss of 0.1250" in out
    seconds, epochs = (out.split("\n\n")[i] for i in (3, 5))
    cells, head = row_of(seconds, "ASHA, promoting")
    assert head == ["method", "1 worker", "1,000 workers"]
    assert cells[1:] == ["100 (94 to 107)"] * 2  # 100.5 and 12.706 / 2 on each side
    assert row_of(epochs, "random search")[0][1:] == [
        "1,000 (1,000 to 1,000)",
        "1,000,000 (1,000,000 to 1,000,000)",
    ]


# Part replay


def test_curves_are_read(tmp_path):
    file = tmp_path / "curves.csv"
    file.write_text(
        "trial,lr,batch_size,epoch,error,loss,seconds\n"
        "0,0.1,144,1,0.5,1.5,20\n3,1.0,32,1,0.4,1.4,10\n0,0.1,144,2,0.3,1.3,21\n3,1.0,32,2,0.2,nan,11\n"
    )
    first, second = read_curves(file)
    assert first.point == pytest.approx((0.5, 0.5))
    assert second.point == pytest.approx((1, 0))
    assert first.training == Training([0.5, 0.3], [20, 21])
    assert second.training == Training([0.4, 0.2], [10, 11])


def recorded_of(seed, count=60, epochs=10):
    rng = random.Random(seed)
    return [
        Recorded((rng.random(), rng.random()), training) for training in trainings_of(seed, count, epochs)
    ]


def test_random_draws_are_the_same_for_all_methods():
    recorded = recorded_of(0)
    found = {
        name: search_replay.search_once(
            method, recorded, min_resource=1, reduction_factor=3, trials=12, more_trials=False, seed=1
        )
        for name, method in METHODS.items()
        if not method.proposes
    }
    first = [[c.losses[1] for c in history.curves] for history in found.values()]
    assert len(first) == 5
    assert all(losses == first[0] for losses in first)
    assert len(set(first[0])) > 6  # each configuration once
    assert found["random search"].epochs == 120
    assert found["Hyperband"].epochs < 120
    other = search_replay.search_once(
        METHODS["random search"],
        recorded,
        min_resource=1,
        reduction_factor=3,
        trials=12,
        more_trials=False,
        seed=2,
    )
    assert [c.losses[1] for c in other.curves] != first[0]


def test_more_trials_fill_the_budget():
    recorded = recorded_of(0)
    given = {"min_resource": 1, "reduction_factor": 3, "trials": 30, "seed": 1}
    for name in "ASHA, stopping", "ASHA, promoting", "Hyperband":
        few, more = (
            search_replay.search_once(METHODS[name], recorded, more_trials=m, **given) for m in (False, True)
        )
        assert few.epochs < more.epochs <= 300
        assert len(few.curves) == 30
        assert len(more.curves) == 60
    few, more = (
        search_replay.search_once(METHODS["successive halving"], recorded, more_trials=m, **given)
        for m in (False, True)
    )
    assert (few.epochs, more.epochs) == (69, 138)  # 30 + 10 * 2 + 3 * 6 + 1, twice
    seen = {next(iter(c.losses.values())) for h in (few, more) for c in h.curves}
    assert len(seen) > len({c.losses[1] for c in few.curves})
    short = search_replay.search_once(
        METHODS["ASHA, promoting"], recorded, more_trials=True, **given | {"trials": 3}
    )
    assert short.epochs == 30


def test_proposals_are_made_from_what_is_left(monkeypatch):
    recorded = recorded_of(0, count=14)
    asked = []

    def propose(x, y, candidates, *, acquisition, seed):
        asked.append((x.tolist(), y.tolist(), candidates.tolist(), seed))
        return len(candidates) - 1

    monkeypatch.setattr(gp_sampler, "propose", propose)
    history = search_replay.search_once(
        METHODS["BO"], recorded, min_resource=1, reduction_factor=3, trials=14, more_trials=False, seed=5
    )
    order = np.random.default_rng(5).permutation(14).tolist()
    chosen = [*order[:10], *reversed(order[10:])]
    assert [list(c.losses.values()) for c in history.curves] == [recorded[i].training.losses for i in chosen]
    for step, (x, y, candidates, _) in enumerate(asked, 10):
        assert x == [list(recorded[i].point) for i in chosen[:step]]
        assert y == [min(recorded[i].training.losses) for i in chosen[:step]]
        assert candidates == [list(recorded[i].point) for i in order if i not in chosen[:step]]
    assert len({seed for *_, seed in asked}) == len(asked) == 4


def test_proposals_are_made_from_the_rungs(monkeypatch):
    recorded, modelled = recorded_of(0), []

    def propose(x, y, candidates, *, acquisition, seed):
        modelled.append(y.tolist())
        return 0

    monkeypatch.setattr(gp_sampler, "propose", propose)
    history = search_replay.search_once(
        METHODS["BO + ASHA"],
        recorded,
        min_resource=1,
        reduction_factor=3,
        trials=14,
        more_trials=False,
        seed=0,
    )
    # Of the first ten, five have come to epoch 3 by then, and fewer than four to epoch 9.
    lowest = [min(c.losses[n] for n in (1, 2, 3)) for c in history.curves[:10] if c.resource >= 3]
    assert len(modelled[0]) == 5
    assert set(modelled[0]) <= set(lowest)


def test_the_highest_rung_with_enough_outcomes_is_modelled():
    def curve(number, *losses):
        return Curve(number, dict(enumerate(losses, 1)), "paused")

    curves = [curve(n, 0.5, 0.4, 0.6) for n in range(4)]
    rest = [curve(n, 0.1 * n) for n in range(4, 8)]
    rungs = [1, 3, 9]
    # Their lowest loss up to that rung: an epoch beyond it would not compare.
    higher = search_replay.losses_at_highest([*curves[:3], curve(3, 0.5, 0.4, 0.6, 0.1), *rest], rungs)
    assert higher == dict.fromkeys(range(4), 0.4)
    lower = search_replay.losses_at_highest([*curves[:3], *rest], rungs)
    assert lower == {0: 0.5, 1: 0.5, 2: 0.5, **{n: 0.1 * n for n in range(4, 8)}}


def test_bo_learns_from_what_it_saw(monkeypatch):
    """The losses are a bowl around one point; whoever models it finds the point sooner than chance does."""
    rng = np.random.default_rng(0)
    points = rng.random((40, 2))
    losses = ((points - 0.6) ** 2).sum(axis=1)
    recorded = [
        Recorded(tuple(p), Training([loss], [1.0])) for p, loss in zip(points, losses.tolist(), strict=True)
    ]
    monkeypatch.setattr(search_replay, "STARTUP", 5)
    history = search_replay.search_once(
        Method("none", proposes=True),
        recorded,
        min_resource=1,
        reduction_factor=3,
        trials=9,
        more_trials=False,
        seed=0,
    )
    assert history.best == losses.min()


def test_table_of_a_replay():
    # Random search ends at .2 and .4, so the target is .3; it is there after 8 of 10 epochs, with one seed.
    random_search = [History([(1, 1, 0.6), (8, 8, 0.2)], 10), History([(1, 1, 0.8), (5, 5, 0.4)], 10)]
    asha = [History([(1, 1, 0.5), (4, 4, 0.3)], 6), History([(4, 4, 0.25)], 4)]
    never = [History([(2, 2, 0.9)], 4)] * 2
    table = search_replay.format_replay(
        {"random search": random_search, "ASHA, stopping": asha, "Hyperband": never}, budget=10, share=0.333
    )
    row, _ = row_of(table, "random search")
    assert row[1:3] == ["8", "0.80"]
    assert row[3:6] == ["9 (-4 to 22)", "0.90", "1 of 2"]  # 8, and 10 for the one that never came there
    assert row[6:] == ["0.3000 (-0.9706 to 1.5706)", "10"]
    row, _ = row_of(table, "ASHA, stopping")
    assert row[1:3] == ["4", "0.40 (<= 0.333: MISSED)"]
    assert row[4:6] == ["0.40", "2 of 2"]
    row, _ = row_of(table, "Hyperband")
    assert row[1:6] == ["never", "inf", "10 (10 to 10)", "1.00", "0 of 2"]
    sooner = [History([(3, 3, 0.3)], 6)] * 2
    table = search_replay.format_replay(
        {"random search": random_search, "BO + ASHA": sooner}, budget=10, share=0.333
    )
    assert row_of(table, "BO + ASHA")[0][2] == "0.30 (<= 0.333: reached)"


@pytest.mark.parametrize(("given", "rung", "spent"), [(2, 2, "37"), (None, 3, "51")])
def test_a_replay_prints_two_tables_and_draws(given, rung, spent, monkeypatch, capsys, tmp_path):
    with (tmp_path / "lenet.csv").open("w") as file:
        print("trial,lr,batch_size,epoch,error,loss,seconds", file=file)
        for number, training in enumerate(trainings_of(0, 20, 9)):
            for epoch, loss in enumerate(training.losses, 1):
                print(f"{number},0.{number + 10},64,{epoch},{loss},1,10", file=file)
    monkeypatch.setattr(gp_sampler, "propose", lambda x, y, candidates, **given: 0)
    search_replay.compare(
        Namespace(
            models=["lenet"],
            curves=tmp_path,
            trials=11,
            seeds=2,
            min_resource=given,
            reduction_factor=3,
            pictures=tmp_path,
        )
    )
    out = capsys.readouterr().out
    assert (
        f"LeNet, 20 recorded configurations of 9 epochs, 2 seeds; first rung {rung}, reduction factor 3"
        in out
    )
    few, more = out.split("each. Target")[1:]
    assert row_of(few.split("\n\n")[1], "random search")[0][-1] == "99"
    # Rungs 2 and 6: 11 * 2 + 3 * 4 + 3; rung 3: 11 * 3 + 3 * 6.
    assert row_of(few.split("\n\n")[1], "successive halving")[0][-1] == spent
    assert float(row_of(more.split("\n\n")[1], "BO + ASHA")[0][-1]) > float(
        row_of(few.split("\n\n")[1], "BO + ASHA")[0][-1]
    )
    assert (tmp_path / "search_lenet.png").read_bytes().startswith(b"\x89PNG")


# The script


def test_the_parts_that_are_asked_for_run(monkeypatch):
    ran = []
    monkeypatch.setattr(search, "PARTS", {"replay": ran.append, "simulate": None})
    monkeypatch.setattr(sys, "argv", ["", "--part", "replay", "--models", "lenet", "--seeds", "3"])
    search.main()
    (given,) = ran
    assert (given.models, given.seeds, given.trials, given.reduction_factor) == (["lenet"], 3, 30, 3)
    assert given.curves == ROOT / "benchmarks" / "curves"


def test_the_script_is_not_taken_for_the_package():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "search.py", "--help"], cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--virtual_workers" in done.stdout
