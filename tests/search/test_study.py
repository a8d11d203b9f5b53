"""Who gets which trial: none is lost and none is done twice, whatever interrupts them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from search.errors import SearchError
from search.space import Space
from search.worker import RunningTrial, work
from tests.search.studies import EPOCHS, claim, make_study, start, states, train


def test_study_ends_after_its_trials(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=4)
    work(study, train)
    assert states(study) == {"complete": 4}
    assert [view.number for view in study.views()] == [0, 1, 2, 3]
    for view in study.views():
        assert view.curve == {e: pytest.approx(view.params["x"] + 1 / e) for e in range(1, EPOCHS + 1)}
        assert view.values == (pytest.approx(view.params["x"] + 1 / EPOCHS),)
    assert len({view.params["x"] for view in study.views()}) == 4


@pytest.mark.parametrize("pruner", ["none", "asha_promotion"])
def test_many_workers_lose_and_double_nothing(tmp_path: Path, storage_url: str | None, pruner: str) -> None:
    study = make_study(tmp_path, url=storage_url, pruner=pruner, trials=18)
    workers = [start(tmp_path, storage_url, pruner, 18) for _ in range(3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    by_worker = [path.read_text().splitlines() for path in tmp_path.glob("done-*.txt")]
    done = [line for lines in by_worker for line in lines]
    assert len(by_worker) == 3
    assert len(done) == len(set(done))
    views = study.views()
    assert len(views) == 18
    assert sorted(done) == sorted(f"{view.number} {epoch}" for view in views for epoch in view.curve)
    if pruner == "none":
        assert states(study) == {"complete": 18}
    else:
        assert states(study).keys() == {"complete", "pruned"}
        best = sorted(views, key=lambda view: view.params["x"])[0]
        assert best.state == "complete"


def test_decision_stands_whatever_is_reported_after_it(tmp_path: Path) -> None:
    study = make_study(tmp_path, pruner="asha_promotion", trials=2)
    trial = RunningTrial(study, claim(study), None)
    trial.report(0.5, 1)
    assert trial.decision == "pause"
    trial.report(0.1, 2)
    assert trial.decision == "pause"
    assert study.views()[0].curve == {1: 0.5}


def test_interrupt_after_the_decision_does_not_undo_it(tmp_path: Path) -> None:
    study = make_study(tmp_path, pruner="asha_promotion", trials=2)

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        trial.report(0.5, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(study, run)
    assert study.trials()[0].user_attrs["waits_for"] == "promotion"


def test_interrupt_while_values_are_drawn_hands_the_trial_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path, trials=1)

    def suggest(*arguments: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Space, "suggest", suggest)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            study.next_trial()
    monkeypatch.undo()
    work(study, train)
    assert states(study) == {"complete": 1}


def test_final_value_that_is_no_number_prunes(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=1)
    work(study, lambda trial, values: [0.5, float("nan")])
    assert states(study) == {"pruned": 1}


def test_failed_points_of_a_grid_are_not_tried_again(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=30, grid=[{"x": value} for value in (0.25, 0.5, 0.75)])

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        if values["x"] == 0.5:
            raise RuntimeError("too much memory")
        return train(trial, values)

    work(study, run)
    assert states(study) == {"complete": 2, "failed": 1}


def test_failing_trial_is_recorded_and_another_takes_its_place(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=3)

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        if trial.number == 1:
            raise RuntimeError("CUDA out of memory\nand more lines")
        return train(trial, values)

    work(study, run)
    assert states(study) == {"complete": 3, "failed": 1}
    assert study.views()[1].error == "CUDA out of memory"


def test_as_many_failures_as_trials_end_the_study(tmp_path: Path) -> None:
    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        raise ValueError("no such file: data.csv")

    study = make_study(tmp_path, trials=3)
    with pytest.raises(SearchError, match=r"3 trials have failed.*no such file: data\.csv"):
        work(study, run)
    assert states(study) == {"failed": 3}


def test_interrupted_trial_goes_on_first(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=3)

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        if trial.number == 1 and not trial.resource:
            trial.report(0.5, 1)
            raise KeyboardInterrupt
        assert trial.number != 1 or trial.resource == 1
        return train(trial, values)

    with pytest.raises(KeyboardInterrupt):
        work(study, run)
    assert states(study) == {"complete": 1, "paused": 1}
    next_one = claim(study)
    assert next_one.number == 1
    study.pause(next_one, "worker", 0.0)
    work(study, run)
    assert states(study) == {"complete": 3}


def test_time_over_hands_the_trial_back_after_its_epoch(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=3)
    claimed = claim(study)
    trial = RunningTrial(study, claimed, deadline=0.0)
    trial.report(0.3, 1)
    assert trial.decision == "interrupt"
    last = RunningTrial(study, claimed, deadline=0.0)
    last.report(0.3, EPOCHS)
    assert last.decision == "continue"  # it is complete anyway


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_value_that_is_no_number_prunes(tmp_path: Path, value: float) -> None:
    study = make_study(tmp_path, trials=2)

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        trial.report(value if trial.number == 0 else 0.5, EPOCHS)
        return [value if trial.number == 0 else 0.5]

    work(study, run)
    assert [view.state for view in study.views()] == ["pruned", "complete"]


def test_grid_is_handed_out_point_by_point(tmp_path: Path) -> None:
    points = [{"x": value} for value in (0.25, 0.5, 0.75)]
    study = make_study(tmp_path, trials=30, grid=points)
    work(study, train)
    assert [view.params["x"] for view in study.views()] == [0.25, 0.5, 0.75]


def test_directions_reach_the_scheduler_as_losses(tmp_path: Path) -> None:
    study = make_study(tmp_path, direction="maximize", trials=1)
    study.report(claim(study), 1, 0.9)
    assert study.curves(study.trials())[0].losses == {1: -0.9}


def test_more_trials_go_on_with_a_study_that_ended(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=2)
    work(study, train)
    identity = study.storage.optuna.get_study_id_from_name(study.name)
    study.storage.optuna.set_study_user_attr(identity, "num_trials", 5)
    work(study, train)
    assert states(study) == {"complete": 5}


def test_workers_that_come_first_at_once_find_the_tables(tmp_path: Path, postgresql: Any) -> None:
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
    url = postgresql.url.rpartition("/")[0] + "/fresh"
    workers = [start(tmp_path, url, "none", 3) for _ in range(4)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]
    assert states(make_study(tmp_path, url=url)) == {"complete": 3}
