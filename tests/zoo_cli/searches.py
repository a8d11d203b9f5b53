"""Searches in this process: what they train, and what they leave."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.setup import StudyFile, open_study
from search.storage import Storage, open_storage
from search.trials import TrialView
from search.worker import work
from zoo_cli import search as command
from zoo_cli.search_supervisor import Supervisor
from zoo_cli.search_trial import TrialRunner

LR = "model.init_args.optimizer.init_args.lr"
SMALL = [
    *("--model", "LeNet", "--model.init_args.activation", "relu", "--model.init_args.optimizer", "Adam"),
    *("--data", "Digits", "--data.init_args.batch_size", "256", "--trainer.max_epochs", "4"),
    *("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--seed_everything", "1"),
]


@contextmanager
def worker_in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Storage]]:
    """Let the command's one worker be this process, which is warm; all else is as it is."""
    opened: list[Storage] = []

    class Alone(Supervisor):
        def run(self) -> int:
            opened.append(self.study.storage)
            work(self.study, TrialRunner(self.file, self.objectives))
            self._write(self.study.views(), pictures=False)
            return 0

    monkeypatch.setattr(command, "Supervisor", Alone)
    try:
        yield opened
    finally:
        for storage in opened:
            storage.close()


def lr_space(space: Callable[[str], str]) -> str:
    return space(f"{LR}: {{type: float, low: 1.0e-4, high: 1.0e-2, log: true}}\n")


def views(name: str = "study") -> list[TrialView]:
    file = StudyFile.read(Path("studies") / name)
    assert file is not None
    return open_study(file, open_storage(None, file.folder, file.name)).views()


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def curve_of(folder: Path, metric: str = "val/acc") -> dict[int, float]:
    return {
        int(row["epoch"]) + 1: float(row[metric])
        for row in rows_of(folder / "metrics.csv")
        if row.get(metric)
    }
