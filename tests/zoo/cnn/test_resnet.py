"""Residual networks: shapes, counts, equality with torchvision, and the book's block."""

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from zoo.cnn.resnet import RESNETS, BasicBlock, Bottleneck, ResNetNetwork

# As published; scope of the zoo.
COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.mark.parametrize("variant", RESNETS)
def test_variant_has_the_published_number_of_parameters(variant: str) -> None:
    with torch.device("meta"):
        model = zoo.ResNet(variant=variant)
    assert sum(p.numel() for p in model.parameters()) == COUNTS[variant]
    assert model.net(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("variant", RESNETS)
@pytest.mark.parametrize("training", [False, True])
def test_outputs_are_torchvisions(variant: str, training: bool) -> None:
    twin = torchvision_twin(variant, num_classes=5).train(training)
    net = ResNetNetwork(size=RESNETS[variant], in_channels=3, num_classes=5, image_size=64).train(training)
    assert list(net.state_dict()) == list(twin.state_dict())
    net.load_state_dict(twin.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), twin(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dict(net.named_buffers()), dict(twin.named_buffers()), atol=1e-5, rtol=1e-5)


def test_gradients_are_torchvisions() -> None:
    twin = torchvision_twin("resnet18", num_classes=3).train()
    net = ResNetNetwork(size=RESNETS["resnet18"], in_channels=3, num_classes=3, image_size=64)
    net.load_state_dict(twin.state_dict())
    x = torch.rand(4, 3, 64, 64)
    for network in (net, twin):
        network(x).square().sum().backward()
    ours, theirs = ({n: p.grad for n, p in m.named_parameters()} for m in (net, twin))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def stages(net: ResNetNetwork, x: Tensor) -> list[tuple[int, ...]]:
    shapes = []
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        shapes.append(tuple(x.shape[1:]))
        x = stage(x)
    return [*shapes, tuple(x.shape[1:])]


def test_stages_of_the_books_resnet18_at_96_pixels() -> None:
    """After the stem, and after each of the four stages (section 8.6.3)."""
    with torch.device("meta"):
        net = zoo.ResNet18().net
    expected = [(64, 24, 24), (64, 24, 24), (128, 12, 12), (256, 6, 6), (512, 3, 3)]
    assert stages(net, torch.zeros(1, 1, 96, 96, device="meta")) == expected


def test_small_images_keep_their_size_in_the_small_stem() -> None:
    with torch.device("meta"):
        net = zoo.ResNet18Small(in_channels=3, image_size=32).net
    assert sum(p.numel() for p in net.parameters()) == 11_176_970  # section 14.1
    expected = [(64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert stages(net, torch.zeros(1, 3, 32, 32, device="meta")) == expected


def test_books_variant_has_biases_and_plain_shortcuts() -> None:
    with torch.device("meta"):
        book = zoo.ResNet18(in_channels=3, num_classes=1000).net
        canonical = zoo.ResNet(variant="resnet18").net
    assert sum(p.numel() for p in book.parameters()) == 11_692_520
    assert all(m.bias is not None for m in book.modules() if isinstance(m, nn.Conv2d))
    assert all(m.bias is None for m in canonical.modules() if isinstance(m, nn.Conv2d))
    assert [len(stage[0].downsample) for stage in (book.layer2, book.layer3, book.layer4)] == [1, 1, 1]
    assert book.layer1[0].downsample is None


def test_books_residual_block_is_what_section_8_6_2_says() -> None:
    """The formula with functions in place of layers."""
    shortcut = nn.Conv2d(3, 6, kernel_size=1, stride=2)
    block = BasicBlock(3, 6, stride=2, bias=True, shortcut=shortcut)
    x = torch.rand(4, 3, 6, 6)
    functional = nn.functional
    y = functional.conv2d(x, block.conv1.weight, block.conv1.bias, stride=2, padding=1)
    y = functional.relu(functional.batch_norm(y, None, None, training=True))
    y = functional.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1)
    y = functional.batch_norm(y, None, None, training=True)
    expected = functional.relu(y + functional.conv2d(x, shortcut.weight, shortcut.bias, stride=2))
    torch.testing.assert_close(block(x), expected, atol=1e-6, rtol=1e-5)
    assert block(x).shape == (4, 6, 3, 3)


@pytest.mark.parametrize(("variant", "last", "blocks"), [("resnet18", "bn2", 8), ("resnet50", "bn3", 16)])
def test_a_block_that_starts_at_zero_hands_on_what_is_not_negative(
    variant: str, last: str, blocks: int
) -> None:
    net = zoo.ResNet(variant=variant, image_size=32, zero_init_residual=True).net
    plain = [m for m in net.modules() if isinstance(m, BasicBlock | Bottleneck) and m.downsample is None]
    zeros = [n for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.any()]
    assert len(zeros) == blocks
    assert all(name.endswith(last) for name in zeros)
    for block in plain:
        x = torch.rand(2, block.conv1.in_channels, 4, 4)
        torch.testing.assert_close(block(x), x, atol=0, rtol=0)
    other = zoo.ResNet(variant=variant, image_size=32).net
    assert all(m.weight.all() for m in other.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("variant", RESNETS)
def test_weight_layers_without_shortcuts_are_as_many_as_the_name_says(variant: str) -> None:
    with torch.device("meta"):
        net = zoo.ResNet(variant=variant).net
    layers = [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(layers) == int(variant.removeprefix("resnet"))


def test_canonical_convolutions_start_as_he_and_others_proposed() -> None:
    net = zoo.ResNet(variant="resnet18").net
    weight = net.layer3[1].conv1.weight
    assert abs(weight.var() / (2 / (9 * 256)) - 1) < 0.02
    assert abs(weight.mean()) < 1e-3


def test_unknown_variant_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^variant is 'resnet51', but must be one of resnet18, .*mean resnet5"
    ):
        zoo.ResNet(variant="resnet51")
