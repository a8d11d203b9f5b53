"""VGG: shapes, counts, equality with torchvision, and what stacks of small kernels save and see."""

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from tests.zoo.models import count
from zoo.cnn.vgg import VGGS, VGGNetwork, vgg_block

# As published; batch normalisation adds two numbers for each channel.
COUNTS = {
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_863_336 + 2 * (64 + 128 + 2 * 256 + 4 * 512),
    "vgg13_bn": 133_047_848 + 2 * (2 * 64 + 2 * 128 + 2 * 256 + 4 * 512),
    "vgg16_bn": 138_357_544 + 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512),
    "vgg19_bn": 143_667_240 + 2 * (2 * 64 + 2 * 128 + 4 * 256 + 8 * 512),
}


def network_of(model: zoo.VGG | zoo.VGG11) -> VGGNetwork:
    assert isinstance(model.net, VGGNetwork)
    return model.net


@pytest.mark.parametrize("variant", VGGS)
def test_variant_has_the_published_number_of_parameters_and_layers(variant: str) -> None:
    with torch.device("meta"):
        model = zoo.VGG(variant=variant)
    assert count(model) == COUNTS[variant]
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert f"vgg{len(layers)}" == variant.removesuffix("_bn")


def test_books_networks_have_its_number_of_parameters() -> None:
    with torch.device("meta"):
        assert count(zoo.VGG11()) == 43_093_322
        assert count(zoo.VGG(variant="vgg11", in_channels=1, num_classes=10)) == 128_806_154


@pytest.mark.parametrize("quarter", [False, True])
def test_blocks_of_vgg11_at_224_pixels(quarter: bool) -> None:
    """Shapes after each pooling (section 8.2.2)."""
    with torch.device("meta"):
        net = network_of(zoo.VGG11() if quarter else zoo.VGG(variant="vgg11", in_channels=1, num_classes=10))
    x = torch.zeros(1, 1, 224, 224, device="meta")
    shapes = []
    for layer in net.features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            shapes.append((x.shape[1], x.shape[2], x.shape[3]))
    full = [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]
    assert shapes == [(c // 4 if quarter else c, h, w) for c, h, w in full]
    assert x.flatten(1).shape[1] == (6_272 if quarter else 25_088)
    first = net.classifier[0]
    assert isinstance(first, nn.Linear)
    assert first.in_features == x.flatten(1).shape[1]


@pytest.mark.parametrize(
    "variant",
    [v if v == "vgg11" else pytest.param(v, marks=pytest.mark.slow) for v in VGGS],
)
def test_outputs_are_torchvisions(variant: str) -> None:
    twin = torchvision_twin(variant, num_classes=5)
    with torch.device("meta"):
        net = zoo.VGG(variant=variant, num_classes=5).net.eval()
    net.to_empty(device="cpu").load_state_dict(twin.state_dict())
    assert list(net.state_dict()) == list(twin.state_dict())
    for image_size in (32, 70):
        x = torch.rand(2, 3, image_size, image_size)
        with torch.no_grad():
            torch.testing.assert_close(net(x), twin(x), atol=1e-5, rtol=1e-5)


def test_outputs_gradients_and_dropout_in_training_are_torchvisions() -> None:
    twin = torchvision_twin("vgg11_bn", num_classes=5).train()
    with torch.device("meta"):
        net = zoo.VGG(variant="vgg11_bn", num_classes=5).net.train()
    net.to_empty(device="cpu").load_state_dict(twin.state_dict())
    x = torch.rand(4, 3, 40, 40)
    gradients = []
    for module in (net, twin):
        torch.manual_seed(1)
        module(x).square().sum().backward()
        gradients.append({name: p.grad for name, p in module.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dict(net.named_buffers()), dict(twin.named_buffers()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("num_convs", "field", "saved"), [(2, 5, 0.28), (3, 7, 0.449)])
def test_stack_of_small_kernels_sees_as_much_as_a_large_one_for_fewer_weights(
    num_convs: int, field: int, saved: float
) -> None:
    stack = nn.Sequential(*vgg_block(4, 4, num_convs=num_convs)[:-1])  # without pooling
    for p in stack.parameters():
        nn.init.constant_(p, 0.1)  # no ReLU hides a pixel
    x = torch.rand(1, 4, 11, 11, requires_grad=True)
    y = stack(x)
    assert y.shape == x.shape
    y[0, :, 5, 5].sum().backward()
    assert x.grad is not None
    rows, columns = (x.grad[0].sum(0) != 0).nonzero(as_tuple=True)
    reach = field // 2
    for pixels in (rows, columns):
        assert [int(pixels.min()), int(pixels.max())] == [5 - reach, 5 + reach]
    large = nn.Conv2d(4, 4, kernel_size=field, padding=reach)
    weights = sum(p.numel() for p in stack.parameters() if p.ndim == 4)
    assert 1 - weights / large.weight.numel() == pytest.approx(saved, abs=5e-4)


def test_block_has_relu_after_each_normalised_convolution() -> None:
    kinds = [type(layer) for layer in vgg_block(3, 8, num_convs=2, batch_norm=True)]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2 + [nn.MaxPool2d]


def test_smallest_image() -> None:
    for model in (
        zoo.VGG11(image_size=32, hidden_size=8, in_channels=3),
        zoo.VGG(variant="vgg11", image_size=32, hidden_size=8, num_classes=10),
    ):
        net = network_of(model).train()
        assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)
        with pytest.raises(RuntimeError, match="Output size is too small"):
            net.features(torch.rand(2, 3, 31, 31))
    for name in ("VGG", "VGG11"):
        with pytest.raises(ValueError, match=r"^image_size is 31, but must be at least 32$"):
            zoo.create(name, image_size=31)


@pytest.mark.parametrize("image_size", [33, 63, 64, 96])
def test_other_image_sizes(image_size: int) -> None:
    model = zoo.VGG11(image_size=image_size, hidden_size=8)
    assert model(model.example_input_array).shape == (2, 10)


def test_canonical_starts_as_torchvisions() -> None:
    net = zoo.VGG(variant="vgg11", hidden_size=64).net
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    for conv in convolutions[2:]:
        assert conv.weight.var().item() == pytest.approx(2 / (9 * conv.out_channels), rel=0.02)
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            assert isinstance(m.bias, Tensor)
            assert not m.bias.any()
        if isinstance(m, nn.Linear):
            assert m.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^variant is 'vgg12', but must be one of vgg11, .*mean vgg1"):
        zoo.VGG(variant="vgg12")
