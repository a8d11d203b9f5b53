"""AnyNet and RegNet: stages, widths by the paper's rule, equality with torchvision and with the book."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import zoo
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from tests.zoo.models import count
from zoo.cnn.anynet import AnyNetNetwork
from zoo.cnn.regnet import REGNETS, RegNetSize
from zoo.layers.resnext import ResNeXtBlock, SqueezeExcitation

# As torchvision publishes them.
COUNTS = {
    "regnet_x_400mf": 5_495_976,
    "regnet_x_800mf": 7_259_656,
    "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552,
    "regnet_x_8gf": 39_572_648,
    "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560,
    "regnet_y_400mf": 4_344_144,
    "regnet_y_800mf": 6_432_512,
    "regnet_y_1_6gf": 11_202_430,
    "regnet_y_3_2gf": 19_436_338,
    "regnet_y_8gf": 39_381_472,
    "regnet_y_16gf": 83_590_140,
    "regnet_y_32gf": 145_046_770,
    "regnet_y_128gf": 644_812_894,
}
# Depths, widths and group widths as the paper's tables of the best models have them.
PAPER = {
    "regnet_x_3_2gf": ([2, 6, 15, 2], [96, 192, 432, 1008], 48),
    "regnet_x_8gf": ([2, 5, 15, 1], [80, 240, 720, 1920], 120),
    "regnet_y_400mf": ([1, 3, 6, 6], [48, 104, 208, 440], 8),
    "regnet_y_1_6gf": ([2, 6, 17, 2], [48, 120, 336, 888], 24),
}


@pytest.mark.parametrize("variant", REGNETS)
def test_variant_has_the_published_number_of_parameters(variant: str) -> None:
    with torch.device("meta"):
        model = zoo.RegNet(variant=variant)
    assert count(model) == COUNTS[variant]


@pytest.mark.parametrize("variant", PAPER)
def test_stages_are_the_papers(variant: str) -> None:
    depths, widths, group_width = PAPER[variant]
    stages = REGNETS[variant].stages()
    assert [depth for depth, _, _ in stages] == depths
    assert [width for _, width, _ in stages] == widths
    assert {min(group_width, width) for width in widths} == {g for _, _, g in stages}


def test_two_widths_are_torchvisions_and_not_the_papers() -> None:
    """392 channels are 24.5 groups of 16, and 192 are 3.43 of 56: 3 groups would lose an eighth."""
    assert REGNETS["regnet_x_400mf"].stages() == [(1, 32, 16), (2, 64, 16), (7, 160, 16), (12, 400, 16)]
    assert REGNETS["regnet_y_8gf"].stages()[0] == (2, 224, 56)


def test_widths_by_hand() -> None:
    """Blocks would be 8, 16, 24, 32, 40 wide; nearest power of 2 times 8: 8, 16, 32 or 16, 32, 32.

    24 is 8 * 2 ** 1.58, rounded to 32; 40 is 8 * 2 ** 2.32, rounded to 32. The group of 12 does not fit 8,
    which is one group, and makes 12 of 16 too little (a quarter less), so 24; and 36 of 32.
    """
    size = RegNetSize(depth=5, initial_width=8, slope=8, step=2, group_width=12)
    assert size.stages() == [(1, 8, 8), (1, 24, 12), (3, 36, 12)]


@pytest.mark.parametrize(
    ("variant", "multiplications"), [("regnet_x_400mf", 400e6), ("regnet_y_1_6gf", 1.6e9)]
)
def test_the_name_says_the_cost(variant: str, multiplications: float) -> None:
    with torch.device("meta"):
        net = zoo.RegNet(variant=variant).net.eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2 == pytest.approx(multiplications, rel=0.05)


def network(variant: str, num_classes: int) -> AnyNetNetwork:
    """The canonical network without its initial values, which take long."""
    with torch.device("meta"):
        net = zoo.RegNet(variant=variant, num_classes=num_classes, image_size=32).net
    assert isinstance(net, AnyNetNetwork)
    return net.to_empty(device="cpu")


QUICK = ("regnet_x_400mf", "regnet_y_400mf")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "variant", [v if v in QUICK else pytest.param(v, marks=pytest.mark.slow) for v in REGNETS]
)
def test_outputs_are_torchvisions(variant: str, training: bool) -> None:
    twin = torchvision_twin(variant, num_classes=5).train(training)
    net = network(variant, 5).train(training)
    assert list(net.state_dict()) == list(twin.state_dict())
    net.load_state_dict(twin.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), twin(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dict(net.named_buffers()), dict(twin.named_buffers()), atol=1e-5, rtol=1e-5)


def test_gradients_are_torchvisions() -> None:
    twin = torchvision_twin("regnet_y_400mf", num_classes=3).train()
    net = network("regnet_y_400mf", 3).train()
    net.load_state_dict(twin.state_dict())
    x = torch.rand(4, 3, 64, 64)
    for model in (net, twin):
        model(x).square().sum().backward()
    ours, theirs = ({n: p.grad for n, p in m.named_parameters()} for m in (net, twin))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_canonical_weights_start_as_the_reference_has_them() -> None:
    net = zoo.RegNet(variant="regnet_y_400mf", image_size=32).net
    weight = net.trunk_output.block4[1].f.c[0].weight
    assert weight.var().item() == pytest.approx(2 / 440, rel=0.02)
    grouped = net.trunk_output.block4[1].f.b[0].weight
    assert grouped.var().item() == pytest.approx(2 / (9 * 440), rel=0.03)
    assert net.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not net.fc.bias.any()


# The book's form


def shapes(net: AnyNetNetwork, x: Tensor) -> list[tuple[int, ...]]:
    result = [tuple(net.stem(x).shape[1:])]
    x = net.stem(x)
    for stage in net.trunk_output:
        x = stage(x)
        result.append(tuple(x.shape[1:]))
    return result


def test_stages_of_the_books_network_at_96_pixels() -> None:
    with torch.device("meta"):
        net = zoo.RegNetX32().net
        assert shapes(net, torch.zeros(1, 1, 96, 96)) == [(32, 48, 48), (32, 24, 24), (80, 12, 12)]
    assert count(net) == 179_290
    assert [len(stage) for stage in net.trunk_output] == [4, 6]
    blocks = [block for stage in net.trunk_output for block in stage]
    assert [block.f.b[0].groups for block in blocks] == [2] * 4 + [5] * 6
    assert [block.f.b[0].stride for block in blocks] == [(2, 2)] + [(1, 1)] * 3 + [(2, 2)] + [(1, 1)] * 5
    assert [block.proj is not None for block in blocks] == [True] + [False] * 3 + [True] + [False] * 5


def test_books_network_is_the_sequence_of_section_8_8() -> None:
    """Stem, stages, mean over positions, linear layer, put together from the network's own parts."""
    model = zoo.RegNetX32(image_size=16)
    net = model.net
    stem = nn.Conv2d(1, 32, kernel_size=3, stride=2, padding=1)
    stem.load_state_dict(net.stem[0].state_dict())
    x = torch.rand(3, 1, 16, 16)
    y = torch.relu(nn.functional.batch_norm(stem(x), None, None, training=True))
    for block in [*net.trunk_output.block1, *net.trunk_output.block2]:
        assert isinstance(block, ResNeXtBlock)
        y = block(y)
    features = y.mean(dim=(2, 3))
    torch.testing.assert_close(net.forward_features(x), features, atol=1e-5, rtol=1e-5)
    assert features.shape == (3, net.num_features)
    torch.testing.assert_close(model(x), features @ net.fc.weight.T + net.fc.bias, atol=1e-5, rtol=1e-5)


