"""``summary.json``: what a run was and what came out of it, for people and for the results table."""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from callbacks._files import may_write, run_dir, run_title, write_atomically
from callbacks.metrics_csv import MetricsCSV
from callbacks.pruning import Pruning

__all__ = ["RunRecord", "read_summary", "record_end"]

FILE_NAME = "summary.json"
SECONDS_BETWEEN_RECORDS = 30.0
CHECKOUT = Path(__file__).resolve().parent.parent


def read_summary(folder: Path) -> dict[str, Any]:
    """The ``summary.json`` in the folder of a run; empty when there is none yet."""
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    summary: dict[str, Any] = json.loads(path.read_text())
    return summary


def record_end(folder: Path, status: str | None = None) -> None:
    """Note in ``summary.json`` that a run will not go on, and that checkpoints which are gone are gone.

    Args:
        folder: The folder of the run; without a ``summary.json`` nothing happens.
        status: How it ended, such as ``pruned``; None leaves what is there.
    """
    summary = read_summary(folder)
    if not summary:
        return
    changed = dict(summary)
    if status is not None:
        changed["status"] = status
    checkpoint = summary.get("best_checkpoint")
    if checkpoint and not (folder / checkpoint).is_file():
        changed["best_checkpoint"] = None
    if changed != summary:
        _write(folder, changed)


