"""Regression: real-valued targets."""

from typing import Any

import torch
from torch import Tensor

from datamodules.interface.batches import RegressionBatch
from zoo._checks import check_choice, check_positive
from zoo.tasks import losses
from zoo.tasks._sums import wide
from zoo.tasks.base import LRSchedulerCallable, OptimizerCallable, Task

__all__ = ["Regressor"]


class Regressor(Task):
    """Base of models that predict real numbers. Logs ``loss`` (of that name), ``mse`` and ``mae``.

    Args:
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
        loss: ``mse``, ``half_mse`` (the book's models from scratch), ``mae``, ``huber`` or ``smooth_l1``.
        huber_delta: Error at which ``huber`` and ``smooth_l1`` become linear, in units of the target,
            positive.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
        loss: str = "mse",
        huber_delta: float = 1.0,
    ) -> None:
        check_choice("loss", loss, losses.REGRESSION_LOSSES)
        check_positive("huber_delta", huber_delta)
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self._named_loss = losses.regression_loss(loss, huber_delta)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean loss of predictions (batch, out_features)."""
        return self._named_loss(prediction, target)

    def measure(self, batch: RegressionBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """Mean loss, sums of squared and absolute errors (over outputs: mean), and the number of examples."""
        features, target = batch
        prediction = self(features)
        if prediction.shape != target.shape:
            raise ValueError(
                f"the model predicts {tuple(prediction.shape)}, "
                f"but the data's targets are {tuple(target.shape)}"
            )
        error = (prediction - target).detach()
        examples = len(target)
        sums = {"mse": wide(error.square().mean()) * examples, "mae": wide(error.abs().mean()) * examples}
        return self.loss(prediction, target), sums, examples

    def example_batch(self, batch_size: int) -> RegressionBatch:
        """Random features and targets."""
        features = self.random_inputs(batch_size)
        return RegressionBatch(features, torch.randn(self.output_shape(features), device=features.device))
