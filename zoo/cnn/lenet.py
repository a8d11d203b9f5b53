"""LeNet-5 (section 7.6; LeCun et al., 1998), and the LeNet that section 12.11 tries schedules on.

Deviations: as in the book, the Gaussian output layer is a linear one and average pooling has no weights.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_choice, check_positive
from zoo._registry import register
from zoo.layers.activations import activation as activation_named
from zoo.layers.init import init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["LeNet", "LeNetModern", "LeNetNetwork"]

POOLINGS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


class LeNetNetwork(nn.Module):
    """Two convolutions with pooling, three fully connected layers.

    Args:
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels.
        padding: Padding of the first convolution in pixels on each side.
        activation: Name of the activation after each hidden layer.
        pooling: ``avg`` or ``max``.

    Raises:
        ValueError: If the images are too small for the two convolutions.
    """

    num_features = 84

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        padding: int = 2,
        activation: str = "sigmoid",
        pooling: str = "avg",
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("padding", padding, 0)
        check_choice("pooling", pooling, POOLINGS)
        check_at_least("image_size", image_size, max(16 - 2 * padding, 1))
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        self.conv1 = nn.Conv2d(in_channels, 6, kernel_size=5, padding=padding)
        self.act1 = activation_named(activation)
        self.pool1 = POOLINGS[pooling](kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.act2 = activation_named(activation)
        self.pool2 = POOLINGS[pooling](kernel_size=2, stride=2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * side * side, 120)
        self.act3 = activation_named(activation)
        self.fc2 = nn.Linear(120, 84)
        self.act4 = activation_named(activation)
        self.fc3 = nn.Linear(84, num_classes)

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        x = self.pool1(self.act1(self.conv1(x)))
        x = self.pool2(self.act2(self.conv2(x)))
        x = self.act3(self.fc1(self.flatten(x)))
        return self.act4(self.fc2(x))  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        return self.fc3(self.forward_features(x))  # type: ignore[no-any-return]


@register(
    book=("M18",),
    task="image classification",
    config="cnn/lenet_fashion_mnist.yaml",
    tiny={"image_size": 12, "num_classes": 4, "activation": "relu", "init": "default"},
)
class LeNet(ImageClassifier):
    """LeNet-5 for small grey images, 61,706 parameters on 28 x 28 pixels (44,426 with ``padding=0``).

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 12 with padding 2
            and 16 with padding 0.
        padding: Padding of the first convolution in pixels on each side: 2 in the book, 0 in the paper (whose
            images are padded beforehand).
        activation: Name of the activation after each hidden layer; ``sigmoid`` in the book.
        pooling: ``avg`` (book) or ``max``.
        init: Initialiser of the weights by name; ``xavier_uniform`` in the book.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
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
        padding: int = 2,
        activation: str = "sigmoid",
        pooling: str = "avg",
        init: str = "xavier_uniform",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        self.net = LeNetNetwork(
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            padding=padding,
            activation=activation,
            pooling=pooling,
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    book=("M46",),
    task="image classification",
    config="cnn/lenet_modern_fashion_mnist_cosine.yaml",
    tiny={"image_size": 12, "num_classes": 4},
)
class LeNetModern(ImageClassifier):
    """LeNet with ReLU and max-pooling, 61,706 parameters on 28 x 28 pixels (section 12.11).

    The book trains it with one schedule after another: the configurations ``lenet_modern_fashion_mnist_*``.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 12.
        init: Initialiser of the weights by name; ``default``, torch's own, in the book.
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
        init: str = "default",
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.3),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = LeNetNetwork(
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            activation="relu",
            pooling="max",
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
