"""DenseNet (section 8.7; Huang et al., 2017, arXiv:1608.06993).

One network for the book's DenseNet and the canonical ones, which differ:

- a layer of the book's has one 3 x 3 convolution, those of the canonical ones a 1 x 1 convolution before it;
- the book's convolutions have biases.

The canonical ones have torchvision's keys; files with its older ones can be loaded too.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo._checks import check_at_least, check_choice, check_fraction, check_positive
from zoo._pretrained import load_pretrained
from zoo._registry import register
from zoo.layers.init import init_convolutions, init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = [
    "DENSENETS",
    "BottleneckLayer",
    "DenseBlock",
    "DenseLayer",
    "DenseNet",
    "DenseNetNetwork",
    "ImageNetDenseNet",
]


@dataclass(frozen=True, kw_only=True)
class DenseNetSize:
    """What tells the variants apart.

    Attributes:
        num_layers: Layers in each of the four blocks.
        growth_rate: Channels that each layer adds.
        stem_channels: Channels of the first convolution.
    """

    num_layers: tuple[int, int, int, int]
    growth_rate: int = 32
    stem_channels: int = 64


BOOK = DenseNetSize(num_layers=(4, 4, 4, 4))
DENSENETS = {
    "densenet121": DenseNetSize(num_layers=(6, 12, 24, 16)),
    "densenet161": DenseNetSize(num_layers=(6, 12, 36, 24), growth_rate=48, stem_channels=96),
    "densenet169": DenseNetSize(num_layers=(6, 12, 32, 32)),
    "densenet201": DenseNetSize(num_layers=(6, 12, 48, 32)),
}


class DenseLayer(nn.Module):
    """Normalisation, ReLU and a 3 x 3 convolution on all maps before it (the book's ``conv_block``).

    Args:
        in_channels: Channels that come in, of all maps together.
        growth_rate: Channels that go out.
    """

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, growth_rate, kernel_size=3, padding=1)

    def forward(
        self, *maps: Float[Tensor, "batch _ height width"]
    ) -> Float[Tensor, "batch growth_rate height width"]:
        """New maps."""
        return self.conv1(self.relu1(self.norm1(torch.cat(maps, dim=1))))  # type: ignore[no-any-return]


class BottleneckLayer(nn.Module):
    """As :class:`DenseLayer`, but before the 3 x 3 convolution a 1 x 1 to four times the growth rate.

    Args:
        in_channels: Channels that come in, of all maps together.
        growth_rate: Channels that go out.
        dropout: Drop probability of what goes out, in [0, 1).
        memory_efficient: Keep neither the concatenated maps nor what they become before the first
            convolution for the backward pass, but compute them again there.
    """

    def __init__(self, in_channels: int, growth_rate: int, *, dropout: float, memory_efficient: bool) -> None:
        super().__init__()
        self.memory_efficient = memory_efficient
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth_rate, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth_rate, growth_rate, kernel_size=3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def _first_half(self, *maps: Tensor) -> Tensor:
        out: Tensor = self.conv1(self.relu1(self.norm1(torch.cat(maps, dim=1))))
        return out

    def _once_and_again(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Surroundings of the first computation and of the second, which must not count its batch again."""
        return nullcontext(), _without_counting(self.norm1)

    def forward(
        self, *maps: Float[Tensor, "batch _ height width"]
    ) -> Float[Tensor, "batch growth_rate height width"]:
        """New maps."""
        if not (self.memory_efficient and torch.is_grad_enabled()):
            out = self._first_half(*maps)
        elif torch.compiler.is_compiling():  # traced with its gradients, the batch counts once
            out = checkpoint(self._first_half, *maps, use_reentrant=False)
        else:
            out = checkpoint(self._first_half, *maps, use_reentrant=False, context_fn=self._once_and_again)
        return self.dropout(self.conv2(self.relu2(self.norm2(out))))  # type: ignore[no-any-return]


@contextmanager
def _without_counting(norm: nn.BatchNorm2d) -> Iterator[None]:
    """In training, a normalisation whose running statistics stay as they are; its outputs are the same."""
    momentum, batches = norm.momentum, norm.num_batches_tracked
    norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        norm.momentum, norm.num_batches_tracked = momentum, batches


class DenseBlock(nn.ModuleDict):
    """Layers that each see the block's input and the outputs of all layers before them.

    Args:
        layers: The layers, in order; the i-th takes i times the growth rate more channels than the first.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__({f"denselayer{i}": layer for i, layer in enumerate(layers, start=1)})

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """The input and all new maps, in this order."""
        maps = [x]
        for layer in self.values():
            maps.append(layer(*maps))
        return torch.cat(maps, dim=1)


def transition(in_channels: int, *, bias: bool) -> nn.Sequential:
    """What halves channels, height and width between two blocks (the book's ``transition_block``)."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, in_channels // 2, kernel_size=1, bias=bias),
            pool=nn.AvgPool2d(kernel_size=2, stride=2),
        )
    )


