"""Convolution with what follows it."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_positive

__all__ = ["ConvBlock"]


class ConvBlock(nn.Module):
    """A convolution, batch normalisation if wanted, and a ReLU.

    With batch normalisation the convolution has no bias: it would be subtracted again with the mean.

    Args:
        in_channels: Channels that come in, positive.
        out_channels: Channels that go out, positive.
        kernel_size: Height and width of the kernel in pixels, positive.
        stride: In pixels, positive.
        padding: Zeros on each side in pixels, at least 0; ``valid`` for none, or ``same`` for as many as keep
            height and width (with stride 1 only).
        batch_norm: Normalise between convolution and ReLU.
        eps: Added to the variance where it is normalised, positive.

    Raises:
        ValueError: If a number is out of its range, or ``same`` is asked for with a stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int = 1,
        padding: int | Literal["same", "valid"] = 0,
        batch_norm: bool,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("out_channels", out_channels)
        check_positive("kernel_size", kernel_size)
        check_positive("stride", stride)
        if isinstance(padding, int):
            check_at_least("padding", padding, 0)
        check_positive("eps", eps)
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            bias=not batch_norm,
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=eps) if batch_norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """Feature maps, none of them negative."""
        return self.relu(self.bn(self.conv(x)))  # type: ignore[no-any-return]
