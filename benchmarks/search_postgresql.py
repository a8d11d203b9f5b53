"""Many workers on one PostgreSQL, which restarts in the middle: no trial is lost, none is done twice.

Workers (``_sleeping_worker.py``) are processes of their own whose trials only sleep and report. Each notes
what it has done, and that is compared with what the study says.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from benchmarks._children import ROOT
from benchmarks._sleeping_worker import STORAGE
from benchmarks._tables import table
from benchmarks.epoch import verdict
from search.settings import Settings
from search.setup import begin_or_join, open_study
from search.storage import open_storage
from search.trials import TrialView
from tests.search.postgresql import Server, find_programs, server

__all__ = ["Outcome", "compare", "count", "format_outcomes", "stress"]

PRUNERS = ("asha_promotion", "none")
EPOCHS = 3
SECONDS_PER_EPOCH = 0.2
SECONDS_AWAY = 2.0
"""How long the server stays away."""
SECONDS_TO_END = 540.0
"""A study that takes longer hangs."""
OUTPUT = "output.txt"
"""File of what the workers of a study print."""

Step = tuple[int, int]
"""A trial and one of its epochs, counted from 1."""


@dataclass(frozen=True)
class Outcome:
    """What became of a study.

    Attributes:
        trials: Trials of the study.
        epochs: Epochs that they have.
        failed: Trials that are neither complete nor pruned.
        lost: Trials that are missing, or lack an epoch, with the study or with every worker.
        doubled: Epochs that were done twice.
        repeated: Epochs of the killed worker's last trial that were done once more.
        refused: Connections that the server refused, since it had too many.
        seconds: From the workers' common start to the last trial's end.
    """

    trials: int
    epochs: int
    failed: int
    lost: int
    doubled: int
    repeated: int
    refused: int = 0
    seconds: float = 0.0


def count(
    views: Sequence[TrialView],
    done: Mapping[int, Sequence[Step]],
    *,
    wanted: int,
    max_resource: int,
    rungs: Sequence[int],
    killed: int | None = None,
) -> Outcome:
    """Compare a study with what its workers noted.

    Args:
        views: The study's trials.
        done: What each worker has done, by process number, in its order.
        wanted: Number of trials that there should be.
        max_resource: Epochs of a complete trial.
        rungs: Epochs at which trials may have been pruned; all others need all their epochs.
        killed: The worker that was killed: the last epoch that it noted may not have been reported, and then
            is done once more by another.
    """
    times = Counter(step for steps in done.values() for step in steps)
    of_killed = [] if killed is None else done.get(killed, [])
    repeated = int(bool(of_killed) and times[of_killed[-1]] == 2)
    doubled = sum(number - 1 for number in times.values()) - repeated
    whole = set()
    for view in views:
        newest = max(view.curve, default=0)
        epochs = newest if view.state == "pruned" and newest in rungs else max_resource
        steps = range(1, epochs + 1)
        if all(step in view.curve and times[view.number, step] for step in steps):
            whole.add(view.number)
    strange = {number for number, _ in times} - {view.number for view in views}
    return Outcome(
        trials=len(views),
        epochs=sum(len(view.curve) for view in views),
        failed=sum(view.state not in ("complete", "pruned") for view in views),
        lost=len(set(range(wanted)) - whole) + len(strange),
        doubled=doubled,
        repeated=repeated,
    )


def stress(
    running: Server, folder: Path, pruner: str, *, processes: int, trials: int, log: Path | None = None
) -> Outcome:
    """Run a study; kill a worker in its middle, and then restart the server.

    Args:
        running: The server.
        folder: The study's folder, which must not exist.
        pruner: Name of the scheduler.
        processes: Number of workers.
        trials: Number of trials.
        log: The server's log, in which refused connections are counted.

    Raises:
        RuntimeError: If a worker fails, or the study hangs.
    """
    folder.mkdir(parents=True)
    refused = refusals(log)
    with closing(open_storage(running.url, folder, folder.name)) as storage:
        study = open_study(begin_or_join(folder, settings(pruner), storage, trials), storage)
        workers = [start_worker(folder, running.url) for _ in range(processes)]
        deadline = time.monotonic() + SECONDS_TO_END
        try:
            wait_until(lambda: len(list(folder.glob("ready-*"))) == processes, workers, folder, deadline)
            (folder / "go").touch()
            begun = datetime.now()
            wait_until(lambda: num_done(folder) >= trials // 2, workers, folder, deadline)
            killed = workers[processes // 2]
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            others = [worker for worker in workers if worker is not killed]
            wait_until(lambda: num_done(folder) >= trials, others, folder, deadline)
            running.stop()
            time.sleep(SECONDS_AWAY)
            running.start()
            wait_until(lambda: all(worker.poll() == 0 for worker in others), others, folder, deadline)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        views = study.views()
        ended = max(trial.datetime_complete or begun for trial in study.trials())
    outcome = count(
        views,
        read_done(folder),
        wanted=trials,
        max_resource=EPOCHS,
        rungs=study.scheduler.rungs(),
        killed=killed.pid,
    )
    seconds = (ended - begun).total_seconds()
    return replace(outcome, seconds=seconds, refused=refusals(log) - refused)


def settings(pruner: str) -> Settings:
    """Of a study that trains nothing."""
    return Settings(
        configs={},
        flags=[],
        space="x: {type: float, low: 0.0, high: 1.0}\n",
        objectives=["loss:min"],
        sampler="random",
        acquisition="ei",
        pruner=pruner,
        min_resource=1,
        reduction_factor=3,
        max_resource=EPOCHS,
        folds=None,
        seed=0,
        devices_per_trial=1,
        cohort=None,
    )


def start_worker(folder: Path, url: str) -> subprocess.Popen[bytes]:
    """Start one."""
    with (folder / OUTPUT).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks._sleeping_worker", str(folder), str(SECONDS_PER_EPOCH)],
            cwd=ROOT,
            env={**os.environ, STORAGE: url},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def wait_until(
    reached: Callable[[], bool], workers: Sequence[subprocess.Popen[bytes]], folder: Path, deadline: float
) -> None:
    """Wait for something that workers do.

    Raises:
        RuntimeError: If one of them fails meanwhile, or it takes too long; it says what they printed.
    """
    while not reached():
        for worker in workers:
            if worker.poll():
                printed = (folder / OUTPUT).read_text(errors="replace")[-3000:]
                raise RuntimeError(f"a worker ended with code {worker.returncode}:\n{printed}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the study hangs: it is not over after {SECONDS_TO_END:.0f} s")
        time.sleep(0.05)


def read_done(folder: Path) -> dict[int, list[Step]]:
    """What each worker noted, by process number."""
    done = {}
    for path in folder.glob("done-*.txt"):
        lines = [line.split() for line in path.read_text().splitlines()]
        done[int(path.stem.removeprefix("done-"))] = [(int(trial), int(epoch)) for trial, epoch in lines]
    return done


def num_done(folder: Path) -> int:
    """Epochs done so far, by all workers."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("done-*.txt"))


