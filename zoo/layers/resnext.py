"""The residual block with a grouped convolution (section 8.6.5; Xie et al., 2017, arXiv:1611.05431).

AnyNet and RegNet consist of it. Its names are torchvision's.
"""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_positive

__all__ = ["ResNeXtBlock", "SqueezeExcitation", "bottleneck_channels"]


def bottleneck_channels(out_channels: int, bottleneck_multiplier: float) -> int:
    """Channels of the 3 x 3 convolution of a :class:`ResNeXtBlock`.

    Args:
        out_channels: Channels that go out of the block.
        bottleneck_multiplier: Channels of the convolution as a multiple of them.
    """
    return round(out_channels * bottleneck_multiplier)


class SqueezeExcitation(nn.Module):
    """Each channel times a number in (0, 1) that depends on the means of all channels.

    Hu et al., 2018, arXiv:1709.01507.

    Args:
        channels: Channels that come in and go out.
        squeeze_channels: Width of the layer between.
    """

    def __init__(self, channels: int, squeeze_channels: int) -> None:
        super().__init__()
        check_positive("channels", channels)
        check_positive("squeeze_channels", squeeze_channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze_channels, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(squeeze_channels, channels, kernel_size=1)
        self.sigmoid = nn.Sigmoid()

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The input, scaled."""
        scale = self.sigmoid(self.fc2(self.relu(self.fc1(self.avgpool(x)))))
        return scale * x  # type: ignore[no-any-return]


class ResNeXtBlock(nn.Module):
    """A 1 x 1, a grouped 3 x 3 and a 1 x 1 convolution, each with batch normalisation, beside a shortcut.

    The 3 x 3 convolution has ``out_channels * bottleneck_multiplier`` channels. Its groups are given by their
    width: 32 channels in groups of width 16 are 2 groups. (The book's argument ``groups`` is that width; the
    paper's cardinality, ``groups`` in torch, is the number.) A convolution of b channels in groups of width g
    has 9 b g weights and needs as many multiplications per pixel.

    Where the shape changes, the shortcut is a 1 x 1 convolution with batch normalisation, else the input.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        group_width: Channels of each group of the 3 x 3 convolution; divides its channels.
        bottleneck_multiplier: Channels of the 3 x 3 convolution as a multiple of ``out_channels``.
        stride: Of the 3 x 3 convolution and of the shortcut, in pixels.
        bias: Whether the convolutions have biases, as in the book.
        se_ratio: Width of squeeze-and-excitation as a multiple of ``in_channels``; None leaves it out.

    Raises:
        ValueError: If a width is not positive, no channels are left, or the group width does not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        group_width: int,
        bottleneck_multiplier: float = 1.0,
        stride: int = 1,
        bias: bool = False,
        se_ratio: float | None = None,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("out_channels", out_channels)
        check_positive("group_width", group_width)
        check_positive("bottleneck_multiplier", bottleneck_multiplier)
        mid_channels = bottleneck_channels(out_channels, bottleneck_multiplier)
        if mid_channels == 0:
            raise ValueError(
                f"bottleneck_multiplier is {bottleneck_multiplier}, but must leave at least one of "
                f"{out_channels} channels"
            )
        if mid_channels % group_width != 0:
            raise ValueError(
                f"group_width is {group_width}, but must divide the {mid_channels} channels of the bottleneck"
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["a"] = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=bias),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
        )
        layers["b"] = nn.Sequential(
            nn.Conv2d(
                mid_channels,
                mid_channels,
                kernel_size=3,
                stride=stride,
                padding=1,
                groups=mid_channels // group_width,
                bias=bias,
            ),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
        )
        if se_ratio is not None:
            layers["se"] = SqueezeExcitation(mid_channels, round(in_channels * se_ratio))
        layers["c"] = nn.Sequential(
            nn.Conv2d(mid_channels, out_channels, kernel_size=1, bias=bias), nn.BatchNorm2d(out_channels)
        )
        self.proj = None
        if stride != 1 or in_channels != out_channels:
            self.proj = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=bias),
                nn.BatchNorm2d(out_channels),
            )
        self.f = nn.Sequential(layers)
        self.activation = nn.ReLU(inplace=True)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """The sum of both ways."""
        shortcut = x if self.proj is None else self.proj(x)
        return self.activation(shortcut + self.f(x))  # type: ignore[no-any-return]
