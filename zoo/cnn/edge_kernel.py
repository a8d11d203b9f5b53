"""The kernel that finds vertical edges, learnt from one image (section 7.2.4)."""

from typing import Any

import torch
from torch import Tensor, nn

from datamodules.interface.batches import RegressionBatch
from zoo._registry import register
from zoo.tasks import LRSchedulerCallable, OptimizerCallable, Regressor

__all__ = ["EdgeKernel"]


@register(
    book=("M17",),
    task="image regression",
    config="cnn/edge_kernel_edge_image.yaml",
    tiny={},
)
class EdgeKernel(Regressor):
    """A convolution of one row and two columns without bias: 2 parameters (section 7.2.4).

    It maps grey images (batch, 1, height, width) to (batch, 1, height, width - 1). What it should find is the
    kernel (1, -1): each pixel less its right neighbour. The loss is the sum of squared errors over an image,
    and the mean over images; ``mse`` and ``mae`` are means over pixels.

    Args:
        optimizer: The book's gradient descent, on the whole of its one image.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.03),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
        self.example_input_array = torch.zeros(2, 1, 6, 8)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Sum of squared errors over an image, mean over the images."""
        return ((prediction - target) ** 2).flatten(1).sum(dim=1).mean()

    def example_batch(self, batch_size: int) -> RegressionBatch:
        """Random images and their edges, which a kernel can find."""
        images = self.random_inputs(batch_size)
        return RegressionBatch(images, images[..., :-1] - images[..., 1:])
