"""Stops trainings that a hyperparameter search does not want to go on with."""

from collections.abc import Sequence
from typing import Any, Protocol

import lightning as L
import optuna
import torch

__all__ = ["Pruning", "Reports"]


class Reports(Protocol):
    """What is told the metric; an ``optuna.Trial`` is one."""

    def report(self, value: float, step: int) -> None:
        """Note a value after so many epochs."""

    def should_prune(self) -> bool:
        """Whether to stop after the last report."""


class Pruning(L.Callback):
    """Reports a metric after each epoch that validated, and stops the training when told so, on all devices.

    ``trainer.fit`` ends as after its last epoch; then :meth:`raise_if_pruned` raises ``optuna.TrialPruned``.
    A metric that is no finite number stops too. The step of a report is the number of epochs done.

    Args:
        trial: Is told the metric; an ``optuna.Trial`` will do. Only the first process uses it, the others may
            have None.
        monitor: Name of the metric, such as ``val/acc``; of several, the first is reported and all
            must be there.

    Raises:
        ValueError: While training, if the model does not log the metric.
    """

    def __init__(self, trial: Reports | None, monitor: str | Sequence[str]) -> None:
        self.trial = trial
        self.monitors = [monitor] if isinstance(monitor, str) else list(monitor)
        self.pruned = False
        self._new = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that there is something to report; before the first epoch Lightning tries a few batches."""
        self._new = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report; Lightning saves checkpoints only after this, so that the epoch is in them."""
        if not self._new:
            return
        self._new = False
        missing = [name for name in self.monitors if name not in trainer.callback_metrics]
        if missing:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise ValueError(f"the metric {missing[0]!r} is not logged; the model logs {logged}")
        stop = False
        if trainer.is_global_zero and self.trial is not None:
            value = float(trainer.callback_metrics[self.monitors[0]])
            self.trial.report(value, trainer.current_epoch + 1)
            stop = self.trial.should_prune() or not torch.isfinite(torch.tensor(value)).item()
        self.pruned = bool(trainer.strategy.broadcast(stop, src=0))
        trainer.should_stop = trainer.should_stop or self.pruned

    def raise_if_pruned(self) -> None:
        """To be called after ``trainer.fit``.

        Raises:
            optuna.TrialPruned: If the training was stopped.
        """
        if self.pruned:
            raise optuna.TrialPruned

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a checkpoint of a stopped trial goes on when it is loaded."""
        return {}
