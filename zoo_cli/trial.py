"""A run that is a trial of a search: what is other than in a run of ``fit``."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from callbacks.pruning import Pruning, Reports
from zoo_cli.run_directory import RUN_DIRECTORY

__all__ = ["TrialRun", "as_trial", "leaving_no_group", "trial_of_environment"]

MONITORS = "ZOO_TRIAL_MONITORS"
"""Environment variable by which further processes of a trial (one for each device) know that they are."""


@dataclass(frozen=True)
class TrialRun:
    """A trial's run: no pictures and no progress bar, a checkpoint after each epoch, reports.

    Attributes:
        pruning: Reports, and stops.
    """

    pruning: Pruning


@contextmanager
def as_trial(reports: Reports, monitors: Sequence[str], directory: Path) -> Iterator[TrialRun]:
    """Let the runs within be those of a trial, in all their processes.

    Args:
        reports: Is told the first metric.
        monitors: Metrics that must be logged, the one that is reported first.
        directory: The run directory.
    """
    os.environ[RUN_DIRECTORY] = str(directory)
    os.environ[MONITORS] = json.dumps(list(monitors))
    try:
        yield TrialRun(Pruning(reports, monitors))
    finally:
        os.environ.pop(RUN_DIRECTORY, None)
        os.environ.pop(MONITORS, None)


@contextmanager
def leaving_no_group() -> Iterator[None]:
    """Let a run within meet with processes on further devices, and leave none of that for the next one."""
    before = dict(os.environ)
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]  # such as the port at which they met
        os.environ.update(before)


def trial_of_environment() -> TrialRun | None:
    """The trial of which this is a further process, if it is one; it has nothing to report to."""
    monitors = os.environ.get(MONITORS)
    return None if monitors is None else TrialRun(Pruning(None, json.loads(monitors)))
