"""AlexNet: shapes, counts, equality with torchvision, and where dropout stands."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import zoo
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from tests.zoo.models import count
from zoo.cnn.alexnet import BOOK, CANONICAL, AlexNetNetwork, AlexNetSize


def network(
    size: AlexNetSize, *, image_size: int, in_channels: int = 3, dropout: float = 0.5
) -> AlexNetNetwork:
    return AlexNetNetwork(
        size=size,
        in_channels=in_channels,
        num_classes=5,
        image_size=image_size,
        hidden_size=16,
        dropout=dropout,
    )


def book_network() -> AlexNetNetwork:
    net = zoo.AlexNet().net
    assert isinstance(net, AlexNetNetwork)
    return net


def test_layers_of_the_books_network_at_224_pixels() -> None:
    """Shapes after each convolution and pooling, and weights of each layer (section 8.1.2)."""
    with torch.device("meta"):
        net = book_network()
    x = torch.zeros(1, 1, 224, 224, device="meta")
    shapes = []
    for layer in net.features:
        x = layer(x)
        if not isinstance(layer, nn.ReLU):
            shapes.append((x.shape[1], x.shape[2], x.shape[3]))
    assert shapes == [
        (96, 54, 54),
        (96, 26, 26),
        (256, 26, 26),
        (256, 12, 12),
        (384, 12, 12),
        (384, 12, 12),
        (256, 12, 12),
        (256, 5, 5),
    ]
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    counts = [11_712, 614_656, 885_120, 1_327_488, 884_992, 26_218_496, 16_781_312, 40_970]
    assert [count(layer) for layer in layers] == counts


@pytest.mark.parametrize(
    ("in_channels", "num_classes", "expected"),
    [(1, 10, 46_764_746), (1, 1000, 50_820_776), (3, 1000, 50_844_008)],
)
def test_number_of_parameters(in_channels: int, num_classes: int, expected: int) -> None:
    with torch.device("meta"):
        model = zoo.AlexNet(in_channels=in_channels, num_classes=num_classes)
    assert count(model) == expected


def test_two_hidden_layers_take_164_megabytes_and_their_products() -> None:
    """Section 8.1.2.3; a product and its sum are two operations."""
    with torch.device("meta"):
        net = book_network()
    hidden = net.classifier[:-1]
    weights = sum(p.numel() * p.element_size() for p in hidden.parameters() if p.ndim == 2)
    assert weights == 164 * 2**20
    with FlopCounterMode(display=False) as counter:
        hidden(torch.zeros(1, 6400, device="meta"))
    assert counter.get_total_flops() == 85_983_232


def test_canonical_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = zoo.ImageNetAlexNet()
    assert count(model) == 61_100_840
    assert len([m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]) == 8


@pytest.fixture(scope="module")
def pair() -> tuple[AlexNetNetwork, nn.Module]:
    """Ours and torchvision's with the same weights."""
    twin = torchvision_twin("alexnet", num_classes=5)
    net = zoo.ImageNetAlexNet(num_classes=5).net
    assert {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in twin.state_dict().items()
    }
    net.load_state_dict(twin.state_dict())
    assert isinstance(net, AlexNetNetwork)
    return net.eval(), twin


@pytest.mark.parametrize("image_size", [63, 224])
def test_outputs_are_torchvisions(pair: tuple[AlexNetNetwork, nn.Module], image_size: int) -> None:
    net, twin = pair
    x = torch.rand(2, 3, image_size, image_size)
    with torch.no_grad():
        torch.testing.assert_close(net(x), twin(x), atol=1e-5, rtol=1e-5)


def test_gradients_and_dropout_are_torchvisions(pair: tuple[AlexNetNetwork, nn.Module]) -> None:
    x = torch.rand(2, 3, 80, 80)
    gradients = []
    for module in pair:
        torch.manual_seed(1)
        module.train()(x).square().sum().backward()
        gradients.append([p.grad for p in module.parameters()])
        module.eval().zero_grad()
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)


def seen_by_linear_layers(net: AlexNetNetwork, x: Tensor) -> list[Tensor]:
    """Inputs of the three fully connected layers."""
    seen: list[Tensor] = []
    for layer in net.classifier:
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    net(x)
    return seen


@pytest.mark.parametrize(("size", "dropped"), [(BOOK, [False, True, True]), (CANONICAL, [True, True, False])])
def test_dropout_hides_what_it_should(size: AlexNetSize, dropped: list[bool]) -> None:
    net = network(size, image_size=96, dropout=0.5)
    for p in net.parameters():
        nn.init.constant_(p, 0.01)  # without dropout nothing is zero
    seen = seen_by_linear_layers(net.train(), torch.rand(8, 3, 96, 96))
    assert [not bool(x.all()) for x in seen] == dropped
    share = torch.cat([(x == 0).float().flatten() for x in seen if not x.all()]).mean()
    assert 0.4 < share < 0.6


@pytest.mark.parametrize(("size", "smallest"), [(BOOK, 65), (CANONICAL, 63)])
def test_smallest_image(size: AlexNetSize, smallest: int) -> None:
    net = network(size, image_size=smallest).train()
    assert net(torch.rand(2, 3, smallest, smallest)).shape == (2, 5)
    with pytest.raises(RuntimeError, match="Output size is too small"):
        net.features(torch.rand(2, 3, smallest - 1, smallest - 1))
    with pytest.raises(ValueError, match=f"^image_size is {smallest - 1}, but must be at least {smallest}$"):
        network(size, image_size=smallest - 1)


@pytest.mark.parametrize("image_size", [66, 96, 97, 128, 256])
def test_other_image_sizes(image_size: int) -> None:
    net = network(BOOK, image_size=image_size, in_channels=1)
    assert net(torch.rand(2, 1, image_size, image_size)).shape == (2, 5)


def test_canonical_starts_as_the_paper_says() -> None:
    net = zoo.ImageNetAlexNet(hidden_size=64).net
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    biases = [set(layer.bias.tolist()) for layer in layers if layer.bias is not None]
    assert biases == [{0}, {1}, {0}, {1}, {1}, {1}, {1}, {0}]
    for layer in layers:
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert abs(layer.weight.mean().item()) < 5e-4
