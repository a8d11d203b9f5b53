"""A worker whose trials only sleep and report: ``python -m benchmarks._sleeping_worker FOLDER SECONDS``.

It does what a worker of ``cli.py search`` does, without a training, and so without PyTorch and Lightning. It
says that it is ready with a file ``ready-PID``, begins when there is a file ``go``, and notes each epoch in
``done-PID.txt`` before it reports it.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.setup import StudyFile, open_study
from search.storage import SECONDS_TO_TRY, open_storage
from search.worker import RunningTrial, work

__all__ = ["STORAGE", "main"]

STORAGE = "SLEEPING_WORKER_STORAGE"
"""Environment variable with the storage's address."""
HEAVY = {"torch", "lightning"}


def refuse_heavy_imports() -> None:
    """Fifty processes with PyTorch would measure memory.

    Raises:
        RuntimeError: If something has imported it.
    """
    if found := HEAVY & set(sys.modules):
        raise RuntimeError(f"a worker that only sleeps has imported {', '.join(sorted(found))}")


def main() -> None:
    """Work until the study is over."""
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    file = StudyFile.read(folder)
    if file is None:
        raise RuntimeError(f"{folder}: is no folder of a study")
    epochs = file.settings.max_resource
    storage = open_storage(os.environ[STORAGE], folder, file.name, seconds_to_try=SECONDS_TO_TRY)
    study = open_study(file, storage)

    with (folder / f"done-{os.getpid()}.txt").open("a", buffering=1) as done:

        def run(trial: RunningTrial, values: Mapping[str, Any]) -> Sequence[float]:
            loss = values["x"]
            for epoch in range(trial.resource + 1, epochs + 1):
                time.sleep(seconds)
                loss = values["x"] + 1 / epoch
                print(trial.number, epoch, file=done)
                trial.report(loss, epoch)
                if trial.should_prune():
                    break
            return [loss]

        refuse_heavy_imports()
        (folder / f"ready-{os.getpid()}").touch()
        while not (folder / "go").exists():
            time.sleep(0.05)
        work(study, run)
    refuse_heavy_imports()


if __name__ == "__main__":
    main()
