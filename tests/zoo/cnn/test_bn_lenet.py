"""LeNet with batch normalisation: its layers and their order."""

import pytest
import torch
from torch import nn

import zoo
from zoo.cnn.bn_lenet import BNLeNetNetwork


def test_forward_is_the_books_sequence() -> None:
    net = BNLeNetNetwork()
    x = torch.rand(3, 1, 28, 28)
    sequence = nn.Sequential(
        net.conv1, net.bn1, nn.Sigmoid(), nn.AvgPool2d(2), net.conv2, net.bn2, nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), net.fc1, net.bn3, nn.Sigmoid(), net.fc2, net.bn4, nn.Sigmoid(), net.fc3,
    )  # fmt: skip
    torch.testing.assert_close(net(x), sequence(x))
    assert net.forward_features(x).shape == (3, net.num_features)
    assert [(type(m), m.num_features) for m in (net.bn1, net.bn2, net.bn3, net.bn4)] == [
        (nn.BatchNorm2d, 6),
        (nn.BatchNorm2d, 16),
        (nn.BatchNorm1d, 120),
        (nn.BatchNorm1d, 84),
    ]
    assert all((m.eps, m.momentum) == (1e-5, 0.1) for m in (net.bn1, net.bn2, net.bn3, net.bn4))
    assert sequence[:9](x).shape == (3, 256)


@pytest.mark.parametrize("model", [zoo.BNLeNet, zoo.BNLeNetScratch])
def test_defaults_are_the_books(model: type[zoo.BNLeNet] | type[zoo.BNLeNetScratch]) -> None:
    made = model()
    assert sum(p.numel() for p in made.parameters()) == 44_878
    bound = (6 / (256 + 120)) ** 0.5
    assert 0.99 * bound < made.net.fc1.weight.abs().max().item() <= bound
    bound = (6 / (25 * (6 + 16))) ** 0.5
    assert 0.99 * bound < made.net.conv2.weight.abs().max().item() <= bound
    optimizer = made.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("image_size", [16, 17, 19, 29])
@pytest.mark.parametrize("model", [zoo.BNLeNet, zoo.BNLeNetScratch])
def test_other_images(model: type[zoo.BNLeNet] | type[zoo.BNLeNetScratch], image_size: int) -> None:
    made = model(image_size=image_size, in_channels=3, num_classes=7)
    assert made(made.example_input_array).shape == (2, 7)
    with pytest.raises(ValueError, match="image_size is 15, but must be at least 16"):
        model(image_size=15)
