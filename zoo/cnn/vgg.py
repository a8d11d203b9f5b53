"""VGG: networks of blocks of 3 x 3 convolutions (section 8.2; Simonyan and Zisserman, 2015, arXiv:1409.1556).

One network for the book's VGG-11 and the canonical ones. The book trains a quarter of the channels; its fully
connected layers take the maps as they come, the canonical ones after pooling to 7 x 7, which at 224 pixels
changes nothing.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_choice, check_fraction, check_positive
from zoo._pretrained import load_pretrained
from zoo._registry import register
from zoo.layers.init import init_convolutions, init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["BOOK", "VGG", "VGG11", "VGGS", "VGGNetwork", "VGGSize", "vgg_block"]


@dataclass(frozen=True, kw_only=True)
class VGGSize:
    """What tells the variants apart.

    Attributes:
        num_convs: Convolutions in each block.
        channels: Channels that each block puts out.
        batch_norm: Batch normalisation after each convolution.
    """

    num_convs: tuple[int, ...]
    channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    batch_norm: bool = False


BOOK = VGGSize(num_convs=(1, 1, 2, 2, 2), channels=(16, 32, 64, 128, 128))
VGGS = {
    "vgg11": VGGSize(num_convs=(1, 1, 2, 2, 2)),
    "vgg13": VGGSize(num_convs=(2, 2, 2, 2, 2)),
    "vgg16": VGGSize(num_convs=(2, 2, 3, 3, 3)),
    "vgg19": VGGSize(num_convs=(2, 2, 4, 4, 4)),
    "vgg11_bn": VGGSize(num_convs=(1, 1, 2, 2, 2), batch_norm=True),
    "vgg13_bn": VGGSize(num_convs=(2, 2, 2, 2, 2), batch_norm=True),
    "vgg16_bn": VGGSize(num_convs=(2, 2, 3, 3, 3), batch_norm=True),
    "vgg19_bn": VGGSize(num_convs=(2, 2, 4, 4, 4), batch_norm=True),
}


def vgg_block(
    in_channels: int, out_channels: int, *, num_convs: int, batch_norm: bool = False
) -> list[nn.Module]:
    """Layers of one block: 3 x 3 convolutions that keep height and width, then pooling that halves them.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that each convolution puts out.
        num_convs: Number of convolutions.
        batch_norm: Batch normalisation between each convolution and its ReLU.
    """
    layers: list[nn.Module] = []
    for i in range(num_convs):
        layers.append(nn.Conv2d(out_channels if i else in_channels, out_channels, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return [*layers, nn.MaxPool2d(kernel_size=2, stride=2)]


class VGGNetwork(nn.Module):
    """Blocks of convolutions, and three fully connected layers.

    Args:
        size: Blocks and their widths.
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels.
        hidden_size: Width of the two hidden fully connected layers.
        dropout: Drop probability after each of them, in [0, 1).
        pooled_size: Height and width to which the last maps are pooled; None leaves them as they are.

    Raises:
        ValueError: If the images are too small: each block halves them.
    """

    stem_name = "features.0"
    head_names = ("classifier.6",)

    def __init__(
        self,
        *,
        size: VGGSize,
        in_channels: int,
        num_classes: int,
        image_size: int,
        hidden_size: int,
        dropout: float,
        pooled_size: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, 2 ** len(size.channels))
        check_positive("hidden_size", hidden_size)
        check_fraction("dropout", dropout)
        self.num_features = hidden_size
        widths = (in_channels, *size.channels)
        self.features = nn.Sequential()
        for i, num_convs in enumerate(size.num_convs):
            self.features.extend(
                vgg_block(widths[i], widths[i + 1], num_convs=num_convs, batch_norm=size.batch_norm)
            )
        self.avgpool = nn.Identity() if pooled_size is None else nn.AdaptiveAvgPool2d(pooled_size)
        self.flatten = nn.Flatten()
        side = pooled_size or image_size // 2 ** len(size.channels)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * side * side, hidden_size),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, num_classes),
        )

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
    book=("M20",),
    task="image classification",
    config="cnn/vgg11_fashion_mnist.yaml",
    tiny={
        "image_size": 32,
        "num_classes": 4,
        "hidden_size": 32,
        "dropout": 0.0,
        "init": "kaiming_uniform",
    },
)
class VGG11(ImageClassifier):
    """VGG-11 as the book trains it, with a quarter of the channels: 43,093,322 parameters.

    The number is for grey images of 224 x 224 pixels and 10 classes; other image sizes change the width of
    the first fully connected layer. The book's full-width one (128,806,154) is
    ``VGG(variant="vgg11", in_channels=1, num_classes=10)``.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 32; the
            book's is 224.
        hidden_size: Width of the two hidden fully connected layers; 4096 in book and paper.
        dropout: Drop probability after each of them, in [0, 1).
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
        self.net = VGGNetwork(
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
    tiny={"variant": "vgg11", "image_size": 32, "num_classes": 4, "hidden_size": 128, "dropout": 0.0},
    variants=VGGS,
)
class VGG(ImageClassifier):
    """The networks of the paper, under torchvision's keys (section 8.2).

    As in torchvision, convolutions start as in He et al. (2015), fully connected weights normal with
    deviation 0.01, and biases 0. The paper trains a shallow one first and starts the deeper ones from its
    weights.

    Args:
        variant: ``vgg11``, ``vgg13``, ``vgg16`` or ``vgg19`` (A, B, D and E in the paper), or one of these
            with ``_bn``, batch normalisation, behind its name.
        weights: Pretrained weights: ``torchvision:IMAGENET1K_V1`` (or another name that torchvision has for
            the variant; not ``IMAGENET1K_FEATURES``, which has no head), or a file. They expect colour images
            normalised as ImageNet's. None starts afresh.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 32.
        hidden_size: Width of the two hidden fully connected layers; 4096 in the paper and in published
            weights.
        dropout: Drop probability after each of them, in [0, 1).
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The paper's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"dropout"}

    def __init__(
        self,
        *,
        variant: str = "vgg16",
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
        check_choice("variant", variant, VGGS)
        self.net = VGGNetwork(
            size=VGGS[variant],
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            hidden_size=hidden_size,
            dropout=dropout,
            pooled_size=7,
        )
        init_parameters(self.net.classifier, "normal", zero_bias=True)
        init_convolutions(self.net)
        load_pretrained(self.net, weights, variant=variant)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
