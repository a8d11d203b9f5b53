"""LeNet with batch normalisation (section 8.5.5; Ioffe and Szegedy, 2015)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._registry import register
from zoo.cnn.lenet import LeNetNetwork
from zoo.layers.init import init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["BNLeNet", "BNLeNetNetwork"]


class BNLeNetNetwork(LeNetNetwork):
    """LeNet without padding, and each hidden layer's outputs normalised before its sigmoid.

    Args:
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels, at least 16.

    Raises:
        ValueError: If the images are too small for the two convolutions.
    """

    def __init__(self, *, in_channels: int = 1, num_classes: int = 10, image_size: int = 28) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, image_size=image_size, padding=0)
        self.bn1 = nn.BatchNorm2d(6)
        self.bn2 = nn.BatchNorm2d(16)
        self.bn3 = nn.BatchNorm1d(120)
        self.bn4 = nn.BatchNorm1d(84)

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        x = self.pool1(self.act1(self.bn1(self.conv1(x))))
        x = self.pool2(self.act2(self.bn2(self.conv2(x))))
        x = self.act3(self.bn3(self.fc1(self.flatten(x))))
        return self.act4(self.bn4(self.fc2(x)))  # type: ignore[no-any-return]


@register(
    book=("M24",),
    task="image classification",
    config="cnn/bn_lenet_fashion_mnist.yaml",
    tiny={"image_size": 16, "num_classes": 4},
)
class BNLeNet(ImageClassifier):
    """LeNet with batch normalisation, 44,878 parameters on 28 x 28 pixels (section 8.5.5).

    Its twin from scratch is :class:`~zoo.BNLeNetScratch`. Training needs at least two images in each batch.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 16.
        init: Initialiser of the weights by name; ``xavier_uniform`` in the book.
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        init: str = "xavier_uniform",
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = BNLeNetNetwork(in_channels=in_channels, num_classes=num_classes, image_size=image_size)
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
