"""AnyNet, the network whose stages can have any sizes, and the book's RegNet (section 8.8).

Radosavovic et al., 2020, arXiv:2003.13678. The network has torchvision's keys. In the book's form, of both
models here, its convolutions have biases, which the batch normalisation after each takes off again; the
canonical networks are in :mod:`zoo.cnn.regnet`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_positive
from zoo._registry import register
from zoo.layers.init import init_parameters
from zoo.layers.resnext import ResNeXtBlock, bottleneck_channels
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["AnyNet", "AnyNetNetwork", "RegNetX32"]


class AnyNetNetwork(nn.Module):
    """A stem, stages of residual blocks that halve height and width, global average pooling, a linear layer.

    Args:
        depths: Number of blocks in each stage.
        widths: Channels of each stage.
        group_widths: Channels of each group in the 3 x 3 convolutions of each stage.
        bottleneck_multipliers: Channels of the 3 x 3 convolutions of each stage as multiples of its width.
        stem_channels: Channels of the stem.
        se_ratio: Width of squeeze-and-excitation as a multiple of a block's input, or None.
        bias: Whether convolutions have biases, as in the book.
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels; any works.

    Raises:
        ValueError: If the lists differ in length or are empty, a number is not positive, a bottleneck has no
            channels, or a group width does not divide them.
    """

    stem_name = "stem.0"
    head_names = ("fc",)

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        group_widths: Sequence[int],
        bottleneck_multipliers: Sequence[float],
        stem_channels: int,
        se_ratio: float | None = None,
        bias: bool = False,
        in_channels: int,
        num_classes: int,
        image_size: int,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_positive("stem_channels", stem_channels)
        check_at_least("image_size", image_size, 1)
        _check_stages(
            depths=depths,
            widths=widths,
            group_widths=group_widths,
            bottleneck_multipliers=bottleneck_multipliers,
        )
        self.num_features = widths[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem_channels, kernel_size=3, stride=2, padding=1, bias=bias),
            nn.BatchNorm2d(stem_channels),
            nn.ReLU(inplace=True),
        )
        self.trunk_output = nn.Sequential()
        previous = stem_channels
        stages = zip(depths, widths, group_widths, bottleneck_multipliers, strict=True)
        for i, (depth, width, group_width, multiplier) in enumerate(stages, start=1):
            stage = nn.Sequential()
            for j in range(depth):
                block = ResNeXtBlock(
                    previous if j == 0 else width,
                    width,
                    group_width=group_width,
                    bottleneck_multiplier=multiplier,
                    stride=2 if j == 0 else 1,
                    bias=bias,
                    se_ratio=se_ratio,
                )
                stage.add_module(f"block{i}-{j}", block)
            self.trunk_output.add_module(f"block{i}", stage)
            previous = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        return self.flatten(self.avgpool(self.trunk_output(self.stem(x))))  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        return self.fc(self.forward_features(x))  # type: ignore[no-any-return]


def _check_stages(
    *,
    depths: Sequence[int],
    widths: Sequence[int],
    group_widths: Sequence[int],
    bottleneck_multipliers: Sequence[float],
) -> None:
    """Raise ValueError, in the names and numbers that were given, unless all stages can be built."""
    if len(depths) == 0:
        raise ValueError("depths is [], but must have at least one stage")
    lists = {
        "depths": depths,
        "widths": widths,
        "group_widths": group_widths,
        "bottleneck_multipliers": bottleneck_multipliers,
    }
    for name, values in lists.items():
        if len(values) != len(depths):
            raise ValueError(
                f"{name} is {list(values)}, but must have {len(depths)} values, one for each of depths"
            )
        for stage, value in enumerate(values, start=1):
            if not value > 0:
                raise ValueError(f"{name} is {list(values)}, but must be positive in stage {stage}")
            if value == float("inf"):
                raise ValueError(f"{name} is {list(values)}, but must be finite in stage {stage}")
    stages = zip(widths, group_widths, bottleneck_multipliers, strict=True)
    for stage, (width, group_width, multiplier) in enumerate(stages, start=1):
        channels = bottleneck_channels(width, multiplier)
        if channels == 0:
            raise ValueError(
                f"bottleneck_multipliers is {list(bottleneck_multipliers)}, but {multiplier} must leave at "
                f"least one of the {width} channels of stage {stage}"
            )
        if channels % group_width != 0:
            raise ValueError(
                f"group_widths is {list(group_widths)}, but {group_width} must divide the {channels} "
                f"channels of the bottleneck of stage {stage}"
            )


@register(
    book=("M28",),
    task="image classification",
    tiny={
        "depths": [1, 2],
        "widths": [8, 16],
        "group_widths": [1, 1],
        "bottleneck_multipliers": [1.0, 0.5],
        "stem_channels": 8,
        "image_size": 8,
        "num_classes": 4,
    },
)
class AnyNet(ImageClassifier):
    """Any network of the book's design space: stages of ResNeXt blocks of your own sizes (section 8.8).

    The defaults are RegNetX32's.

    Args:
        depths: Number of blocks in each stage; a stage halves height and width.
        widths: Channels of each stage (the book's ``channels``).
        group_widths: Channels of each group in the 3 x 3 convolutions of each stage (the book's ``groups``);
            divides their channels.
        bottleneck_multipliers: Channels of the 3 x 3 convolutions of each stage as multiples of its width
            (the book's ``bot_mul``).
        stem_channels: Channels of the stem.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 1; 96 in the book.
        init: Initialiser of the weights by name; ``xavier_uniform`` in the book, where it had no effect (see
            the errata).
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        depths: Sequence[int] = (4, 6),
        widths: Sequence[int] = (32, 80),
        group_widths: Sequence[int] = (16, 16),
        bottleneck_multipliers: Sequence[float] = (1.0, 1.0),
        stem_channels: int = 32,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 96,
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
        self.net = AnyNetNetwork(
            depths=depths,
            widths=widths,
            group_widths=group_widths,
            bottleneck_multipliers=bottleneck_multipliers,
            stem_channels=stem_channels,
            bias=True,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    book=("M28",),
    task="image classification",
    config="cnn/regnetx32_fashion_mnist.yaml",
    tiny={"image_size": 16, "num_classes": 4},
)
class RegNetX32(ImageClassifier):
    """The book's RegNetX: stages of 4 and 6 blocks, 179,290 parameters in grey (section 8.8).

    For published weights take :class:`RegNet`, for other sizes :class:`AnyNet`.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 1; 96 in the book.
        init: Initialiser of the weights by name; ``xavier_uniform`` in the book, where it had no effect (see
            the errata).
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
        image_size: int = 96,
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
        self.net = AnyNetNetwork(
            depths=(4, 6),
            widths=(32, 80),
            group_widths=(16, 16),
            bottleneck_multipliers=(1.0, 1.0),
            stem_channels=32,
            bias=True,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
