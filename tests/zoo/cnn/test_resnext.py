"""ResNeXt: torchvision's networks, and the block by group width as the book has it."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import zoo
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from tests.zoo.models import count
from zoo.cnn.resnet import Bottleneck, ResNetNetwork
from zoo.cnn.resnext import RESNEXTS
from zoo.layers.resnext import ResNeXtBlock, SqueezeExcitation

# The first two as published; the third as the second in 64 groups of 4 in place of 32 of 8, which halves the
# 9 * w * w / groups weights of the 3 x 3 convolutions.
PUBLISHED = {"resnext50_32x4d": 25_028_904, "resnext101_32x8d": 88_791_336}
HALVED = sum(9 * w * w // 64 * n for w, n in ((256, 3), (512, 4), (1024, 23), (2048, 3)))
COUNTS = {**PUBLISHED, "resnext101_64x4d": PUBLISHED["resnext101_32x8d"] - HALVED}


@pytest.mark.parametrize("variant", RESNEXTS)
def test_variant_has_the_published_number_of_parameters(variant: str) -> None:
    with torch.device("meta"):
        model = zoo.ResNeXt(variant=variant)
    assert count(model) == COUNTS[variant]
    assert model.net(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000)


slow = pytest.mark.slow


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "variant", [v if v == "resnext50_32x4d" else pytest.param(v, marks=slow) for v in RESNEXTS]
)
def test_outputs_are_torchvisions(variant: str, training: bool) -> None:
    twin = torchvision_twin(variant, num_classes=5).train(training)
    with torch.device("meta"):
        net = ResNetNetwork(size=RESNEXTS[variant], in_channels=3, num_classes=5, image_size=64)
    net = net.to_empty(device="cpu").train(training)
    assert list(net.state_dict()) == list(twin.state_dict())
    net.load_state_dict(twin.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), twin(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dict(net.named_buffers()), dict(twin.named_buffers()), atol=1e-5, rtol=1e-5)


def test_groups_keep_their_number_and_double_their_width() -> None:
    with torch.device("meta"):
        net = zoo.ResNeXt(variant="resnext101_32x8d").net
    for stage, width in zip((net.layer1, net.layer2, net.layer3, net.layer4), (8, 16, 32, 64), strict=True):
        for block in stage:
            assert isinstance(block, Bottleneck)
            assert block.conv2.groups == 32
            assert block.conv2.weight.shape == (32 * width, width, 3, 3)


class LazyBlock(nn.Module):
    """The book's block in the book's way: lazy layers, and the group's width under the name ``groups``."""

    def __init__(self, channels: int, groups: int, multiplier: float, project: bool, strides: int) -> None:
        super().__init__()
        middle = round(channels * multiplier)
        self.first = nn.LazyConv2d(middle, kernel_size=1)
        self.second = nn.LazyConv2d(middle, kernel_size=3, stride=strides, padding=1, groups=middle // groups)
        self.third = nn.LazyConv2d(channels, kernel_size=1)
        self.shortcut = nn.LazyConv2d(channels, kernel_size=1, stride=strides) if project else None
        self.norms = nn.ModuleList(nn.LazyBatchNorm2d() for _ in range(4 if project else 3))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norms[0](self.first(x)))
        y = functional.relu(self.norms[1](self.second(y)))
        y = self.norms[2](self.third(y))
        if self.shortcut is not None:
            x = self.norms[3](self.shortcut(x))
        return functional.relu(x + y)


