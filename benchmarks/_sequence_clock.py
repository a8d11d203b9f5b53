"""Wall time and CPU time together, and a callback that takes both of training, for each token."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch

from datamodules.interface.batches import SequenceBatch, TranslationBatch

__all__ = ["TokenClock", "Took", "count_tokens", "now"]


class Took(NamedTuple):
    """Seconds by two clocks.

    Attributes:
        wall: Those of the wall.
        cpu: Those that this process computed, all its threads together.
    """

    wall: float
    cpu: float


def now() -> Took:
    """Both clocks; only differences mean something."""
    return Took(time.perf_counter(), time.process_time())


def count_tokens(batch: SequenceBatch | TranslationBatch) -> int:
    """Tokens that are predicted, padding not among them."""
    if isinstance(batch, SequenceBatch):
        return batch.label.numel()
    return int((batch.target_length - 1).sum())  # the first one is given


class TokenClock(L.Callback):
    """Writes ``token_clock.json``: time and tokens of all epochs after the first, without validation.

    What happens between the batches and between the epochs counts: logging, checkpoints, samples, progress.
    Validation does not, nor what comes after the last epoch.
    """

    def __init__(self) -> None:
        self._started_at = self._validating_since = now()
        self._validation = Took(0.0, 0.0)
        self._tokens = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock in the second epoch."""
        if trainer.current_epoch == 1:
            self._started_at = now()
            self._validation = Took(0.0, 0.0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the tokens."""
        if trainer.current_epoch > 0:
            self._tokens += count_tokens(batch)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._validating_since = now()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the clock go on."""
        ended_at = now()
        self._validation = Took(
            self._validation.wall + ended_at.wall - self._validating_since.wall,
            self._validation.cpu + ended_at.cpu - self._validating_since.cpu,
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ended_at = now()
        result = {
            "count": self._tokens,
            "wall": ended_at.wall - self._started_at.wall - self._validation.wall,
            "cpu": ended_at.cpu - self._started_at.cpu - self._validation.cpu,
        }
        Path(trainer.default_root_dir, "token_clock.json").write_text(json.dumps(result))