class DenseNetNetwork(nn.Module):
    """A stem, four dense blocks with transitions between them, global average pooling, one linear layer.

    Args:
        size: Layers and their widths.
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels, at least 29.
        bottleneck: Layers with a 1 x 1 convolution, and no biases but the last layer's; otherwise the book's.
        dropout: Drop probability after each bottleneck layer, in [0, 1).
        memory_efficient: Whether bottleneck layers compute again what the backward pass needs.

    Raises:
        ValueError: If the images are too small for three transitions.
    """

    stem_name = "features.conv0"
    head_names = ("classifier",)

    def __init__(
        self,
        *,
        size: DenseNetSize,
        in_channels: int,
        num_classes: int,
        image_size: int,
        bottleneck: bool = True,
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, 29)
        check_fraction("dropout", dropout)

        def layer(channels: int) -> nn.Module:
            if not bottleneck:
                return DenseLayer(channels, size.growth_rate)
            return BottleneckLayer(
                channels, size.growth_rate, dropout=dropout, memory_efficient=memory_efficient
            )

        bias = not bottleneck
        channels = size.stem_channels
        modules: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(in_channels, channels, kernel_size=7, stride=2, padding=3, bias=bias),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        for i, num_layers in enumerate(size.num_layers, start=1):
            if i > 1:
                modules[f"transition{i - 1}"] = transition(channels, bias=bias)
                channels //= 2
            modules[f"denseblock{i}"] = DenseBlock(
                [layer(channels + j * size.growth_rate) for j in range(num_layers)]
            )
            channels += num_layers * size.growth_rate
        modules["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(modules)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.num_features = channels
        self.classifier = nn.Linear(channels, num_classes)

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        return self.flatten(self.avgpool(self.relu(self.features(x))))  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        return self.classifier(self.forward_features(x))  # type: ignore[no-any-return]


@register(
    book=("M27",),
    task="image classification",
    config="cnn/densenet_fashion_mnist.yaml",
    tiny={"image_size": 29, "num_classes": 4},
)
class DenseNet(ImageClassifier):
    """The book's DenseNet, four layers in each of four blocks: 758,226 parameters in grey.

    For published weights take :class:`ImageNetDenseNet`.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 29; 96 in the book.
        init: Initialiser of the weights by name; ``xavier_uniform`` is what the book asks for (and does not
            get: see the errata).
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
        self.net = DenseNetNetwork(
            size=BOOK,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            bottleneck=False,
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    task="image classification",
    tiny={"variant": "densenet121", "image_size": 29, "num_classes": 4},
    variants=DENSENETS,
)
class ImageNetDenseNet(ImageClassifier):
    """The densely connected networks of the paper, under torchvision's keys (section 8.7).

    Args:
        variant: ``densenet121``, ``densenet161``, ``densenet169`` or ``densenet201``.
        weights: Pretrained weights: ``torchvision:IMAGENET1K_V1``, or a file. They expect colour images
            normalised as ImageNet's. None starts afresh.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 29.
        dropout: Drop probability after each layer of the blocks, in [0, 1); 0.2 in the paper where images
            are not augmented.
        memory_efficient: In training, keep less for the backward pass and compute it again there: less
            memory for more time (Pleiss et al., 2017, arXiv:1707.06990). What is learned is the same.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The paper's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"dropout", "memory_efficient"}

    def __init__(
        self,
        *,
        variant: str = "densenet121",
        weights: str | None = None,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        dropout: float = 0.0,
        memory_efficient: bool = False,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(
            p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
        ),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        check_choice("variant", variant, DENSENETS)
        self.net = DenseNetNetwork(
            size=DENSENETS[variant],
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            dropout=dropout,
            memory_efficient=memory_efficient,
        )
        init_convolutions(self.net, mode="fan_in")
        nn.init.zeros_(self.net.classifier.bias)
        load_pretrained(self.net, weights, variant=variant, rename=newer_key)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


def newer_key(key: str) -> str:
    """A layer's key as torchvision spells it now: ``norm1`` where files from before have ``norm.1``."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)