class RunRecord(L.Callback):
    """Writes ``summary.json``; its keys are listed in ``docs/runs.md``.

    It is written when training starts (status ``running``, which a killed run keeps), every 30 s, and at the
    end: ``finished``, ``failed``, or ``stopped`` (by Ctrl-C, SIGTERM or :class:`callbacks.Pruning`), of which
    a search makes ``pruned`` where it will not go on (:func:`record_end`). ``validate`` and ``test`` add
    their metrics. When a run resumes, rows of ``metrics.csv`` past the checkpoint are dropped.

    Args:
        name: Name of the run; by default the last two parts of its folder.
        config: The configuration file it was started from, relative to ``configs/``.
        command: The command line it was started with.
    """

    def __init__(
        self, *, name: str | None = None, config: str | None = None, command: str | None = None
    ) -> None:
        self.name = name
        self.config = config
        self.command = command
        self._written_at = 0.0
        self._started_at = 0.0
        self._earlier_seconds = 0.0
        self._best: dict[str, float] = {}
        self._examples = 0
        self._training_seconds = 0.0
        self._training_since: float | None = None
        self._holds_images = False
        self._saved_step: int | None = None

    # Training

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let ``metrics.csv`` count steps as checkpoints do."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.follow(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; when resuming, go on from what the run had when the checkpoint was written."""
        self._started_at = time.monotonic()
        self._earlier_seconds, self._best = 0.0, {}
        self._examples, self._training_seconds = 0, 0.0
        self._saved_step = None if trainer.ckpt_path is None else trainer.global_step
        if not may_write(trainer):
            return
        if trainer.ckpt_path is not None:
            earlier = read_summary(run_dir(trainer))
            self._earlier_seconds = earlier.get("wall_time_s", 0.0)
            if earlier.get("best") and earlier["best"]["step"] <= trainer.global_step:
                self._best = earlier["best"]
            for logger in trainer.loggers:
                if isinstance(logger, MetricsCSV):
                    logger.rewind(trainer.global_step)
        self._write_fit(trainer, pl_module, "running")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time what follows as training."""
        self._training_since = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the examples."""
        self._examples += len(batch[0])
        if batch_idx == 0:
            self._holds_images = "image" in getattr(batch, "_fields", ())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of training."""
        self._pause_training()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do not count validation as training."""
        self._pause_training()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the best metrics; after ``validate``, write them down."""
        if trainer.sanity_checking:
            return
        metrics = _metrics(trainer, "val/")
        if trainer.state.fn != "fit":
            self._merge_evaluation(trainer, pl_module, metrics, "validated_checkpoint")
            return
        monitor = getattr(pl_module, "monitor", "val/loss")
        value = metrics.get(monitor)
        if value is not None and math.isfinite(value):
            sign = -1 if getattr(pl_module, "monitor_mode", "min") == "min" else 1
            if not self._best or sign * value > sign * self._best[monitor]:
                self._best = {"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics}
        if time.monotonic() - self._written_at > SECONDS_BETWEEN_RECORDS:
            self._write_fit(trainer, pl_module, "running")
        self._training_since = time.monotonic()

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note which step the newest checkpoint is of."""
        self._saved_step = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the record of a run that came to its end, or to the one that a search gave it."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning does not declare it
        stopped = any(isinstance(callback, Pruning) and callback.pruned for callback in callbacks)
        self._write_fit(trainer, pl_module, "stopped" if stopped else "finished")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Write the record of a run as far as it came."""
        # What fails before its first step is recorded too, but not over what the folder's run has done.
        if trainer.state.fn == "fit" and (self._started_at or not read_summary(run_dir(trainer))):
            self._started_at = self._started_at or time.monotonic()
            stopped = isinstance(exception, KeyboardInterrupt | SIGTERMException)
            error = None if stopped else f"{type(exception).__name__}: {exception}"
            self._write_fit(trainer, pl_module, "stopped" if stopped else "failed", error=error)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the test metrics."""
        self._merge_evaluation(trainer, pl_module, _metrics(trainer, "test/"), "tested_checkpoint")

    # Writing

    def _pause_training(self) -> None:
        if self._training_since is not None:
            self._training_seconds += time.monotonic() - self._training_since
        self._training_since = None

    def _write_fit(
        self, trainer: L.Trainer, pl_module: L.LightningModule, status: str, error: str | None = None
    ) -> None:
        if not may_write(trainer):
            return
        self._pause_training()
        folder = run_dir(trainer)
        seconds = self._earlier_seconds + time.monotonic() - self._started_at
        speed = (
            self._examples * trainer.world_size / self._training_seconds if self._training_seconds else None
        )
        summary = {
            **self._identity(trainer, pl_module),
            "status": status,
            "error": error,
            "metrics": _metrics(trainer, "train/") | _metrics(trainer, "val/"),
            "best": self._best,
            "best_checkpoint": _relative(self._best_checkpoint(trainer), folder),
            "epochs": trainer.current_epoch,
            "global_step": trainer.global_step,
            "wall_time_s": round(seconds, 3),
            "images_per_s" if self._holds_images else "examples_per_s": speed and round(speed, 1),
        }
        _write(folder, summary)
        self._written_at = time.monotonic()

    def _best_checkpoint(self, trainer: L.Trainer) -> str:
        """The file with the weights of the best epoch; empty if there is none."""
        callback = trainer.checkpoint_callback
        path: str = getattr(callback, "best_model_path", "")
        if getattr(callback, "monitor", None) is None and self._best.get("step") != self._saved_step:
            return ""  # it is the newest epoch's
        return path if Path(path).is_file() else ""

    def _identity(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """What is known of a run before it starts."""
        seed = os.environ.get("PL_GLOBAL_SEED")
        parameters = list(pl_module.parameters())
        return {
            "name": self.name or run_title(run_dir(trainer)),
            "config": self.config,
            "command": self.command,
            "model": _class_path(pl_module),
            "data": _class_path(trainer.datamodule),  # type: ignore[attr-defined]
            "seed": None if seed is None else int(seed),
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "device": _device(trainer),
            "versions": _versions(),
            "git": git_state(CHECKOUT),
        }

    def _merge_evaluation(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        metrics: dict[str, float],
        checkpoint_key: str,
    ) -> None:
        if not may_write(trainer):
            return
        folder = run_dir(trainer)
        # What the training wrote stays: it says how the weights came about.
        summary = self._identity(trainer, pl_module) | read_summary(folder)
        summary["metrics"] = summary.get("metrics", {}) | metrics
        summary[checkpoint_key] = _relative(str(trainer.ckpt_path or ""), folder)
        _write(folder, summary)


def _write(folder: Path, summary: dict[str, Any]) -> None:
    summary["written_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    text = json.dumps(_without_non_finite(summary), indent=2, allow_nan=False)
    write_atomically(folder / FILE_NAME, f"{text}\n".encode())


def _without_non_finite(value: Any) -> Any:
    """JSON has no nan and no infinity: they become null."""
    if isinstance(value, dict):
        return {k: _without_non_finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _metrics(trainer: L.Trainer, prefix: str) -> dict[str, float]:
    """What was logged last under this prefix, for whole epochs."""
    metrics = trainer.callback_metrics
    return {n: float(v) for n, v in metrics.items() if n.startswith(prefix) and not n.endswith("_step")}


def _class_path(thing: object) -> str | None:
    """``zoo.LeNet`` and ``datamodules.Digits`` for our own classes, the full path for others."""
    if thing is None:
        return None
    cls = type(thing)
    package = cls.__module__.split(".")[0]
    return f"{package if package in ('zoo', 'datamodules') else cls.__module__}.{cls.__qualname__}"


def _relative(path: str, folder: Path) -> str | None:
    """A path as seen from the folder of the run where it lies within, so that the folder may be moved."""
    if not path:
        return None
    resolved = Path(path).resolve()
    within = folder.resolve()
    return str(resolved.relative_to(within)) if resolved.is_relative_to(within) else path


def _device(trainer: L.Trainer) -> dict[str, Any]:
    kind = trainer.strategy.root_device.type
    name = torch.cuda.get_device_name(trainer.strategy.root_device) if kind == "cuda" else platform.machine()
    return {
        "kind": kind,
        "name": name,
        "count": trainer.world_size,
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
    }


def _versions() -> dict[str, str]:
    packages = ("lightning", "d2l-zoo")
    installed = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **installed}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of a checkout, and whether files differ from it; None outside of a checkout or without git."""
    if not (folder / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}
