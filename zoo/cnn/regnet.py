"""RegNets of the paper (section 8.8; Radosavovic et al., 2020, arXiv:2003.13678).

The network is :class:`zoo.cnn.anynet.AnyNetNetwork`, without the biases that the book's convolutions have.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from zoo._checks import check_choice
from zoo._pretrained import load_pretrained
from zoo._registry import register
from zoo.cnn.anynet import AnyNetNetwork
from zoo.layers.init import init_convolutions
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["REGNETS", "RegNet", "RegNetSize"]


@dataclass(frozen=True, kw_only=True)
class RegNetSize:
    """The few numbers from which depths and widths of all stages follow.

    Attributes:
        depth: Number of blocks.
        initial_width: Channels of the first block (the paper's w_0), a multiple of 8.
        slope: By how many channels the ideal width grows from block to block (w_a).
        step: By what factor the width grows from stage to stage, before rounding (w_m).
        group_width: Channels of a group; a stage that is narrower is one group.
        se_ratio: Width of squeeze-and-excitation (the Y) as a multiple of a block's input; None without.
    """

    depth: int
    initial_width: int
    slope: float
    step: float
    group_width: int
    se_ratio: float | None = None

    def stages(self) -> list[tuple[int, int, int]]:
        """Depth, width and group width of each stage (equations 2 to 4 of the paper).

        Block j would like to be ``w_0 + w_a * j`` channels wide; it gets the nearest power of ``w_m``, times
        ``w_0``, in multiples of 8. Blocks of equal width form a stage, whose width is then rounded to a
        multiple of the group width: half a group up, and up where it would lose more than a tenth. That is
        torchvision's rule. By the paper's, which rounds half to even and has no tenth, the last stage of
        ``regnet_x_400mf`` has 384 channels in place of 400, and the first of ``regnet_y_8gf`` 168 for 224.
        """
        widths = []
        for block in range(self.depth):
            ideal = self.initial_width + self.slope * block
            power = round(math.log(ideal / self.initial_width, self.step))
            widths.append(8 * round(self.initial_width * self.step**power / 8))
        stages = []
        for width, blocks in itertools.groupby(widths):
            group_width = min(self.group_width, width)
            groups = int(width / group_width + 0.5)
            if groups * group_width < 0.9 * width:
                groups += 1
            stages.append((len(list(blocks)), groups * group_width, group_width))
        return stages


def _x(depth: int, initial_width: int, slope: float, step: float, group_width: int) -> RegNetSize:
    return RegNetSize(
        depth=depth, initial_width=initial_width, slope=slope, step=step, group_width=group_width
    )


def _y(depth: int, initial_width: int, slope: float, step: float, group_width: int) -> RegNetSize:
    return RegNetSize(
        depth=depth,
        initial_width=initial_width,
        slope=slope,
        step=step,
        group_width=group_width,
        se_ratio=0.25,
    )


REGNETS = {
    "regnet_x_400mf": _x(22, 24, 24.48, 2.54, 16),
    "regnet_x_800mf": _x(16, 56, 35.73, 2.28, 16),
    "regnet_x_1_6gf": _x(18, 80, 34.01, 2.25, 24),
    "regnet_x_3_2gf": _x(25, 88, 26.31, 2.25, 48),
    "regnet_x_8gf": _x(23, 80, 49.56, 2.88, 120),
    "regnet_x_16gf": _x(22, 216, 55.59, 2.1, 128),
    "regnet_x_32gf": _x(23, 320, 69.86, 2.0, 168),
    "regnet_y_400mf": _y(16, 48, 27.89, 2.09, 8),
    "regnet_y_800mf": _y(14, 56, 38.84, 2.4, 16),
    "regnet_y_1_6gf": _y(27, 48, 20.71, 2.65, 24),
    "regnet_y_3_2gf": _y(21, 80, 42.63, 2.66, 24),
    "regnet_y_8gf": _y(17, 192, 76.82, 2.19, 56),
    "regnet_y_16gf": _y(18, 200, 106.23, 2.48, 112),
    "regnet_y_32gf": _y(20, 232, 115.89, 2.53, 232),
    "regnet_y_128gf": _y(27, 456, 160.83, 2.52, 264),
}


@register(
    task="image classification",
    tiny={"variant": "regnet_y_400mf", "image_size": 32, "num_classes": 4},
    variants=REGNETS,
)
class RegNet(ImageClassifier):
    """The RegNetX and RegNetY networks of the paper, under torchvision's keys (section 8.8).

    Args:
        variant: ``regnet_x_400mf``, ``_800mf``, ``_1_6gf``, ``_3_2gf``, ``_8gf``, ``_16gf`` or ``_32gf``, or
            the same with ``y``, which have squeeze-and-excitation, or torchvision's ``regnet_y_128gf``. The
            number says how many multiplications an image of 224 pixels needs.
        weights: Pretrained weights: ``torchvision:IMAGENET1K_V1`` (or another name that torchvision has for
            the variant), or a file. They expect colour images normalised as ImageNet's. None starts afresh.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 1.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The paper's SGD, for batches of 128.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        variant: str = "regnet_y_400mf",
        weights: str | None = None,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-5),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        check_choice("variant", variant, REGNETS)
        depths, widths, group_widths = zip(*REGNETS[variant].stages(), strict=True)
        self.net = AnyNetNetwork(
            depths=depths,
            widths=widths,
            group_widths=group_widths,
            bottleneck_multipliers=[1.0] * len(depths),
            stem_channels=32,
            se_ratio=REGNETS[variant].se_ratio,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
        )
        init_convolutions(self.net)
        nn.init.normal_(self.net.fc.weight, std=0.01)
        nn.init.zeros_(self.net.fc.bias)
        load_pretrained(self.net, weights, variant=variant)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
