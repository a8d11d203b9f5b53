"""Linear networks from scratch (sections 3.4, 3.7.3 and 4.4).

Deviations from the book: weights and biases are parameters, so that they are saved and move to a device with
the model; the softmax cannot overflow.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_positive
from zoo._registry import register
from zoo.optim.sgd import SGD
from zoo.scratch.functions import cross_entropy, half_squared_error, l2_penalty
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable, Regressor

__all__ = [
    "LinearRegressionScratch",
    "LinearScratchNetwork",
    "SoftmaxRegressionScratch",
    "WeightDecayScratch",
]


class LinearScratchNetwork(nn.Module):
    """``Xw + b`` on flattened inputs, with w drawn from N(0, 0.01^2) and b zero.

    Args:
        in_features: Number of inputs d.
        out_features: Number of outputs q.

    Attributes:
        weight: Weights (d, q), the transpose of ``nn.Linear``'s.
        bias: Biases (q,).
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        check_positive("in_features", in_features)
        check_positive("out_features", out_features)
        self.weight = nn.Parameter(0.01 * torch.randn(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        """The linear outputs: predictions, or logits."""
        return x.flatten(1) @ self.weight + self.bias


@register(
    book=("M01",),
    task="regression",
    config="linear/linear_regression_scratch_synthetic.yaml",
    tiny={"in_features": 3, "out_features": 2},
    full={"in_features": 2},
)
class LinearRegressionScratch(Regressor):
    """Linear regression from scratch, on half the squared error (section 3.4).

    Args:
        in_features: Number of input columns d (the data's, on the command line).
        out_features: Number of target columns (the data's, on the command line).
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int = 1,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.03),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = LinearScratchNetwork(in_features, out_features)
        self.example_input_array = torch.zeros(2, in_features)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Half the squared error."""
        return half_squared_error(prediction, target)


@register(
    book=("M03",),
    task="regression",
    config="linear/weight_decay_scratch_synthetic.yaml",
    tiny={"in_features": 5, "weight_decay": 0.001},
    full={"in_features": 200},
)
class WeightDecayScratch(Regressor):
    """Linear regression with the penalty ``weight_decay * ||w||^2 / 2`` in the training loss (section 3.7.3).

    The loss is half the squared error here and the whole in :class:`~zoo.WeightDecay`, as in the book, so the
    same number stands for different objectives: the optimizer's ``weight_decay`` there must be twice this one
    to have the same minimum. Unlike in the book, the penalty is left out of validation and test losses, so
    that they can be compared between penalties.

    Args:
        in_features: Number of input columns d (the data's, on the command line).
        out_features: Number of target columns (the data's, on the command line).
        weight_decay: Strength of the penalty on the weights (the book's ``lambd``), at least 0.
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = Regressor.training_arguments | {"weight_decay"}

    net: LinearScratchNetwork

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int = 1,
        weight_decay: float = 3.0,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_at_least("weight_decay", weight_decay, 0)
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.weight_decay = weight_decay
        self.net = LinearScratchNetwork(in_features, out_features)
        self.example_input_array = torch.zeros(2, in_features)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Half the squared error, in training with the penalty."""
        loss = half_squared_error(prediction, target)
        if self.training:
            loss = loss + self.weight_decay * l2_penalty(self.net.weight)
        return loss


@register(
    book=("M05",),
    task="image classification",
    config="linear/softmax_regression_scratch_fashion_mnist.yaml",
    tiny={"in_channels": 1, "image_size": 6, "num_classes": 4},
)
class SoftmaxRegressionScratch(ImageClassifier):
    """Softmax regression from scratch (section 4.4).

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        image_size: Height and width of the images in pixels (the data's, on the command line).
        num_classes: Number of classes q (the data's, on the command line).
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        num_classes: int = 10,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_channels", in_channels)
        check_positive("image_size", image_size)
        check_positive("num_classes", num_classes)
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = LinearScratchNetwork(in_channels * image_size**2, num_classes)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, label)
