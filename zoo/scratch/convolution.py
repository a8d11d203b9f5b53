"""Convolution and pooling from scratch (sections 7.2 to 7.5), made of tensor operations alone.

As everywhere in deep learning, the convolution is a cross-correlation: the kernel is not mirrored. Where the
book shifts a window in a loop, all windows are taken at once here, as a view that copies nothing.

Sizes are in pixels, one number for both directions or a pair (height, width). Padding is on each side; the
padding ``"valid"`` is none, and ``"same"`` is as much as keeps the size, with an odd total's odd pixel at the
end, as torch has it. With n pixels, a kernel of k, padding p on each side and stride s, the output has
``floor((n - k + 2p) / s) + 1`` pixels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_positive

__all__ = ["Conv2D", "corr2d", "corr2d_1x1", "corr2d_multi_in", "corr2d_multi_in_out", "pool2d"]

Size = int | tuple[int, int]
Padding = int | tuple[int, int] | str


def _pair(name: str, size: Size, minimum: int) -> tuple[int, int]:
    """Height and width of a size."""
    height, width = (size, size) if isinstance(size, int) else size
    check_at_least(name, min(height, width), minimum)
    return height, width


def _sides(
    padding: Padding, kernel: tuple[int, int], stride: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding before and after, for the height and for the width."""
    if not isinstance(padding, str):
        vertical, horizontal = _pair("padding", padding, 0)
        return (vertical, vertical), (horizontal, horizontal)
    if padding not in ("same", "valid"):
        raise ValueError(f"padding is {padding!r}, but must be 'same', 'valid' or a number of pixels")
    if padding == "valid":
        return (0, 0), (0, 0)
    if stride != (1, 1):
        raise ValueError(f"stride is {stride}, but must be 1 with padding 'same'")
    height, width = kernel
    return ((height - 1) // 2, height // 2), ((width - 1) // 2, width // 2)


def _windows(
    x: Float[Tensor, "*batch height width"],
    kernel: tuple[int, int],
    stride: Size,
    padding: Padding,
    fill: float = 0.0,
) -> Float[Tensor, "*batch out_height out_width kernel_height kernel_width"]:
    """All positions of a kernel on an image, padded with ``fill``."""
    strides = _pair("stride", stride, 1)
    (top, bottom), (left, right) = _sides(padding, kernel, strides)
    height, width = x.shape[-2:]
    if top or bottom or left or right:
        padded = x.new_full((*x.shape[:-2], top + height + bottom, left + width + right), fill)
        padded[..., top : top + height, left : left + width] = x
        x = padded
    if x.shape[-2] < kernel[0] or x.shape[-1] < kernel[1]:
        raise ValueError(
            f"the kernel is {kernel[0]}x{kernel[1]}, but must fit into the padded image, "
            f"{x.shape[-2]}x{x.shape[-1]}"
        )
    return x.unfold(-2, kernel[0], strides[0]).unfold(-2, kernel[1], strides[1])


def corr2d(
    x: Float[Tensor, "height width"],
    kernel: Float[Tensor, "kernel_height kernel_width"],
    *,
    stride: Size = 1,
    padding: Padding = 0,
) -> Float[Tensor, "out_height out_width"]:
    """Cross-correlation of one image with one kernel (section 7.2.1).

    Args:
        x: Image of one channel.
        kernel: Kernel.
        stride: Shift of the window, at least 1.
        padding: Zeros on each side, at least 0, or ``"same"`` or ``"valid"``.

    Raises:
        ValueError: If stride or padding is out of its range, or the kernel larger than the padded image.
    """
    windows = _windows(x, (kernel.shape[0], kernel.shape[1]), stride, padding)
    return (windows * kernel).sum(dim=(-2, -1))


def corr2d_multi_in(
    x: Float[Tensor, "in_channels height width"],
    kernel: Float[Tensor, "in_channels kernel_height kernel_width"],
    *,
    stride: Size = 1,
    padding: Padding = 0,
) -> Float[Tensor, "out_height out_width"]:
    """Sum of the channels' cross-correlations, each with its own slice of the kernel (section 7.4.1).

    Args:
        x: Image.
        kernel: One kernel for each channel.
        stride: As in :func:`corr2d`.
        padding: As in :func:`corr2d`.

    Raises:
        ValueError: As in :func:`corr2d`.
    """
    channels = [corr2d(c, k, stride=stride, padding=padding) for c, k in zip(x, kernel, strict=True)]
    return torch.stack(channels).sum(dim=0)


def corr2d_multi_in_out(
    x: Float[Tensor, "batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels kernel_height kernel_width"],
    bias: Float[Tensor, " out_channels"] | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
) -> Float[Tensor, "batch out_channels out_height out_width"]:
    """What a convolutional layer computes (section 7.4.2): a row for each window, times a matrix.

    Args:
        x: Images.
        weight: One kernel over all input channels for each output channel.
        bias: Added to each output channel; None for none.
        stride: As in :func:`corr2d`.
        padding: As in :func:`corr2d`.

    Raises:
        ValueError: As in :func:`corr2d`.
    """
    windows = _windows(x, (weight.shape[2], weight.shape[3]), stride, padding)
    rows = windows.permute(0, 2, 3, 1, 4, 5).flatten(3)  # (batch, out_height, out_width, numbers in a window)
    output = rows @ weight.flatten(1).T
    return (output if bias is None else output + bias).permute(0, 3, 1, 2)


def corr2d_1x1(
    x: Float[Tensor, "batch in_channels height width"],
    weight: Float[Tensor, "out_channels in_channels"],
    bias: Float[Tensor, " out_channels"] | None = None,
) -> Float[Tensor, "batch out_channels height width"]:
    """Convolution with 1x1 kernels: the same linear layer at every pixel, one matrix product (section 7.4.3).

    Args:
        x: Images.
        weight: The kernels, without their two dimensions of length 1.
        bias: Added to each output channel; None for none.
    """
    output = weight @ x.flatten(2)
    if bias is not None:
        output = output + bias[:, None]
    return output.reshape(-1, len(weight), x.shape[2], x.shape[3])


def pool2d(
    x: Float[Tensor, "*batch height width"],
    kernel_size: Size,
    *,
    mode: str = "max",
    stride: Size = 1,
    padding: Padding = 0,
) -> Float[Tensor, "*batch out_height out_width"]:
    """Largest value or mean of each window (section 7.5).

    Padding is minus infinity for the largest value, and zeros that count for the mean, as in torch.

    Args:
        x: Images; each channel is pooled by itself.
        kernel_size: Size of the window (the book's ``pool_size``), at least 1.
        mode: ``max`` or ``avg``.
        stride: Shift of the window, at least 1. It is 1 as in the book, where torch takes the window's size.
        padding: As in :func:`corr2d`, but at most half the window's size, so that none is all padding.

    Raises:
        ValueError: If an argument is out of its range, or the window larger than the padded image.
    """
    if mode not in ("max", "avg"):
        raise ValueError(f"mode is {mode!r}, but must be 'max' or 'avg'")
    kernel = _pair("kernel_size", kernel_size, 1)
    if not isinstance(padding, str):
        for p, k in zip(_pair("padding", padding, 0), kernel, strict=True):
            if p > k // 2:
                raise ValueError(f"padding is {p}, but must be at most half of kernel_size, {k}")
    if mode == "max":
        return _windows(x, kernel, stride, padding, fill=-torch.inf).amax(dim=(-2, -1))
    return _windows(x, kernel, stride, padding).mean(dim=(-2, -1))


class Conv2D(nn.Module):
    """Convolutional layer from scratch, with ``nn.Conv2d``'s weights and their names (section 7.2.2).

    Weights and biases are drawn as torch draws them, uniformly within ``1 / sqrt(inputs)`` of 0.

    Args:
        in_channels: Input channels, positive.
        out_channels: Output channels, positive.
        kernel_size: Size of the kernel, at least 1.
        stride: As in :func:`corr2d`.
        padding: As in :func:`corr2d`.
        bias: Whether each output channel has a bias.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("out_channels", out_channels)
        height, width = _pair("kernel_size", kernel_size, 1)
        _sides(padding, (height, width), _pair("stride", stride, 1))
        self.stride = stride
        self.padding = padding
        bound = (in_channels * height * width) ** -0.5
        self.weight = nn.Parameter(bound * (2 * torch.rand(out_channels, in_channels, height, width) - 1))
        self.bias = nn.Parameter(bound * (2 * torch.rand(out_channels) - 1)) if bias else None

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """The layer's output."""
        return corr2d_multi_in_out(x, self.weight, self.bias, stride=self.stride, padding=self.padding)