def refusals(log: Path | None) -> int:
    """How many clients the server has refused, since it had too many."""
    if log is None or not log.exists():
        return 0
    text = log.read_text(errors="replace")
    return text.count("too many clients") + text.count("remaining connection slots are reserved")


def format_outcomes(outcomes: Mapping[str, Outcome]) -> str:
    """A row for each scheduler; the targets are that none is lost, doubled or failed."""
    head = ["pruner", "trials", "epochs", "lost", "doubled", "failed", "repeated", "refused", "s", "trials/s"]
    rows = [head]
    for pruner, outcome in outcomes.items():
        checked = (outcome.lost, outcome.doubled, outcome.failed)
        rows.append(
            [
                pruner,
                str(outcome.trials),
                str(outcome.epochs),
                *(verdict(number, at_most=0, digits=0) for number in checked),
                str(outcome.repeated),
                str(outcome.refused),
                f"{outcome.seconds:.1f}",
                f"{outcome.trials / outcome.seconds:.1f}",
            ]
        )
    return table(rows)


def compare(given: argparse.Namespace) -> None:
    """Run a study for each scheduler, and print the table."""
    if find_programs() is None:
        print("\npostgresql: not measured; PostgreSQL is not installed (Debian: apt install postgresql)\n")
        return
    outcomes = {}
    # The server is another user's, who may not enter the studies' folder.
    of_server = Path(tempfile.mkdtemp(prefix="zoo-postgresql-"))
    try:
        with tempfile.TemporaryDirectory() as studies, server(of_server, fsync=True) as running:
            for pruner in PRUNERS:
                outcomes[pruner] = stress(
                    running,
                    Path(studies, pruner),
                    pruner,
                    processes=given.processes,
                    trials=given.process_trials,
                    log=of_server / "log",
                )
                print(f"{pruner}: {outcomes[pruner].seconds:.1f} s", flush=True)
    finally:
        shutil.rmtree(of_server, ignore_errors=True)
    print(
        f"\n{given.processes} worker processes on one PostgreSQL with default limits, {EPOCHS} epochs of "
        f"{SECONDS_PER_EPOCH} s; one worker is killed, and the server is killed and comes back "
        f"{SECONDS_AWAY:.0f} s later\n"
        f"\n{format_outcomes(outcomes)}\n",
        flush=True,
    )
