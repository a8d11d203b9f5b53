"""Callbacks that time a run of the command line from within; they write into the folder of the run."""

import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

__all__ = ["EpochClock", "FirstStepClock", "StepClock", "TrialClock"]


class EpochClock(L.Callback):
    """Writes ``epoch_clock.json``: seconds and images of all epochs after the first, without validation.

    What happens between the batches and between the epochs counts: logging, checkpoints, pictures, progress.
    Validation does not, nor what comes after the last epoch.
    """

    def __init__(self) -> None:
        self._started_at = 0.0
        self._validating_since = 0.0
        self._validation_seconds = 0.0
        self._images = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock in the second epoch."""
        if trainer.current_epoch == 1:
            self._started_at = time.perf_counter()
            self._validation_seconds = 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images."""
        if trainer.current_epoch > 0:
            self._images += len(batch[0])

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._validating_since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the clock go on."""
        self._validation_seconds += time.perf_counter() - self._validating_since

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file."""
        seconds = time.perf_counter() - self._started_at - self._validation_seconds
        result = {"images": self._images, "seconds": seconds}
        Path(trainer.default_root_dir, "epoch_clock.json").write_text(json.dumps(result))


class FirstStepClock(L.Callback):
    """Writes ``first_step.json``: the time of day (seconds since 1970) at which the first step was done."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the file, once."""
        path = Path(trainer.default_root_dir, "first_step.json")
        if not path.exists():
            path.write_text(json.dumps(time.time()))


class StepClock(L.Callback):
    """Writes ``step_clock.json``: seconds and images of the first epoch's training, after its first batches.

    Everything from the end of the last batch left out to the end of training's last batch counts, on an
    accelerator until that has done its work.

    Args:
        warmup: Batches left out; the clock starts after them.
    """

    def __init__(self, warmup: int = 3) -> None:
        self.warmup = warmup
        self._started_at = 0.0
        self._images = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock, count images, and write the file after the last batch."""
        last = batch_idx + 1 == trainer.num_training_batches
        if batch_idx >= self.warmup:
            self._images += len(batch[0])
        if batch_idx + 1 == self.warmup or last:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if not last:
                self._started_at = time.perf_counter()
                return
            result = {"images": self._images, "seconds": time.perf_counter() - self._started_at}
            Path(trainer.default_root_dir, "step_clock.json").write_text(json.dumps(result))


class TrialClock(L.Callback):
    """Writes ``trial_clock.json``: seconds of all epochs' batches and validation.

    That is from an epoch's start to the end of its last batch, and from the start of its validation to that
    one's end. What comes between and after is not training: reports, checkpoints, summaries. Nor is what
    comes before: the configuration, the data, the few batches of validation that Lightning tries first.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since = 0.0
        self._batch_ended_at = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._since = self._batch_ended_at = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """It may be the last one."""
        self._batch_ended_at = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the batches so far, and start the clock anew."""
        if not trainer.sanity_checking:
            self._count_batches()
            self._since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the validation; further batches, if there are any, begin now."""
        if not trainer.sanity_checking:
            now = time.perf_counter()
            self._seconds += now - self._since
            self._since = self._batch_ended_at = now

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the batches after the last validation."""
        self._count_batches()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file."""
        Path(trainer.default_root_dir, "trial_clock.json").write_text(json.dumps(self._seconds))

    def _count_batches(self) -> None:
        self._seconds += self._batch_ended_at - self._since
