"""Residual networks (section 8.6; He et al., 2016, arXiv:1512.03385).

One network for the book's ResNet-18 and the canonical ones, which differ in small things:

- the book's convolutions have biases, and its shortcuts no batch normalisation;
- the canonical bottleneck has its stride in the 3 x 3 convolution, as torchvision, whose keys are used, not
  in the first 1 x 1 as the paper.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_choice, check_positive
from zoo._pretrained import load_pretrained
from zoo._registry import register
from zoo.layers.init import init_convolutions, init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["RESNETS", "BasicBlock", "Bottleneck", "ResNet", "ResNet18", "ResNet18Small", "ResNetNetwork"]


@dataclass(frozen=True, kw_only=True)
class ResNetSize:
    """What tells the variants apart.

    Attributes:
        num_blocks: Blocks in each of the four stages.
        bottleneck: Blocks of three convolutions in place of two.
        groups: Groups of the bottleneck's 3 x 3 convolution (the cardinality of ResNeXt).
        group_width: Channels of each group in the first stage; doubled from stage to stage.
    """

    num_blocks: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    group_width: int = 64


RESNETS = {
    "resnet18": ResNetSize(num_blocks=(2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetSize(num_blocks=(3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetSize(num_blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNetSize(num_blocks=(3, 4, 23, 3), bottleneck=True),
    "resnet152": ResNetSize(num_blocks=(3, 8, 36, 3), bottleneck=True),
}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (the book's ``Residual``).

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Of the first convolution and of the shortcut, in pixels.
        bias: Whether the convolutions have biases.
        shortcut: What brings the input to the output's shape; None hands it on as it is.
    """

    expansion = 1

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, bias: bool, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = shortcut

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The normalisation before the addition."""
        return self.bn2

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """The sum of both ways."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """A 1 x 1, a (grouped) 3 x 3 and a 1 x 1 convolution beside a shortcut.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        mid_channels: Channels of the 3 x 3 convolution.
        stride: Of the 3 x 3 convolution and of the shortcut, in pixels.
        groups: Groups of the 3 x 3 convolution; divides ``mid_channels``.
        shortcut: What brings the input to the output's shape; None hands it on as it is.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        mid_channels: int,
        stride: int,
        groups: int,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.conv2 = nn.Conv2d(
            mid_channels, mid_channels, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False
        )
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.conv3 = nn.Conv2d(mid_channels, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The normalisation before the addition."""
        return self.bn3

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """The sum of both ways."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


class ResNetNetwork(nn.Module):
    """A stem, four stages of residual blocks, global average pooling and one fully connected layer.

    Args:
        size: Blocks and their widths.
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels; any works.
        small_stem: A 3 x 3 convolution of stride 1 without pooling, for images of about 32 pixels, in place
            of a 7 x 7 of stride 2 with pooling.
        book: Convolutions with biases, and shortcuts without batch normalisation, as in the book.
        zero_init_residual: Start with a last normalisation of scale 0 in each block, which then hands on its
            (non-negative) input as it is.
    """

    stem_name = "conv1"
    head_names = ("fc",)

    def __init__(
        self,
        *,
        size: ResNetSize,
        in_channels: int,
        num_classes: int,
        image_size: int,
        small_stem: bool = False,
        book: bool = False,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, 1)
        self.size, self.book = size, book
        expansion = Bottleneck.expansion if size.bottleneck else BasicBlock.expansion
        self.num_features = 512 * expansion
        if small_stem:
            self.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=book)
        else:
            self.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=book)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_stem else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        widths = [64, *(width * expansion for width in (64, 128, 256, 512))]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._stage(widths[i], widths[i + 1], stage=i, num_blocks=n)
            for i, n in enumerate(size.num_blocks)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(self.num_features, num_classes)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    nn.init.zeros_(module.last_norm.weight)

    def _stage(self, in_channels: int, out_channels: int, *, stage: int, num_blocks: int) -> nn.Sequential:
        """Blocks of one width; the first halves height and width, except in the first stage."""
        stride = 1 if stage == 0 else 2
        shortcut = None
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=self.book)
            norm = [] if self.book else [nn.BatchNorm2d(out_channels)]
            shortcut = nn.Sequential(conv, *norm)
        blocks = [self._block(in_channels, out_channels, stage=stage, stride=stride, shortcut=shortcut)]
        blocks += [
            self._block(out_channels, out_channels, stage=stage, stride=1, shortcut=None)
            for _ in range(1, num_blocks)
        ]
        return nn.Sequential(*blocks)

    def _block(
        self, in_channels: int, out_channels: int, *, stage: int, stride: int, shortcut: nn.Module | None
    ) -> nn.Module:
        if not self.size.bottleneck:
            return BasicBlock(in_channels, out_channels, stride=stride, bias=self.book, shortcut=shortcut)
        return Bottleneck(
            in_channels,
            out_channels,
            mid_channels=self.size.groups * self.size.group_width * 2**stage,
            stride=stride,
            groups=self.size.groups,
            shortcut=shortcut,
        )

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.flatten(self.avgpool(x))  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        return self.fc(self.forward_features(x))  # type: ignore[no-any-return]


@register(
    book=("M25",),
    task="image classification",
    config="cnn/resnet18_fashion_mnist.yaml",
    tiny={"image_size": 16, "num_classes": 4},
)
class ResNet18(ImageClassifier):
    """The book's ResNet-18, with biased convolutions and plain shortcuts: 11,178,378 parameters in grey.

    For published weights take :class:`ResNet` with ``variant="resnet18"``.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 1; 96 in the book.
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
        image_size: int = 96,
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
        self.net = ResNetNetwork(
            size=RESNETS["resnet18"],
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            book=True,
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    book=("M49", "M50", "M56"),
    task="image classification",
    config="cnn/resnet18_small_fashion_mnist.yaml",
    tiny={"image_size": 8, "num_classes": 4},
)
class ResNet18Small(ImageClassifier):
    """ResNet-18 for images of 28 to 32 pixels (sections 13.6, 14.1 and 14.13): 11,175,818 parameters in grey.

    As the book's ResNet-18, but the stem neither strides nor pools.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 1.
        init: Initialiser of the weights by name; the book's is ``normal`` in 13.6, ``xavier_uniform`` in 14.1
            (on the first and last layer alone, since the others have no weights yet: see the errata) and
            ``default`` in 14.13.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The book's SGD of 13.6, for one device.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        init: str = "normal",
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
        self.net = ResNetNetwork(
            size=RESNETS["resnet18"],
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            small_stem=True,
            book=True,
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    task="image classification",
    tiny={"variant": "resnet18", "image_size": 16, "num_classes": 4},
    variants=RESNETS,
)
class ResNet(ImageClassifier):
    """The residual networks of the paper, under torchvision's keys (section 8.6).

    Args:
        variant: ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101`` or ``resnet152``.
        weights: Pretrained weights: ``torchvision:IMAGENET1K_V1`` (or another name that torchvision has for
            the variant), or a file. They expect colour images normalised as ImageNet's. None starts afresh.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 1.
        zero_init_residual: Start with each block handing on its input (Goyal et al., 2017).
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The paper's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"zero_init_residual"}

    def __init__(
        self,
        *,
        variant: str = "resnet50",
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
        check_choice("variant", variant, RESNETS)
        self.net = ResNetNetwork(
            size=RESNETS[variant],
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            zero_init_residual=zero_init_residual,
        )
        init_convolutions(self.net)
        load_pretrained(self.net, weights, variant=variant)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