def test_any_net_has_the_sizes_of_its_lists() -> None:
    net = zoo.AnyNet(
        depths=[1, 2, 3],
        widths=[8, 24, 16],
        group_widths=[2, 6, 8],
        bottleneck_multipliers=[1, 0.25, 0.5],
        stem_channels=4,
        in_channels=3,
        image_size=40,
    ).net
    assert shapes(net, torch.zeros(1, 3, 40, 40)) == [(4, 20, 20), (8, 10, 10), (24, 5, 5), (16, 3, 3)]
    grouped = [[block.f.b[0] for block in stage] for stage in net.trunk_output]
    assert [{(conv.in_channels, conv.groups) for conv in stage} for stage in grouped] == [
        {(8, 4)}, {(6, 1)}, {(8, 1)},
    ]  # fmt: skip
    assert [len(stage) for stage in grouped] == [1, 2, 3]
    assert net.num_features == 16


def test_the_books_convolutions_have_biases_and_the_canonical_ones_have_none() -> None:
    with torch.device("meta"):
        book = zoo.RegNetX32().net
        canonical = zoo.RegNet(variant="regnet_y_400mf").net
    assert all(m.bias is not None for m in book.modules() if isinstance(m, nn.Conv2d))
    squeezes = [m for m in canonical.modules() if isinstance(m, SqueezeExcitation)]
    assert len(squeezes) == 16
    of_squeezes = {conv for m in squeezes for conv in (m.fc1, m.fc2)}
    convs = [m for m in canonical.modules() if isinstance(m, nn.Conv2d)]
    assert all((m.bias is not None) == (m in of_squeezes) for m in convs)
    with torch.device("meta"):
        without = zoo.RegNet(variant="regnet_x_400mf").net
    assert not [m for m in without.modules() if isinstance(m, SqueezeExcitation)]


