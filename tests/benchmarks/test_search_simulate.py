"""Part simulate: synthetic curves, searches until a target, and their tables."""

from argparse import Namespace

import numpy as np
import pytest

from benchmarks import search_simulate
from benchmarks._search_engine import History
from benchmarks._tables import mean_interval
from tests.benchmarks.searches import row_of


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


def test_intervals_are_students():
    # Of 1, 2 and 3: mean 2, standard error 1 / sqrt(3), and 4.3027 is the 97.5% quantile of 2 degrees.
    assert mean_interval([1, 3, 2]) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert mean_interval([1200, 1200]).text() == "1,200 (1,200 to 1,200)"
    assert mean_interval([1, 3, 2]).text(1) == "2.0 (-0.5 to 4.5)"
