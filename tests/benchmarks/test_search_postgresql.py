import subprocess
import sys
import types
from argparse import Namespace

import pytest

from benchmarks import _sleeping_worker, search_postgresql
from benchmarks.search_postgresql import Outcome, count, format_outcomes, refusals, stress
from search.trials import TrialView


def view(number, state="complete", epochs=3):
    return TrialView(
        number=number,
        state=state,
        params={"x": 0.5},
        curve=dict.fromkeys(range(1, epochs + 1), 0.5),
        values=(0.5,) if state == "complete" else None,
        seconds=1.0,
        error=None,
        worker="host:1",
    )


VIEWS = [view(0), view(1, "pruned", 1), view(2)]
DONE = {1: [(0, 1), (0, 2), (1, 1)], 2: [(2, 1), (2, 2), (2, 3)], 3: [(0, 3)]}


def counted(views=VIEWS, done=DONE, killed=None, wanted=3, rungs=(1,)):
    return count(views, done, wanted=wanted, max_resource=3, rungs=rungs, killed=killed)


def test_a_study_without_a_fault():
    assert counted() == Outcome(trials=3, epochs=7, failed=0, lost=0, doubled=0, repeated=0)


def test_lost_trials_are_counted():
    assert counted(wanted=5).lost == 2  # never begun
    assert counted([VIEWS[0], VIEWS[1], view(2, epochs=2)]).lost == 1  # complete without its last epoch
    assert counted([VIEWS[0], view(1, "pruned", 0), VIEWS[2]]).lost == 1
    assert counted(rungs=()).lost == 1  # ended early, where no trial is pruned
    assert counted([view(0), view(1, "pruned", 1), view(2, epochs=1)]).lost == 1  # not pruned
    assert counted(done={1: DONE[1], 2: DONE[2]}).lost == 1  # an epoch that no worker has done
    assert counted(done={**DONE, 4: [(7, 1)]}).lost == 1  # of a trial that the study does not have


def test_trials_that_did_not_end_are_counted():
    assert counted([VIEWS[0], view(1, "failed", 1), view(2, "running")]).failed == 2


def test_doubled_epochs_are_counted():
    assert counted(done={**DONE, 4: [(0, 1), (2, 3)], 5: [(0, 1)]}).doubled == 3
    assert counted(done={1: [*DONE[1], (1, 1)], 2: DONE[2], 3: DONE[3]}).doubled == 1


def test_the_last_epoch_of_the_killed_worker_may_be_done_once_more():
    # Worker 3 noted epoch 3 of trial 0, and was killed before it could report it.
    repeated = {**DONE, 4: [(0, 3)]}
    assert counted(done=repeated, killed=3) == Outcome(3, 7, failed=0, lost=0, doubled=0, repeated=1)
    assert counted(done=repeated).doubled == 1
    twice = counted(done={**repeated, 5: [(0, 3)]}, killed=3)
    assert (twice.doubled, twice.repeated) == (2, 0)
    another = counted(done={**DONE, 4: [(2, 1)]}, killed=2)  # one that it must have reported
    assert (another.doubled, another.repeated) == (1, 0)
    assert counted(killed=2).repeated == 0
    assert counted(killed=9).doubled == 0  # it had begun nothing


def test_table_of_a_stress_test():
    table = format_outcomes(
        {
            "asha_promotion": Outcome(200, 333, 0, 0, 0, 1, refused=7, seconds=40.0),
            "none": Outcome(198, 600, 1, 2, 3, 0, refused=0, seconds=99.0),
        }
    )
    _, _, good, bad = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    reached = "0 (<= 0: reached)"
    assert good == ["asha_promotion", "200", "333", reached, reached, reached, "1", "7", "40.0", "5.0"]
    missed = [f"{number} (<= 0: MISSED)" for number in (2, 3, 1)]
    assert bad == ["none", "198", "600", *missed, "0", "0", "99.0", "2.0"]


def test_refused_connections_are_in_the_servers_log(tmp_path):
    log = tmp_path / "log"
    assert refusals(log) == refusals(None) == 0
    log.write_text(
        "FATAL:  sorry, too many clients already\nLOG:  ready\nFATAL:  sorry, too many clients already\n"
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute\n"
    )
    assert refusals(log) == 3


@pytest.mark.parametrize("pruner", search_postgresql.PRUNERS)
def test_workers_survive_a_death_and_a_restart(pruner, postgresql, monkeypatch, tmp_path):
    monkeypatch.setattr(search_postgresql, "SECONDS_AWAY", 0.2)
    monkeypatch.setattr(search_postgresql, "SECONDS_PER_EPOCH", 0.05)
    restarts = []
    stop = postgresql.stop
    monkeypatch.setattr(postgresql, "stop", lambda: (restarts.append(1), stop()))
    folder = tmp_path / f"study-{pruner}-{tmp_path.name}"
    outcome = stress(postgresql, folder, pruner, processes=3, trials=12, log=postgresql.folder / "log")
    assert restarts == [1]
    assert (outcome.trials, outcome.failed, outcome.lost, outcome.doubled) == (12, 0, 0, 0)
    assert outcome.epochs == 36 if pruner == "none" else 12 < outcome.epochs < 36
    assert len(search_postgresql.read_done(folder)) == 3
    assert outcome.seconds > 0.2


def test_a_worker_that_fails_ends_the_measurement(tmp_path):
    worker = search_postgresql.start_worker(tmp_path, "postgresql://zoo@127.0.0.1:9/x")  # there is no study
    with pytest.raises(RuntimeError, match=r"a worker ended with code 1:\n(?s:.*)is no folder of a study"):
        search_postgresql.wait_until(lambda: False, [worker], tmp_path, deadline=float("inf"))
    with pytest.raises(RuntimeError, match="the study hangs"):
        search_postgresql.wait_until(lambda: False, [], tmp_path, deadline=0.0)


def test_workers_without_torch(monkeypatch):
    code = "from benchmarks import _sleeping_worker; _sleeping_worker.refuse_heavy_imports()"
    subprocess.run([sys.executable, "-c", code], cwd=search_postgresql.ROOT, check=True)
    monkeypatch.setitem(sys.modules, "lightning", types.ModuleType("lightning"))
    with pytest.raises(RuntimeError, match="has imported lightning"):
        _sleeping_worker.refuse_heavy_imports()


def test_without_postgresql_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(search_postgresql, "find_programs", lambda: None)
    search_postgresql.compare(Namespace(processes=2, process_trials=2))
    assert "not measured; PostgreSQL is not installed" in capsys.readouterr().out
