"""Aggregated residual networks (section 8.6.5; Xie et al., 2017, arXiv:1611.05431).

ResNets whose 3 x 3 convolutions have groups: ``32x4d`` says 32 groups, each 4 channels wide in the first
stage. The book has only the block, which it describes by the width of a group: see
:class:`zoo.layers.resnext.ResNeXtBlock`.
"""

from typing import Any

import torch

from zoo._checks import check_choice
from zoo._pretrained import load_pretrained
from zoo._registry import register
from zoo.cnn.resnet import ResNetNetwork, ResNetSize
from zoo.layers.init import init_convolutions
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["RESNEXTS", "ResNeXt"]

RESNEXTS = {
    "resnext50_32x4d": ResNetSize(num_blocks=(3, 4, 6, 3), bottleneck=True, groups=32, group_width=4),
    "resnext101_32x8d": ResNetSize(num_blocks=(3, 4, 23, 3), bottleneck=True, groups=32, group_width=8),
    "resnext101_64x4d": ResNetSize(num_blocks=(3, 4, 23, 3), bottleneck=True, groups=64, group_width=4),
}


@register(
    book=("M26",),
    task="image classification",
    tiny={"variant": "resnext50_32x4d", "image_size": 8, "num_classes": 4},
    variants=RESNEXTS,
)
class ResNeXt(ImageClassifier):
    """The residual networks with grouped convolutions, under torchvision's keys (section 8.6.5).

    Args:
        variant: ``resnext50_32x4d``, ``resnext101_32x8d`` or ``resnext101_64x4d``.
        weights: Pretrained weights: ``torchvision:IMAGENET1K_V1`` (or another name that torchvision has for
            the variant), or a file. They expect colour images normalised as ImageNet's. None starts afresh.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 1.
        zero_init_residual: Start with each block handing on its input (Goyal et al., 2017).
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The paper's SGD, for batches of 256.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"zero_init_residual"}

    def __init__(
        self,
        *,
        variant: str = "resnext50_32x4d",
        weights: str | None = None,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        zero_init_residual: bool = False,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        check_choice("variant", variant, RESNEXTS)
        self.net = ResNetNetwork(
            size=RESNEXTS[variant],
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            zero_init_residual=zero_init_residual,
        )
        init_convolutions(self.net)
        load_pretrained(self.net, weights, variant=variant)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