@pytest.mark.parametrize(
    ("in_channels", "channels", "group_width", "multiplier", "stride"),
    [(32, 32, 16, 1, 1), (16, 32, 8, 0.5, 2), (32, 32, 4, 0.25, 2), (8, 24, 6, 0.5, 1)],
)
def test_block_is_the_books(
    in_channels: int, channels: int, group_width: int, multiplier: float, stride: int
) -> None:
    project = stride != 1 or in_channels != channels
    book = LazyBlock(channels, group_width, multiplier, project, stride)
    x = torch.randn(3, in_channels, 7, 7)
    with torch.no_grad():
        book(x)  # fills the lazy layers
        for p in book.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    ours = ResNeXtBlock(
        in_channels,
        channels,
        group_width=group_width,
        bottleneck_multiplier=multiplier,
        stride=stride,
        bias=True,
    )
    pairs = [(ours.f.a, book.first, 0), (ours.f.b, book.second, 1), (ours.f.c, book.third, 2)]
    if project:
        pairs.append((ours.proj, book.shortcut, 3))
    for sequence, conv, norm in pairs:
        sequence[0].load_state_dict(conv.state_dict())
        sequence[1].load_state_dict(book.norms[norm].state_dict())
    assert count(ours) == count(book)
    for training in (True, False):
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [m.train(training)(i) for m, i in zip((ours, book), inputs, strict=True)]
        torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
        assert outputs[0].shape == (3, channels, -(-7 // stride), -(-7 // stride))
        for m, output in zip((ours, book), outputs, strict=True):
            m.zero_grad()
            output.square().sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-3, rtol=1e-3)
        for sequence, conv, _ in pairs:
            torch.testing.assert_close(sequence[0].weight.grad, conv.weight.grad, atol=1e-3, rtol=1e-3)


def test_books_demonstration() -> None:
    """Section 8.6.5: 32 channels, groups 16 wide, as many channels between.

    Two 1 x 1 convolutions, one of 3 x 3 that sees 16 channels, biases, three normalisations.
    """
    block = ResNeXtBlock(32, 32, group_width=16, bias=True)
    assert count(block) == 6_944 == 2 * 32 * 32 + 9 * 16 * 32 + 3 * 32 + 3 * 2 * 32
    assert block(torch.rand(4, 32, 96, 96)).shape == (4, 32, 96, 96)
    assert block.f.b[0].weight.numel() == 4_608
    assert block.f.b[0].groups == 2
    assert block.proj is None


@pytest.mark.parametrize("group_width", [1, 2, 8, 32])
def test_cost_of_the_grouped_convolution_grows_with_the_group_width(group_width: int) -> None:
    """9 * b * g weights, and as many multiplications at each pixel."""
    conv = ResNeXtBlock(8, 32, group_width=group_width).f.b[0]
    assert conv.weight.numel() == 9 * 32 * group_width
    with FlopCounterMode(display=False) as counter:
        conv(torch.zeros(1, 32, 5, 5))
    assert counter.get_total_flops() == 2 * 25 * 9 * 32 * group_width


def test_bottleneck_saves_multiplications() -> None:
    """256 channels through 64 and back, against one 3 x 3 convolution of all 256."""
    block = ResNeXtBlock(256, 256, group_width=64, bottleneck_multiplier=0.25)
    plain = nn.Conv2d(256, 256, kernel_size=3, padding=1, bias=False)
    x = torch.zeros(1, 256, 1, 1)
    counts = []
    for module in (block, plain):
        with FlopCounterMode(display=False) as counter:
            module.eval()(x)
        counts.append(counter.get_total_flops() // 2)
    assert counts == [69_632, 589_824]


def test_groups_do_not_mix() -> None:
    """What one group sees reaches only the same group of the output."""
    conv = ResNeXtBlock(12, 12, group_width=4).f.b[0]
    x = torch.zeros(1, 12, 5, 5)
    x[:, 4:8] = 1
    changed = (conv(x) != 0).any(dim=-1).any(dim=-1).squeeze(0)
    assert changed.nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_squeeze_and_excitation_scales_channels_by_their_means() -> None:
    layer = SqueezeExcitation(6, 3)
    x = torch.randn(2, 6, 4, 5)
    means = x.mean(dim=(2, 3))
    hidden = functional.relu(functional.linear(means, layer.fc1.weight.flatten(1), layer.fc1.bias))
    scale = torch.sigmoid(functional.linear(hidden, layer.fc2.weight.flatten(1), layer.fc2.bias))
    torch.testing.assert_close(layer(x), x * scale[:, :, None, None])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_width": 12}, "group_width is 12, but must divide the 32 channels of the bottleneck"),
        (
            {"group_width": 3, "bottleneck_multiplier": 0.5},
            "group_width is 3, but must divide the 16 channels of the bottleneck",
        ),
        ({"group_width": 64}, "group_width is 64, but must divide the 32 channels of the bottleneck"),
        ({"group_width": 0}, "group_width is 0, but must be positive"),
        (
            {"group_width": 1, "bottleneck_multiplier": 0.01},
            "bottleneck_multiplier is 0.01, but must leave at least one of 32 channels",
        ),
        ({"group_width": 1, "bottleneck_multiplier": -1.0}, "bottleneck_multiplier is -1.0, but must be"),
    ],
)
def test_bad_widths_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        ResNeXtBlock(32, 32, **arguments)


def test_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^variant is 'resnext50', but must be one of resnext50_32x4d, "):
        zoo.ResNeXt(variant="resnext50")
