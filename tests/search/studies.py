"""Studies whose trials only report: the worker's loop without a training."""

import collections
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection

from search.claims import Claim
from search.liveness import Watch
from search.objectives import Objective
from search.schedulers import make_scheduler
from search.space_file import read_space
from search.storage import Storage, open_storage
from search.study import SharedStudy
from search.worker import RunningTrial, work

__all__ = ["EPOCHS", "claim", "make_study", "start", "states", "train"]

SPACE = "x: {type: float, low: 0.0, high: 1.0}\n"
EPOCHS = 9
ROOT = Path(__file__).resolve().parents[2]
OPENED: list[Storage] = []
"""Storages that :func:`make_study` has opened, to be closed."""


def make_study(
    folder: Path,
    *,
    url: str | None = None,
    pruner: str = "none",
    trials: int | None = 6,
    grid: Sequence[dict[str, Any]] | None = None,
    watch: Watch | None = None,
    direction: str = "minimize",
) -> SharedStudy:
    """Begin or open the study of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "space.yaml").exists():
        (folder / "space.yaml").write_text(SPACE)
    name = str(folder)
    storage = open_storage(url, folder, name, seconds_to_try=60)
    OPENED.append(storage)

    def begin() -> None:
        try:
            storage.optuna.get_study_id_from_name(name)
        except KeyError:
            study = storage.optuna.create_new_study([StudyDirection[direction.upper()]], name)
            storage.optuna.set_study_user_attr(study, "num_trials", trials)

    storage.locked(begin)
    return SharedStudy(
        storage=storage,
        name=name,
        objectives=[Objective("loss", direction)],  # type: ignore[arg-type]
        space=read_space(folder / "space.yaml"),
        scheduler=make_scheduler(pruner, max_resource=EPOCHS, num_trials=trials),
        make_sampler=lambda number: optuna.samplers.RandomSampler(seed=number),
        grid=grid,
        watch=watch,
    )


def train(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
    """Report ``x + 1 / epoch``; what was reported before is not done again."""
    loss = 0.0
    for epoch in range(trial.resource + 1, EPOCHS + 1):
        loss = values["x"] + 1 / epoch
        trial.report(loss, epoch)
        if trial.should_prune():
            break
    return [loss]


def states(study: SharedStudy) -> collections.Counter[str]:
    return collections.Counter(view.state for view in study.views())


def claim(study: SharedStudy) -> Claim:
    found = study.next_trial()
    assert isinstance(found, Claim)
    return found


def start(folder: Path, url: str | None, pruner: str, trials: int, kill: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.search.studies", str(folder), url or "", pruner, str(trials)]
    return subprocess.Popen([*command, *([kill] if kill else [])], cwd=ROOT)


def main() -> None:
    """``python -m tests.search.studies FOLDER URL PRUNER TRIALS [KILL]``: work, and note what was done."""
    folder, url, pruner, trials = Path(sys.argv[1]), sys.argv[2] or None, sys.argv[3], int(sys.argv[4])
    kill = sys.argv[5] if len(sys.argv) > 5 else None
    done = folder / f"done-{os.getpid()}.txt"

    def run(trial: RunningTrial, values: Mapping[str, Any]) -> list[float]:
        loss = 0.0
        if kill == "first":
            os.kill(os.getpid(), signal.SIGKILL)
        for epoch in range(trial.resource + 1, EPOCHS + 1):
            time.sleep(0.01)
            loss = values["x"] + 1 / epoch
            with done.open("a") as file:
                file.write(f"{trial.number} {epoch}\n")
            trial.report(loss, epoch)
            if kill is not None and epoch == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if trial.should_prune():
                break
        return [loss]

    study = make_study(folder, url=url, pruner=pruner, trials=trials)
    assert not {"torch", "lightning"} & set(sys.modules)
    work(study, run, seconds_between_looks=0.05)


if __name__ == "__main__":
    main()
