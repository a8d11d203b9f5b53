"""What a search does with one configuration: train it, on each fold if there are folds, and measure it."""

import contextlib
import gc
import math
import os
import shutil
import statistics
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from callbacks.pruning import Reports
from search.errors import SearchError
from search.objectives import Objective
from search.settings import Settings
from search.setup import StudyFile
from search.space import flags
from search.worker import RunningTrial
from zoo.tasks.base import NonFiniteLossError
from zoo_cli.errors import INTERRUPTED, CommandError
from zoo_cli.run import run_cli
from zoo_cli.sources import Sources
from zoo_cli.trial import as_trial, leaving_no_group

__all__ = ["MEASURED", "TrialRunner", "free_memory", "measure", "trial_arguments", "trial_folder"]

MEASURED = ("parameters", "latency")
"""Objectives that are measured on the network after training; all others are logged metrics."""


def trial_folder(study: Path, number: int) -> Path:
    """The folder of a trial."""
    return study / "trials" / f"{number:04d}"


def trial_arguments(
    settings: Settings, configs: Sequence[Path], values: Mapping[str, Any], fold: int | None = None
) -> list[str]:
    """Arguments of ``fit`` for a configuration; the space's values win over all others.

    Args:
        settings: The study's.
        configs: The configuration files.
        values: Values by name of the space.
        fold: The fold, counted from 0, if there are folds.
    """
    folds = [f"--data.init_args.fold={fold}", f"--data.init_args.num_folds={settings.folds}"]
    files = [argument for path in configs for argument in ("--config", str(path))]
    devices = [f"--trainer.devices={settings.devices_per_trial}"] if settings.devices_per_trial > 1 else []
    return [*files, *settings.flags, *devices, *flags(values), *(folds if fold is not None else [])]


