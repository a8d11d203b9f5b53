"""LeNet's layers and counts."""

from typing import Any

import pytest
import torch
from torch import nn

import zoo
from tests.zoo.models import count
from zoo.cnn.lenet import LeNetNetwork


def shapes(net: LeNetNetwork) -> dict[str, tuple[int, ...]]:
    seen: dict[str, tuple[int, ...]] = {}
    for name, module in net.named_children():
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: tuple(output.shape[1:])})
        )
    net(torch.zeros(1, 1, 28, 28))
    return seen


@pytest.mark.parametrize(
    ("padding", "first", "second", "fc1", "total"), [(0, 24, 8, 30840, 44426), (2, 28, 10, 48120, 61706)]
)
def test_layers(padding: int, first: int, second: int, fc1: int, total: int) -> None:
    net = LeNetNetwork(padding=padding)
    seen = shapes(net)
    assert seen["conv1"] == (6, first, first)
    assert seen["pool1"] == (6, first // 2, first // 2)
    assert seen["conv2"] == (16, second, second)
    assert seen["pool2"] == (16, second // 2, second // 2)
    assert [seen[f"fc{i}"] for i in (1, 2, 3)] == [(120,), (84,), (10,)]
    assert [count(m) for m in (net.conv1, net.conv2, net.fc1, net.fc2, net.fc3)] == [
        156,
        2416,
        fc1,
        10164,
        850,
    ]
    assert count(zoo.LeNet(padding=padding)) == total


def test_defaults_are_the_books() -> None:
    net = zoo.LeNet().net
    assert isinstance(net.act1, nn.Sigmoid)
    assert isinstance(net.pool2, nn.AvgPool2d)
    assert (6 / (400 + 120)) ** 0.5 >= net.fc1.weight.abs().max().item() > 0.99 * (6 / (400 + 120)) ** 0.5


def test_modern_lenet_is_the_books() -> None:
    """With torch's own weights: uniform within 1 / sqrt(400) of 0 in the first linear layer."""
    model = zoo.LeNetModern()
    layers = [
        model.net.act1,
        model.net.pool1,
        model.net.act2,
        model.net.pool2,
        model.net.act3,
        model.net.act4,
    ]
    kinds = [nn.ReLU, nn.MaxPool2d, nn.ReLU, nn.MaxPool2d, nn.ReLU, nn.ReLU]
    assert [type(layer) for layer in layers] == kinds
    assert model.net.conv1.padding == (2, 2)
    assert count(model) == 61_706
    assert 0.99 / 20 < model.net.fc1.weight.abs().max().item() <= 1 / 20
    optimizer = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["lr"] == 0.3
    with pytest.raises(ValueError, match="image_size is 11, but must be at least 12"):
        zoo.LeNetModern(image_size=11)


def test_forward_is_the_books_sequence() -> None:
    net = LeNetNetwork(activation="relu", pooling="max")
    sequence = nn.Sequential(
        net.conv1, nn.ReLU(), nn.MaxPool2d(2), net.conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        net.fc1, nn.ReLU(), net.fc2, nn.ReLU(), net.fc3,
    )  # fmt: skip
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(net(x), sequence(x))
    assert net.forward_features(x).shape == (3, net.num_features)


@pytest.mark.parametrize("image_size", [12, 13, 14, 15, 16, 28, 29, 32])
def test_other_image_sizes(image_size: int) -> None:
    model = zoo.LeNet(image_size=image_size, in_channels=3)
    assert model(model.example_input_array).shape == (2, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 11}, "image_size is 11, but must be at least 12"),
        ({"image_size": 15, "padding": 0}, "image_size is 15, but must be at least 16"),
        ({"padding": -1}, "padding is -1, but must be at least 0"),
        ({"pooling": "avrg"}, "pooling is 'avrg', but must be one of avg, max; did you mean avg?"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        zoo.LeNet(**arguments)
