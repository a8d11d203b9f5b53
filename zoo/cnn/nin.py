"""Network in network (section 8.3; Lin et al., 2014, arXiv:1312.4400).

Deviations: as in the book, the layout is AlexNet's, and dropout stands only before the last block.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_fraction, check_positive
from zoo._registry import register
from zoo.layers.init import init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["NiN", "NiNNetwork", "nin_block"]


def nin_block(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """A convolution and two of 1 x 1, each with a ReLU.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that each convolution puts out.
        kernel_size: Height and width of the first convolution's kernel in pixels.
        stride: Of the first convolution, in pixels.
        padding: Of the first convolution, in pixels on each side.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=kernel_size, stride=stride, padding=padding),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=1),
        nn.ReLU(inplace=True),
    )


class NiNNetwork(nn.Module):
    """Three blocks with pooling, and a fourth with one map for each class, whose means are the logits.

    There is no fully connected layer. ``forward_features`` gives the means of the 384 maps before the last
    block, which itself sees the maps, not their means. Logits are never negative: the last block ends with a
    ReLU.

    Args:
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels.
        dropout: Drop probability before the last block, in [0, 1).

    Raises:
        ValueError: If the images are too small for the convolutions and poolings.
    """

    stem_name = "features.0.0"
    head_names = ("head.0", "head.2", "head.4")
    num_features = 384

    def __init__(self, *, in_channels: int, num_classes: int, image_size: int, dropout: float) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, 67)
        check_fraction("dropout", dropout)
        self.features = nn.Sequential(
            nin_block(in_channels, 96, kernel_size=11, stride=4),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nin_block(96, 256, kernel_size=5, padding=2),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nin_block(256, 384, kernel_size=3, padding=1),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nin_block(384, num_classes, kernel_size=3, padding=1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """Means over all positions of the maps that the last block sees."""
        return self.flatten(self.avgpool(self.dropout(self.features(x))))  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits, not negative."""
        x = self.head(self.dropout(self.features(x)))
        return self.flatten(self.avgpool(x))  # type: ignore[no-any-return]


@register(
    book=("M21",),
    task="image classification",
    config="cnn/nin_fashion_mnist.yaml",
    tiny={"image_size": 67, "num_classes": 16, "dropout": 0.0},
)
class NiN(ImageClassifier):
    """The book's network in network: 1,992,166 parameters on grey images with 10 classes.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 67; the
            book's is 224.
        dropout: Drop probability before the last block, in [0, 1).
        init: Initialiser of the weights by name; ``xavier_uniform`` in the book.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"dropout"}

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 224,
        dropout: float = 0.5,
        init: str = "xavier_uniform",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.05),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        self.net = NiNNetwork(
            in_channels=in_channels, num_classes=num_classes, image_size=image_size, dropout=dropout
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