class TrialRunner:
    """Runs trials in this process, which stays warm between them.

    Args:
        file: The study.
        objectives: What to return.
    """

    def __init__(self, file: StudyFile, objectives: Sequence[Objective]) -> None:
        self.settings = file.settings
        self.configs = file.configs
        self.objectives = objectives
        self.folder = file.folder
        self.name = file.folder.resolve().name
        self.token = file.token

    def __call__(self, trial: RunningTrial, values: Mapping[str, Any]) -> Sequence[float]:
        """Train, from the last checkpoint if the trial has one.

        Args:
            trial: The trial.
            values: Values by name of the space.

        Returns:
            The objectives; NaN after a loss that was not finite.

        Raises:
            CommandError: For what went wrong, in one line; ``log.txt`` in the trial's folder has more.
            KeyboardInterrupt: On Ctrl-C and SIGTERM.
        """
        folder = trial_folder(self.folder, trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        with _into_log(folder / "log.txt"):
            try:
                if self.settings.folds is None:
                    return self._train(trial_arguments(self.settings, self.configs, values), trial, folder)
                return self._cross_validate(trial, values, folder)
            except CommandError as error:
                if error.exit_code == INTERRUPTED:
                    raise KeyboardInterrupt from error
                if isinstance(error.__cause__, SearchError):
                    raise error.__cause__ from None  # the storage's: no fault of the trial
                traceback.print_exc()
                if isinstance(error.__cause__, NonFiniteLossError):
                    return self._nothing()
                raise
            except NonFiniteLossError:  # as it is, with ZOO_DEBUG=1
                traceback.print_exc()
                return self._nothing()
            except SystemExit as stop:
                raise KeyboardInterrupt from stop
            except Exception:
                traceback.print_exc()
                raise
            finally:
                free_memory()

    def _nothing(self) -> list[float]:
        """What came out of a training that diverged: it has not failed, and is no good."""
        return [math.nan for _ in self.objectives]

    def _train(self, arguments: list[str], trial: RunningTrial, folder: Path) -> list[float]:
        checkpoint = folder / "checkpoints" / "last.ckpt"
        reason = _damage(checkpoint)
        if not reason:
            arguments = [*arguments, f"--ckpt_path={checkpoint}"]
        elif trial.resource:
            print(f"{checkpoint}: {reason}; the trial starts again", file=sys.stderr)
        cli = self._fit(arguments, trial, folder)
        if trial.decision in ("pause", "interrupt"):
            epochs = cli.trainer.current_epoch
            if _damage(checkpoint, epochs):
                cli.trainer.save_checkpoint(checkpoint)
            if reason := _damage(checkpoint, epochs):
                raise CommandError(f"{checkpoint}: {reason}, so the trial could not go on from it")
        if trial.decision != "continue":
            return []
        # The first is not the trainer's: it has none when it went on from a checkpoint of the last epoch.
        first = measure(cli, self.objectives[0].name) if trial.newest is None else trial.newest
        return [first, *(measure(cli, objective.name) for objective in self.objectives[1:])]

    def _fit(self, arguments: list[str], reports: Reports, folder: Path) -> Any:
        metrics = [objective.name for objective in self.objectives if objective.name not in MEASURED]
        label = folder.relative_to(self.folder / "trials")
        with (
            leaving_no_group(),
            _wandb(self.name, self.token, label),
            as_trial(reports, metrics, folder) as run,
        ):
            return run_cli("fit", Sources(arguments), run)

    def _cross_validate(
        self, trial: RunningTrial, values_of_space: Mapping[str, Any], folder: Path
    ) -> list[float]:
        """Mean over the folds; what the study is told after each fold is the mean so far."""
        folds = self.settings.folds
        assert folds is not None
        values: list[list[float]] = []
        for fold in range(folds):
            of_fold = folder / f"fold_{fold}"
            done = of_fold / "values.txt"
            if fold < trial.resource and done.is_file():
                values.append([float(value) for value in done.read_text().split()])
                continue
            shutil.rmtree(of_fold, ignore_errors=True)
            of_fold.mkdir()
            arguments = trial_arguments(self.settings, self.configs, values_of_space, fold)
            cli = self._fit(arguments, _Silent(), of_fold)
            values.append([measure(cli, objective.name) for objective in self.objectives])
            done.write_text(" ".join(map(repr, values[-1])))
            trial.report(statistics.fmean(of[0] for of in values), fold + 1)
            if trial.should_prune():
                break
        return [statistics.fmean(column) for column in zip(*values, strict=True)]


class _Silent:
    """Lets a fold run to its end."""

    def report(self, value: float, step: int) -> None:
        """Nobody listens."""

    def should_prune(self) -> bool:
        """Never."""
        return False


def free_memory() -> None:
    """Let go of what a run has left, on devices too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure(cli: Any, name: str) -> float:
    """An objective of a trained model.

    Args:
        cli: The run.
        name: ``parameters``, ``latency``, or a metric that is logged.
    """
    if name == "parameters":
        return float(sum(p.numel() for p in cli.model.parameters() if p.requires_grad))
    if name == "latency":
        return _latency(cli.model.to(cli.trainer.strategy.root_device))
    if name not in cli.trainer.callback_metrics:
        cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
    return float(cli.trainer.callback_metrics[name])


def _latency(model: Any, repetitions: int = 30) -> float:
    """Median time of a forward pass of one example, in milliseconds."""
    example = model.example_input_array[:1].to(model.device)
    times = []
    model.eval()
    with torch.inference_mode():
        for _ in range(repetitions):
            begun = time.perf_counter()
            model(example)
            if example.is_cuda:
                torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def _damage(checkpoint: Path, epochs: int | None = None) -> str | None:
    """Why a checkpoint cannot be gone on from; None if it can.

    Args:
        checkpoint: The file.
        epochs: Number of epochs that must be in it; None for any.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        found = int(content["epoch"]) + 1
    except FileNotFoundError:
        return "is not there"
    except Exception as error:  # a damaged file fails in many ways
        return f"cannot be read ({type(error).__name__})"
    return None if epochs in (None, found) else f"holds {found} epochs, but must hold {epochs}"


@contextlib.contextmanager
def _into_log(path: Path) -> Iterator[None]:
    with (
        path.open("a", encoding="utf-8", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        yield


@contextlib.contextmanager
def _wandb(study: str, token: str, folder: Path) -> Iterator[None]:
    """Let a W&B logger, if there is one, make one run of the study's group for each trial.

    Args:
        study: Name of the study.
        token: Tells studies of one name apart.
        folder: Number of the trial, and its fold if there are folds.
    """
    label = "-".join(folder.parts)
    mine = {
        "WANDB_RUN_GROUP": study,
        "WANDB_NAME": f"{study}-{label}",
        "WANDB_RUN_ID": f"{study}-{token[:6]}-{label}",
        "WANDB_RESUME": "allow",
    }
    os.environ.update(mine)  # who started this restores it
    try:
        yield
    finally:
        wandb = sys.modules.get("wandb")
        if wandb is not None and wandb.run is not None:
            wandb.finish()
            wandb.teardown()  # it reads the environment once