def test_one_pixel_is_enough_and_none_is_not() -> None:
    for model in (
        zoo.RegNetX32(image_size=1),
        zoo.RegNet(variant="regnet_x_400mf", image_size=1, num_classes=2),
    ):
        channels = model.net.stem[0].in_channels
        assert model(torch.rand(2, channels, 1, 1)).shape[0] == 2
        with pytest.raises(RuntimeError):
            model.net(torch.rand(2, channels, 0, 0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"group_widths": [8, 12]},
            "group_widths is [8, 12], but 12 must divide the 80 channels of the bottleneck of stage 2",
        ),
        (
            {"group_widths": (16, 16), "bottleneck_multipliers": (0.75, 1)},
            "group_widths is [16, 16], but 16 must divide the 24 channels of the bottleneck of stage 1",
        ),
        ({"group_widths": [0, 8]}, "group_widths is [0, 8], but must be positive in stage 1"),
        (
            {"bottleneck_multipliers": [1.0, 0.001]},
            "bottleneck_multipliers is [1.0, 0.001], but 0.001 must leave at least one of the 80 channels of "
            "stage 2",
        ),
        (
            {"bottleneck_multipliers": [1.0, float("inf")]},
            "bottleneck_multipliers is [1.0, inf], but must be finite in stage 2",
        ),
        ({"group_widths": [16]}, "group_widths is [16], but must have 2 values, one for each of depths"),
        ({"widths": [32, 80, 8]}, "widths is [32, 80, 8], but must have 2 values, one for each of depths"),
        ({"bottleneck_multipliers": []}, "bottleneck_multipliers is [], but must have 2 values"),
        ({"depths": []}, "depths is [], but must have at least one stage"),
        ({"depths": [1, 0]}, "depths is [1, 0], but must be positive in stage 2"),
        ({"widths": [32, -80]}, "widths is [32, -80], but must be positive in stage 2"),
        ({"stem_channels": 0}, "stem_channels is 0, but must be positive"),
        ({"image_size": 0}, "image_size is 0, but must be at least 1"),
    ],
)
def test_bad_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        zoo.AnyNet(**arguments)


def test_unknown_variant_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^variant is 'regnet_y_40mf', but .*did you mean regnet_y_400mf\?$"
    ):
        zoo.RegNet(variant="regnet_y_40mf")
