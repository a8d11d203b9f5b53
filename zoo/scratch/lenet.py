"""LeNet with batch normalisation from scratch (sections 8.5.3 and 8.5.4).

Deviations from the book: convolution, pooling and linear layers are from scratch too, and batch normalisation
looks at the training mode and keeps its running statistics in buffers.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_positive
from zoo._registry import register
from zoo.layers.init import init_weight_
from zoo.optim.sgd import SGD
from zoo.scratch.convolution import Conv2D, pool2d
from zoo.scratch.functions import cross_entropy
from zoo.scratch.linear import LinearScratchNetwork
from zoo.scratch.normalization import BatchNorm
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["BNLeNetScratch", "BNLeNetScratchNetwork"]


class BNLeNetScratchNetwork(nn.Module):
    """The layers of :class:`zoo.cnn.bn_lenet.BNLeNetNetwork`, from scratch.

    Args:
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels, at least 16.
        unbiased: As in :func:`zoo.scratch.normalization.batch_norm`.

    Raises:
        ValueError: If the images are too small for the two convolutions.
    """

    num_features = 84

    def __init__(self, *, in_channels: int, num_classes: int, image_size: int, unbiased: bool) -> None:
        super().__init__()
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, 16)
        side = ((image_size - 4) // 2 - 4) // 2
        self.conv1 = Conv2D(in_channels, 6, 5)
        self.bn1 = BatchNorm(6, unbiased=unbiased)
        self.conv2 = Conv2D(6, 16, 5)
        self.bn2 = BatchNorm(16, unbiased=unbiased)
        self.fc1 = LinearScratchNetwork(16 * side * side, 120)
        self.bn3 = BatchNorm(120, unbiased=unbiased)
        self.fc2 = LinearScratchNetwork(120, 84)
        self.bn4 = BatchNorm(84, unbiased=unbiased)
        self.fc3 = LinearScratchNetwork(84, num_classes)

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        x = pool2d(self.bn1(self.conv1(x)).sigmoid(), 2, mode="avg", stride=2)
        x = pool2d(self.bn2(self.conv2(x)).sigmoid(), 2, mode="avg", stride=2)
        x = self.bn3(self.fc1(x)).sigmoid()
        return self.bn4(self.fc2(x)).sigmoid()  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        return self.fc3(self.forward_features(x))  # type: ignore[no-any-return]


@register(
    book=("M23",),
    task="image classification",
    config="cnn/bn_lenet_scratch_fashion_mnist.yaml",
    tiny={"image_size": 16, "num_classes": 4},
)
class BNLeNetScratch(ImageClassifier):
    """LeNet with batch normalisation from scratch, 44,878 parameters on 28 x 28 pixels (section 8.5.4).

    Its twin is :class:`~zoo.BNLeNet`. Weights are drawn as the book's, Xavier-uniform. Training needs at
    least two images in each batch.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 16.
        unbiased: Whether a batch's variance enters the running one with ``1 / (n - 1)``, as in torch and so
            in the twin, or with ``1 / n``, as in the book.
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"unbiased"}

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        unbiased: bool = True,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = BNLeNetScratchNetwork(
            in_channels=in_channels, num_classes=num_classes, image_size=image_size, unbiased=unbiased
        )
        for parameter in self.net.parameters():
            if parameter.ndim > 1:
                init_weight_(parameter, "xavier_uniform")
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, label)
