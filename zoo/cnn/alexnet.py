"""AlexNet (section 8.1; Krizhevsky et al., 2012).

One network for the book's AlexNet and torchvision's, which differ in small things:

- the book has the paper's 96, 256, 384, 384 and 256 channels; torchvision those of Krizhevsky (2014,
  arXiv:1404.5997), fewer;
- dropout stands after the two hidden fully connected layers in book and paper, before them in torchvision;
- the book's fully connected layers take the maps as they come, torchvision's after pooling to 6 x 6, which
  at 224 pixels changes nothing.

Deviations of both from the paper: no local response normalisation, and convolutions are not split in two.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_fraction, check_positive
from zoo._pretrained import load_pretrained
from zoo._registry import register
from zoo.layers.init import init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["BOOK", "CANONICAL", "AlexNet", "AlexNetNetwork", "AlexNetSize", "ImageNetAlexNet"]


@dataclass(frozen=True, kw_only=True)
class AlexNetSize:
    """What tells the two networks apart.

    Attributes:
        channels: Channels that the five convolutions put out.
        padding: Padding of the first convolution in pixels on each side.
        smallest_image: Least height and width in pixels that leave one pixel after the last pooling.
        pooled_size: Height and width to which the last maps are pooled; None leaves them as they are.
        dropout_first: Dropout before the two hidden fully connected layers, not after them.
    """

    channels: tuple[int, int, int, int, int]
    padding: int
    smallest_image: int
    pooled_size: int | None
    dropout_first: bool


BOOK = AlexNetSize(
    channels=(96, 256, 384, 384, 256), padding=1, smallest_image=65, pooled_size=None, dropout_first=False
)
CANONICAL = AlexNetSize(
    channels=(64, 192, 384, 256, 256), padding=2, smallest_image=63, pooled_size=6, dropout_first=True
)


class AlexNetNetwork(nn.Module):
    """Five convolutions with three poolings, and three fully connected layers.

    Args:
        size: Channels and what else tells the two networks apart.
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels.
        hidden_size: Width of the two hidden fully connected layers.
        dropout: Drop probability of these two, in [0, 1).

    Raises:
        ValueError: If the images are too small for the convolutions and poolings.
    """

    stem_name = "features.0"
    head_names = ("classifier.6",)

    def __init__(
        self,
        *,
        size: AlexNetSize,
        in_channels: int,
        num_classes: int,
        image_size: int,
        hidden_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, size.smallest_image)
        check_positive("hidden_size", hidden_size)
        check_fraction("dropout", dropout)
        self.num_features = hidden_size
        c1, c2, c3, c4, c5 = size.channels
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, kernel_size=11, stride=4, padding=size.padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(c1, c2, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(c2, c3, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c3, c4, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c4, c5, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        side = size.pooled_size
        if side is None:
            self.avgpool: nn.Module = nn.Identity()
            side = (image_size + 2 * size.padding - 11) // 4 + 1
            for _ in range(3):
                side = (side - 3) // 2 + 1
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.flatten = nn.Flatten()
        layers: list[nn.Module] = []
        for in_size in (c5 * side * side, hidden_size):
            linear = [nn.Linear(in_size, hidden_size), nn.ReLU(inplace=True)]
            drop = nn.Dropout(dropout)
            layers += [drop, *linear] if size.dropout_first else [*linear, drop]
        self.classifier = nn.Sequential(*layers, nn.Linear(hidden_size, num_classes))

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        x = self.flatten(self.avgpool(self.features(x)))
        return self.classifier[:-1](x)  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]


@register(
    book=("M19",),
    task="image classification",
    config="cnn/alexnet_fashion_mnist.yaml",
    tiny={
        "image_size": 65,
        "num_classes": 4,
        "hidden_size": 32,
        "dropout": 0.0,
        "init": "kaiming_uniform",
    },
)
class AlexNet(ImageClassifier):
    """The book's AlexNet: 46,764,746 parameters on grey images of 224 x 224 pixels and 10 classes.

    Other image sizes change the width of the first fully connected layer. For published weights take
    :class:`ImageNetAlexNet`.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 65; the
            book's is 224.
        hidden_size: Width of the two hidden fully connected layers; 4096 in book and paper.
        dropout: Drop probability after each of them, in [0, 1).
        init: Initialiser of the weights by name; the book asks for ``xavier_uniform``, but its lazy layers
            never get it (see the errata).
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
        hidden_size: int = 4096,
        dropout: float = 0.5,
        init: str = "xavier_uniform",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        self.net = AlexNetNetwork(
            size=BOOK,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            hidden_size=hidden_size,
            dropout=dropout,
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    task="image classification",
    tiny={"image_size": 63, "num_classes": 4, "hidden_size": 256, "dropout": 0.0},
    variants=("alexnet",),
)
class ImageNetAlexNet(ImageClassifier):
    """AlexNet as torchvision has it, under its keys (section 8.1): 61,100,840 parameters.

    Weights start as in the paper: normal with deviation 0.01; biases 1 in the second, fourth and fifth
    convolution and in the hidden fully connected layers, else 0.

    Args:
        weights: Pretrained weights: ``torchvision:IMAGENET1K_V1``, or a file. They expect colour images
            normalised as ImageNet's. None starts afresh.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 63.
        hidden_size: Width of the two hidden fully connected layers; 4096 in the paper and in published
            weights.
        dropout: Drop probability before each of them, in [0, 1).
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The paper's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"dropout"}

    def __init__(
        self,
        *,
        weights: str | None = None,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        hidden_size: int = 4096,
        dropout: float = 0.5,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=5e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        self.net = AlexNetNetwork(
            size=CANONICAL,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            hidden_size=hidden_size,
            dropout=dropout,
        )
        init_parameters(self.net, "normal", zero_bias=True)
        for name in ("features.3", "features.8", "features.10", "classifier.1", "classifier.4"):
            nn.init.ones_(self.net.get_parameter(f"{name}.bias"))
        load_pretrained(self.net, weights, variant="alexnet")
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
