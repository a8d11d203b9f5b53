"""GoogLeNet (section 8.4; Szegedy et al., 2014, arXiv:1409.4842).

One network for the book's GoogLeNet and the canonical one, which differ:

- The book's has biases and no normalisation; the canonical one, as torchvision's, whose keys are used, has
  batch normalisation, which is younger than the paper.
- In the canonical one the third branch has a kernel of 3 pixels where paper and book have 5, as the published
  weights were trained.
- Pooling halves the book's maps with padding, the canonical one's without, rounding up.
- The book's has neither the auxiliary heads of the paper nor its dropout. The canonical auxiliary heads pool
  adaptively, so that images may have other sizes than the paper's 224 pixels.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from datamodules.interface.images import NORMALIZATIONS
from zoo._checks import check_at_least, check_fraction, check_positive
from zoo._registry import register
from zoo.layers.conv import ConvBlock
from zoo.layers.init import init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["CANONICAL", "AuxiliaryHead", "GoogLeNet", "GoogLeNetNetwork", "GoogLeNetOutputs", "Inception"]


@dataclass(frozen=True, kw_only=True)
class GoogLeNetStyle:
    """What tells the two apart.

    Attributes:
        batch_norm: Batch normalisation (with an epsilon of 0.001) after each convolution, in place of a bias.
        large_kernel: Height and width of the third branch's kernel in pixels, an odd number.
        ceil_mode: Pooling has no padding and rounds up, and the last has a window of 2 pixels; otherwise all
            have windows of 3 and a padding of 1.
        smallest: Least height and width of images in pixels.
    """

    batch_norm: bool
    large_kernel: int
    ceil_mode: bool
    smallest: int

    def conv(
        self, in_channels: int, out_channels: int, *, kernel_size: int = 1, stride: int = 1
    ) -> ConvBlock:
        """A convolution that keeps height and width, but for its stride, with what follows it."""
        return ConvBlock(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            batch_norm=self.batch_norm,
            eps=0.001,
        )

    def pool(self, *, last: bool = False) -> nn.MaxPool2d:
        """Pooling that halves height and width."""
        if self.ceil_mode:
            return nn.MaxPool2d(kernel_size=2 if last else 3, stride=2, ceil_mode=True)
        return nn.MaxPool2d(kernel_size=3, stride=2, padding=1)


BOOK = GoogLeNetStyle(batch_norm=False, large_kernel=5, ceil_mode=False, smallest=1)
CANONICAL = GoogLeNetStyle(batch_norm=True, large_kernel=3, ceil_mode=True, smallest=15)


class Inception(nn.Module):
    """Four branches side by side, their outputs one after the other.

    Args:
        in_channels: Channels that come in.
        c1: Channels of the 1 x 1 convolution.
        c2: Channels of a 1 x 1 convolution and of the 3 x 3 convolution after it.
        c3: Channels of a 1 x 1 convolution and of the large convolution after it.
        c4: Channels of the 1 x 1 convolution after 3 x 3 pooling.
        style: Normalisation and size of the large kernel.
    """

    def __init__(
        self,
        in_channels: int,
        c1: int,
        c2: tuple[int, int],
        c3: tuple[int, int],
        c4: int,
        *,
        style: GoogLeNetStyle,
    ) -> None:
        super().__init__()
        self.branch1 = style.conv(in_channels, c1)
        self.branch2 = nn.Sequential(style.conv(in_channels, c2[0]), style.conv(*c2, kernel_size=3))
        self.branch3 = nn.Sequential(
            style.conv(in_channels, c3[0]), style.conv(*c3, kernel_size=style.large_kernel)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1), style.conv(in_channels, c4)
        )

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Maps of all branches: c1 + c2[1] + c3[1] + c4."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class NormalisedByHalf(nn.Module):
    """Brings colour images normalised as ImageNet's to those normalised with mean and deviation 0.5."""

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """(image * std + mean - 0.5) / 0.5, if ``image`` is what it is given."""
        # Numbers, not tensors: these would be lost where a network is built without memory at first.
        channels = [
            x[:, i : i + 1] * (std / 0.5) + (mean - 0.5) / 0.5
            for i, (mean, std) in enumerate(zip(*NORMALIZATIONS["imagenet"], strict=True))
        ]
        return torch.cat(channels, dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier on maps from the middle, so that gradients reach the first layers in training.

    Args:
        in_channels: Channels that come in.
        num_classes: Number of classes.
        dropout: Drop probability before the last layer, in [0, 1).
        style: Normalisation.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float, style: GoogLeNetStyle) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.conv = style.conv(in_channels, 128)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        x = self.flatten(self.conv(self.avgpool(x)))
        return self.fc2(self.dropout(self.relu(self.fc1(x))))  # type: ignore[no-any-return]


