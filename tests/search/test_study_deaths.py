"""Trials whose worker or storage goes away: they go on where they were, and no one else is in their way."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.claims import Claim
from search.liveness import Watch
from search.study import SharedStudy
from search.worker import RunningTrial, work
from tests.search.studies import claim, make_study, start, states, train


def elsewhere(study: SharedStudy, claimed: Claim) -> None:
    """Let a claim look like that of another machine."""
    owner = study.trials()[claimed.number].user_attrs["owner"]
    study.storage.optuna.set_trial_user_attr(claimed.trial_id, "owner", {**owner, "machine": "another"})


DEAD = {"claim": "x", "host": "h", "machine": "", "pid": 0, "pid_started": "1"}


@pytest.mark.parametrize("kill", ["first", "second"])
def test_killed_worker_s_trial_goes_on_where_it_was(
    tmp_path: Path, storage_url: str | None, kill: str
) -> None:
    study = make_study(tmp_path, url=storage_url, trials=3)
    assert start(tmp_path, storage_url, "none", 3, kill).wait(60) == -9
    assert states(study) == {"running": 1}
    resumed: list[tuple[int, int]] = []

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        resumed.append((trial.number, trial.resource))
        return train(trial, values)

    work(study, run)
    assert states(study) == {"complete": 3}
    assert resumed == [(0, 0 if kill == "first" else 2), (1, 0), (2, 0)]


def test_worker_of_another_machine_is_dead_after_180_s_without_a_beat(tmp_path: Path) -> None:
    now = [0.0]
    study = make_study(tmp_path, trials=1)
    other = make_study(tmp_path, watch=Watch(clock=lambda: now[0]))
    mine = claim(study)
    elsewhere(study, mine)
    for now[0] in (0.0, 60.0, 120.0, 179.0):  # counted from the first look: it never beat
        assert other.next_trial() == "wait"
    study.beat(mine, 1)
    for now[0] in (181.0, 240.0, 300.0, 360.0):
        assert other.next_trial() == "wait"
    now[0] = 361.1
    taken = claim(other)
    assert (taken.number, taken.values) == (mine.number, mine.values)


def test_worker_that_wakes_up_changes_nothing(tmp_path: Path) -> None:
    now = [0.0]
    study = make_study(tmp_path, trials=1)
    other = make_study(tmp_path, watch=Watch(clock=lambda: now[0]))
    asleep = claim(study)
    study.report(asleep, 1, 0.5)
    elsewhere(study, asleep)
    for now[0] in (0.0, 60.0, 120.0, 180.0):
        assert other.next_trial() == "wait"
    now[0] = 200.0
    taken = claim(other)
    assert taken.resource == 1
    assert study.report(asleep, 2, 0.1) == "stop"
    assert asleep.lost
    for end in (
        lambda: study.complete(asleep, [0.1], 2.0),
        lambda: study.fail(asleep, "of no account", 2.0),
        lambda: study.pause(asleep, "worker", 2.0),
    ):
        end()
        assert states(study) == {"running": 1}
    assert study.views()[0].curve == {1: 0.5}
    other.complete(taken, [0.4], 3.0)
    assert study.views()[0].values == (0.4,)
    assert study.views()[0].seconds == 3.0


def test_machine_that_slept_starts_to_count_anew(tmp_path: Path) -> None:
    now = [0.0]
    study = make_study(tmp_path, trials=1)
    other = make_study(tmp_path, watch=Watch(clock=lambda: now[0]))
    elsewhere(study, claim(study))
    for now[0] in (0.0, 1000.0, 1060.0, 1120.0, 1179.0):
        assert other.next_trial() == "wait"
    now[0] = 1181.0
    claim(other)


def test_lost_trial_stops_its_old_worker_before_it_saves(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=1)
    mine = claim(study)
    study.storage.optuna.set_trial_user_attr(mine.trial_id, "owner", DEAD)
    with pytest.raises(KeyboardInterrupt):
        RunningTrial(study, mine, None).report(0.5, 1)


@pytest.mark.parametrize(("pruner", "state"), [("asha_promotion", "paused"), ("asha", "pruned")])
def test_decision_is_made_up_for_when_the_worker_died_before_it_acted(
    tmp_path: Path, pruner: str, state: str
) -> None:
    study = make_study(tmp_path, pruner=pruner, trials=1)
    others = [make_study(tmp_path, pruner=pruner) for _ in range(3)]
    identity = study.storage.optuna.get_study_id_from_name(study.name)
    study.storage.optuna.set_study_user_attr(identity, "num_trials", 4)
    for other, value in zip(others, (0.1, 0.2, 0.3), strict=True):
        other.report(claim(other), 1, value)
    mine = claim(study)
    assert study.report(mine, 1, 0.9) == ("pause" if pruner == "asha_promotion" else "stop")
    # Its worker dies here; this is the next one, which finds the trial first.
    ran: list[int] = []

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        ran.append(trial.number)
        raise KeyboardInterrupt

    work(study, run, deadline=time.monotonic() + 0.5, seconds_between_looks=0.05)
    assert study.views()[mine.number].state == state
    assert ran == []


def test_worker_that_does_not_know_of_its_claim_takes_the_trial_again(tmp_path: Path) -> None:
    """As when the storage went away between the claim and the answer."""
    study = make_study(tmp_path, trials=1)
    first = claim(study)
    again = claim(study)
    assert again.number == first.number
    assert again.values == first.values


def test_deaths_count_from_where_the_trial_came_last(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=1, watch=Watch(until_stale=-1.0))
    for epoch in range(1, 6):
        mine = claim(study)
        assert mine.resource == epoch - 1
        study.report(mine, epoch, 1 / epoch)
        study.storage.optuna.set_trial_user_attr(mine.trial_id, "owner", DEAD)
    for _ in range(2):
        claim(study)
    assert study.next_trial() == "wait"
    assert states(study) == {"failed": 1}


def test_trial_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=2)
    for _ in range(3):
        assert start(tmp_path, None, "none", 2, "first").wait(60) == -9
    work(study, train)
    first, *others = study.views()
    assert first.state == "failed"
    assert "its worker died 3 times" in (first.error or "")
    assert [view.state for view in others] == ["complete", "complete"]


def test_half_written_line_of_a_killed_worker_is_cut_off(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=2)
    work(study, train)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id"')
    again = make_study(tmp_path, trials=2)
    identity = again.storage.optuna.get_study_id_from_name(again.name)
    again.storage.optuna.set_study_user_attr(identity, "num_trials", 3)
    work(again, train)
    assert [trial.state for trial in again.trials()] == 3 * [TrialState.COMPLETE]


def test_storage_restart_costs_no_trial(tmp_path: Path, postgresql: Any) -> None:
    study = make_study(tmp_path, url=postgresql.url, pruner="asha_promotion", trials=12)
    workers = [start(tmp_path, postgresql.url, "asha_promotion", 12) for _ in range(2)]
    while sum(view.state != "running" for view in study.views()) < 3:
        pass
    postgresql.stop()
    postgresql.start()
    assert [worker.wait(120) for worker in workers] == [0, 0]
    done = [line for path in tmp_path.glob("done-*.txt") for line in path.read_text().splitlines()]
    views = study.views()
    assert len(views) == 12
    assert states(study).keys() == {"complete", "pruned"}
    assert set(done) == {f"{view.number} {epoch}" for view in views for epoch in view.curve}
