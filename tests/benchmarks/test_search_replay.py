"""Part replay: searches among recorded curves, proposals of BO, and their tables."""

import random
from argparse import Namespace

import numpy as np
import pytest

from benchmarks import search_replay
from benchmarks._search_engine import History, Training
from benchmarks.search_replay import METHODS, Method, Recorded, read_curves
from search import gp_sampler
from search.trials import Curve
from tests.benchmarks.searches import row_of, trainings_of

RUNGS = {"min_resource": 1, "reduction_factor": 3}


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
        name: search_replay.search_once(method, recorded, **RUNGS, trials=12, more_trials=False, seed=1)
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
        METHODS["random search"], recorded, **RUNGS, trials=12, more_trials=False, seed=2
    )
    assert [c.losses[1] for c in other.curves] != first[0]


def test_more_trials_fill_the_budget():
    recorded = recorded_of(0)
    given = {**RUNGS, "trials": 30, "seed": 1}
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
        METHODS["BO"], recorded, **RUNGS, trials=14, more_trials=False, seed=5
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
        METHODS["BO + ASHA"], recorded, **RUNGS, trials=14, more_trials=False, seed=0
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
        Method("none", proposes=True), recorded, **RUNGS, trials=9, more_trials=False, seed=0
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
