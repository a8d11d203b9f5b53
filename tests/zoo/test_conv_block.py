"""The block of convolution, normalisation and ReLU."""

from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.layers.conv import ConvBlock


def test_two_blocks_with_pooling_between() -> None:
    """224 pixels, halved once: 32 maps of 112 x 112; (27 + 1) * 16 and (144 + 1) * 32 parameters."""
    net = nn.Sequential(
        ConvBlock(3, 16, kernel_size=3, padding=1, batch_norm=False),
        nn.MaxPool2d(2),
        ConvBlock(16, 32, kernel_size=3, padding=1, batch_norm=False),
        nn.Flatten(),
    )
    assert net(torch.zeros(2, 3, 224, 224)).shape == (2, 401_408)
    assert sum(p.numel() for p in net.parameters()) == 5088


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_block_is_convolution_then_normalisation_then_relu(batch_norm: bool, training: bool) -> None:
    block = ConvBlock(3, 4, kernel_size=5, stride=2, padding=1, batch_norm=batch_norm, eps=0.001)
    x = torch.randn(2, 3, 9, 9)
    weight, bias = block.conv.weight, block.conv.bias
    expected = F.conv2d(x, weight, bias, stride=2, padding=1)
    assert (bias is None) == batch_norm
    if batch_norm:
        assert isinstance(block.bn, nn.BatchNorm2d)
        for value in (block.bn.weight, block.bn.bias, block.bn.running_mean, block.bn.running_var):
            assert value is not None
            nn.init.uniform_(value, 0.5, 1.5)
        mean, var = block.bn.running_mean, block.bn.running_var
        if training:
            mean, var = expected.mean(dim=(0, 2, 3)), expected.var(dim=(0, 2, 3), unbiased=False)
        assert mean is not None
        assert var is not None
        scale = block.bn.weight / (var + 0.001).sqrt()
        expected = (expected - mean[:, None, None]) * scale[:, None, None] + block.bn.bias[:, None, None]
    assert expected.min() < 0
    torch.testing.assert_close(block.train(training)(x), expected.clamp(min=0), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("padding", "pixels"), [("same", 2), ("valid", 0), (2, 2), (1, 1)])
def test_padding(padding: int | Literal["same", "valid"], pixels: int) -> None:
    """A kernel of 5 takes away 4 pixels."""
    block = ConvBlock(1, 1, kernel_size=5, padding=padding, batch_norm=False)
    x = torch.rand(1, 1, 8, 8)
    expected = F.conv2d(F.pad(x, (pixels,) * 4), block.conv.weight, block.conv.bias).relu()
    assert expected.shape[2:] == (4 + 2 * pixels, 4 + 2 * pixels)
    torch.testing.assert_close(block(x), expected, atol=1e-6, rtol=1e-6)


def test_same_with_a_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="padding='same' is not supported for strided convolutions"):
        ConvBlock(1, 1, kernel_size=3, stride=2, padding="same", batch_norm=False)


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        ("in_channels", 0, "positive"),
        ("out_channels", 0, "positive"),
        ("kernel_size", 0, "positive"),
        ("stride", 0, "positive"),
        ("padding", -1, "at least 0"),
        ("eps", -1.0, "positive"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: float, must_be: str) -> None:
    arguments: dict[str, Any] = {"in_channels": 1, "out_channels": 1, "kernel_size": 3, name: value}
    with pytest.raises(ValueError, match=f"^{name} is {value}, but must be {must_be}$"):
        ConvBlock(**arguments, batch_norm=True)
