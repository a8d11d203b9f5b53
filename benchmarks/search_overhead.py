"""What a search takes beyond training, and what a second worker is worth."""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks._children import ROOT, run_child
from benchmarks._tables import table
from benchmarks.epoch import spread, verdict
from search.setup import StudyFile
from search.storage import open_storage

__all__ = [
    "Ended",
    "compare",
    "format_overhead",
    "format_workers",
    "overheads",
    "run_study",
    "trials_per_minute",
]

CONFIG = "quickstart.yaml"
SPACE = "model.init_args.optimizer.init_args.lr: {type: float, low: 1.0e-4, high: 1.0e-2, log: true}\n"
"""Nothing that changes how long a trial takes."""
SECONDS_BEYOND_TRAINING = 0.4
SPEED_OF_TWO = 1.7


@dataclass(frozen=True)
class Ended:
    """A trial that is complete.

    Attributes:
        worker: Who had it.
        at: When it was complete in the study, in seconds since 1970.
        training: Seconds that its batches and validations took (``TrialClock``).
    """

    worker: str
    at: float
    training: float


def overheads(ended: Sequence[Ended]) -> list[float]:
    """Seconds between the ends of one worker's neighbouring trials, without the training of the later one.

    The first trial is left out, in which the worker is cold.
    """
    in_order = sorted(ended, key=lambda trial: trial.at)
    return [later.at - earlier.at - later.training for earlier, later in pairwise(in_order)]


def trials_per_minute(ended: Sequence[Ended]) -> float:
    """The sum of the workers' own rates, each after its first trial and while all of them work.

    Raises:
        ValueError: If a worker has not ended two trials in that time.
    """
    by_worker: dict[str, list[float]] = {}
    for trial in sorted(ended, key=lambda trial: trial.at):
        by_worker.setdefault(trial.worker, []).append(trial.at)
    until = min(times[-1] for times in by_worker.values())
    rate = 0.0
    for worker, times in by_worker.items():
        counted = [at for at in times if at <= until]
        if len(counted) < 2:
            raise ValueError(f"worker {worker} has ended {len(counted)} trials; give more --pair_trials")
        rate += 60 * (len(counted) - 1) / (counted[-1] - counted[0])
    return rate


def run_study(folder: Path, *, workers: int, trials: int, epochs: int) -> list[Ended]:
    """Run ``cli.py search`` with one thread for each worker.

    Args:
        folder: An empty folder.
        workers: Number of workers.
        trials: Number of trials.
        epochs: Epochs of each.

    Raises:
        RuntimeError: If a trial is not complete.
    """
    space = folder / "space.yaml"
    space.write_text(SPACE)
    command = [
        *(sys.executable, str(ROOT / "cli.py"), "search", "--config", CONFIG, "--space", str(space)),
        *("--pruner", "none", "--trials", str(trials), "--workers", str(workers)),
        *("--studies", str(folder), "--study", "study", "--trainer.max_epochs", str(epochs)),
        "--trainer.callbacks+=benchmarks.clock.TrialClock",
    ]
    run_child(command, threads=1, folder=folder, data_dir=folder)
    return read_ended(folder / "study")


def read_ended(study: Path) -> list[Ended]:
    """The trials of a study's folder."""
    file = StudyFile.read(study)
    assert file is not None
    ended = []
    with closing(open_storage(None, study, file.name)) as storage:
        identity = storage.optuna.get_study_id_from_name(file.name)
        for trial in storage.optuna.get_all_trials(identity):
            if trial.datetime_complete is None or not trial.state.name == "COMPLETE":
                raise RuntimeError(
                    f"trial {trial.number} is {trial.state.name}: {trial.user_attrs.get('error')}"
                )
            clock = next((study / "trials" / f"{trial.number:04d}").rglob("trial_clock.json"))
            owner = trial.user_attrs["owner"]
            ended.append(
                Ended(
                    worker=f"{owner['host']}:{owner['pid']}",
                    at=trial.datetime_complete.timestamp(),
                    training=json.loads(clock.read_text()),
                )
            )
    return ended


def format_overhead(ended: Sequence[Ended]) -> str:
    """A table of one worker's trials after its first."""
    beyond = overheads(ended)
    median = verdict(statistics.median(beyond), at_most=SECONDS_BEYOND_TRAINING)
    return table(
        [
            ["trials after the first", "training, s", "beyond it, s", "median"],
            [
                str(len(beyond)),
                spread([trial.training for trial in sorted(ended, key=lambda trial: trial.at)[1:]], 2),
                spread(beyond, 2),
                median,
            ],
        ]
    )


def format_workers(rates: Mapping[int, Sequence[float]]) -> str:
    """A table of one worker and of two; the ratio is the median of those within each repetition."""
    ratio = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    return table(
        [
            ["one worker, trials/min", "two workers, trials/min", "two / one"],
            [spread(rates[1], 2), spread(rates[2], 2), verdict(ratio, at_least=SPEED_OF_TWO)],
        ]
    )


def compare(given: argparse.Namespace) -> None:
    """Measure both, and print a table of each."""
    with tempfile.TemporaryDirectory() as name:
        ended = run_study(Path(name), workers=1, trials=given.overhead_trials, epochs=given.overhead_epochs)
    print(
        f"\nOne worker, one thread, LeNet on Digits, {given.overhead_epochs} epochs a trial; median (range)\n"
        f"\n{format_overhead(ended)}\n",
        flush=True,
    )
    rates: dict[int, list[float]] = {1: [], 2: []}
    for repetition in range(given.repetitions):
        for workers in rates:
            with tempfile.TemporaryDirectory() as name:
                ended = run_study(
                    Path(name),
                    workers=workers,
                    trials=workers * given.pair_trials,
                    epochs=given.pair_epochs,
                )
            rates[workers].append(trials_per_minute(ended))
            rate = f"{rates[workers][-1]:.2f} trials/min"
            print(f"{repetition + 1}/{given.repetitions}  {workers} workers: {rate}", flush=True)
    print(
        f"\nOne thread for each worker, LeNet on Digits, {given.pair_epochs} epochs a trial; median (range) "
        f"of {given.repetitions} alternating repetitions\n\n{format_workers(rates)}\n",
        flush=True,
    )