class GoogLeNetOutputs(NamedTuple):
    """What the network with auxiliary heads says in training, each (batch, num_classes)."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class GoogLeNetNetwork(nn.Module):
    """A stem of three convolutions, nine inception blocks, global average pooling, one fully connected layer.

    Args:
        style: Which of the two.
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels.
        aux_logits: Have the two auxiliary heads.
        transform_input: Take colour images normalised as ImageNet's, and shift and scale them to those
            normalised with mean and deviation 0.5.
        dropout: Drop probability before the last layer, in [0, 1).
        dropout_aux: The same in the auxiliary heads.

    Raises:
        ValueError: If the images are too small, or the input is to be transformed and has no three channels.
    """

    stem_name = "conv1.conv"
    num_features = 1024

    def __init__(
        self,
        *,
        style: GoogLeNetStyle,
        in_channels: int,
        num_classes: int,
        image_size: int,
        aux_logits: bool = False,
        transform_input: bool = False,
        dropout: float = 0.0,
        dropout_aux: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, style.smallest)
        check_fraction("dropout", dropout)
        check_fraction("dropout_aux", dropout_aux)
        if transform_input and in_channels != 3:
            raise ValueError(
                f"transform_input is True, but must be False where in_channels is {in_channels}: it takes "
                "red, green and blue"
            )
        self.head_names = ("fc", "aux1.fc2", "aux2.fc2") if aux_logits else ("fc",)
        inception = functools.partial(Inception, style=style)

        self.transform = NormalisedByHalf() if transform_input else nn.Identity()
        self.conv1 = style.conv(in_channels, 64, kernel_size=7, stride=2)
        self.maxpool1 = style.pool()
        self.conv2 = style.conv(64, 64)
        self.conv3 = style.conv(64, 192, kernel_size=3)
        self.maxpool2 = style.pool()
        self.inception3a = inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = style.pool()
        self.inception4a = inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = style.pool(last=True)
        self.inception5a = inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = inception(832, 384, (192, 384), (48, 128), 128)
        self.aux1, self.aux2 = (
            AuxiliaryHead(width, num_classes, dropout=dropout_aux, style=style) if aux_logits else None
            for width in (512, 528)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.num_features, num_classes)

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the last layer, the first auxiliary head and the second one see."""
        x = self.maxpool1(self.conv1(self.transform(x)))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        early = self.inception4a(x)
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        x = self.maxpool4(self.inception4e(late))
        x = self.inception5b(self.inception5a(x))
        return self.dropout(self.flatten(self.avgpool(x))), early, late

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        return self._features(x)[0]

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_classes"] | GoogLeNetOutputs:
        """Logits; in training those of the auxiliary heads too, if there are such."""
        features, early, late = self._features(x)
        logits: Tensor = self.fc(features)
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return GoogLeNetOutputs(logits, self.aux2(late), self.aux1(early))
        return logits


@register(
    book=("M22",),
    task="image classification",
    config="cnn/googlenet_fashion_mnist.yaml",
    tiny={"image_size": 8, "num_classes": 4},
)
class GoogLeNet(ImageClassifier):
    """The book's GoogLeNet, without normalisation and auxiliary heads: 5,977,530 parameters in grey.

    For published weights take :class:`~zoo.cnn.imagenet_googlenet.ImageNetGoogLeNet`.

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
        self.net = GoogLeNetNetwork(
            style=BOOK, in_channels=in_channels, num_classes=num_classes, image_size=image_size
        )
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
