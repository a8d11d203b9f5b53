"""Exact Gaussian process regression as a task (section 18.3, whose second half uses GPyTorch)."""

import math
from typing import Any

import torch
from torch import Tensor

from datamodules.interface.batches import RegressionBatch
from zoo._registry import register
from zoo.gp.regression import ExactGPNetwork
from zoo.tasks import LRSchedulerCallable, OptimizerCallable
from zoo.tasks._sums import wide
from zoo.tasks.base import Task

__all__ = ["ExactGP"]


@register(
    book=("M75",),
    task="gaussian process regression",
    config="gp/exact_gp_sines.yaml",
    tiny={"in_features": 3},
)
class ExactGP(Task):
    """Regression with an exact Gaussian process: a mean and its uncertainty for each point (section 18.3.5).

    One step of training is one step of the optimizer on the marginal likelihood of all training examples
    together, so it needs ``batch_size: full`` and one device; time grows with the cube of their number. The
    examples are kept and saved, for predictions rest on them. The output has three columns: the mean, the
    variance of the function, and the variance of an observation, which is the noise's more.

    Logs as ``loss`` in training the negative log marginal likelihood per example, and in validation and test
    the negative log density of a target under its own prediction, in nats, on average; there also ``mse``,
    the squared error of the mean. In float32 a large output scale beside little noise can cost the
    factorisation its precision; the book and the configuration compute in float64 (``precision: 64-true``).

    Args:
        in_features: Number of input columns (the data's, on the command line).
        mean: Prior mean: ``zero`` (the book), or a learnt ``constant``.
        kernel: ``rbf`` (the book), ``matern12``, ``matern32`` or ``matern52``, with an output scale.
        ard: One lengthscale for each input column instead of one for all.
        optimizer: The book's Adam.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    net: ExactGPNetwork

    def __init__(
        self,
        *,
        in_features: int = 1,
        mean: str = "zero",
        kernel: str = "rbf",
        ard: bool = False,
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = ExactGPNetwork(in_features, mean=mean, kernel=kernel, ard=ard)
        self.example_input_array = torch.zeros(2, in_features)

    def setup(self, stage: str) -> None:
        """Start a run.

        Raises:
            ValueError: If it trains on several devices, each of which sees but its share of the examples.
        """
        super().setup(stage)
        if stage == "fit" and self.trainer.world_size > 1:
            raise ValueError(f"the number of devices is {self.trainer.world_size}, but must be 1 for ExactGP")

    def on_train_start(self) -> None:
        """Start training.

        Raises:
            ValueError: If the training examples come in more than one batch.
        """
        if self.trainer.num_training_batches != 1:
            raise ValueError(
                f"data.init_args.batch_size makes {self.trainer.num_training_batches} batches, but must "
                "be `full` for ExactGP"
            )

    def measure(self, batch: RegressionBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """Loss of a batch, the sum of squared errors, and the number of examples.

        In training the batch is what predictions rest on from then on.

        Raises:
            ValueError: If the targets are not one column.
        """
        features, target = batch
        examples = len(features)
        if target.shape != (examples, 1):
            raise ValueError(
                f"the model predicts {(examples, 1)}, but the data's targets are {tuple(target.shape)}"
            )
        target = target[:, 0]
        if self.training:
            self.net.condition(features, target)
            return -self.net.log_marginal_likelihood(features, target) / examples, {}, examples
        mean, _, variance = self(features).T
        error = (target - mean).square()
        density = -0.5 * (error / variance + variance.log() + math.log(2 * math.pi))
        return -density.mean(), {"mse": wide(error.sum())}, examples

    def example_batch(self, batch_size: int) -> RegressionBatch:
        """Random features and a smooth function of them."""
        features = self.random_inputs(batch_size)
        return RegressionBatch(features, torch.sin(2 * features.sum(dim=1, keepdim=True)))
