"""Network in network: shapes, the block as fully connected layers for each pixel, and its features."""

import torch
from torch import nn

import zoo
from zoo.cnn.nin import NiNNetwork, nin_block


def test_layers_at_224_pixels() -> None:
    """Shapes after each block, pooling and dropout (section 8.3.3)."""
    with torch.device("meta"):
        net = NiNNetwork(in_channels=1, num_classes=10, image_size=224, dropout=0.5)
    shapes = []
    x = torch.zeros(1, 1, 224, 224, device="meta")
    for layer in (*net.features, net.dropout, net.head, net.avgpool):
        x = layer(x)
        shapes.append((x.shape[1], x.shape[2], x.shape[3]))
    assert shapes == [
        (96, 54, 54),
        (96, 26, 26),
        (256, 26, 26),
        (256, 12, 12),
        (384, 12, 12),
        (384, 5, 5),
        (384, 5, 5),
        (10, 5, 5),
        (10, 1, 1),
    ]
    with torch.device("meta"):
        assert sum(p.numel() for p in zoo.NiN().parameters()) == 1_992_166
    assert not [m for m in net.modules() if isinstance(m, nn.Linear)]


def test_convolutions_of_one_pixel_are_linear_layers_for_each_pixel() -> None:
    block = nin_block(3, 6, kernel_size=5, stride=2, padding=1)
    x = torch.randn(2, 3, 12, 12)
    first, *others = (layer for layer in block if isinstance(layer, nn.Conv2d))
    y = nn.functional.conv2d(x, first.weight, first.bias, stride=2, padding=1).relu()
    pixels = y.permute(0, 2, 3, 1)
    assert len(others) == 2
    for conv in others:
        pixels = nn.functional.linear(pixels, conv.weight[:, :, 0, 0], conv.bias).relu()
    torch.testing.assert_close(block(x), pixels.permute(0, 3, 1, 2), atol=1e-6, rtol=1e-5)


def test_logits_are_means_of_one_map_for_each_class() -> None:
    net = NiNNetwork(in_channels=1, num_classes=5, image_size=110, dropout=0.5).eval()
    x = torch.rand(2, 1, 110, 110)
    maps = net.head(net.features(x))
    assert maps.shape == (2, 5, 2, 2)
    torch.testing.assert_close(net(x), maps.mean(dim=(2, 3)))
    assert (net(x) >= 0).all()


def test_features_are_means_of_what_the_last_block_sees() -> None:
    net = NiNNetwork(in_channels=1, num_classes=5, image_size=110, dropout=0.5).eval()
    x = torch.rand(2, 1, 110, 110)
    features = net.forward_features(x)
    assert features.shape == (2, net.num_features)
    torch.testing.assert_close(features, net.features(x).mean(dim=(2, 3)))
    net.train()
    torch.manual_seed(1)
    features = net.forward_features(x)
    torch.manual_seed(1)
    dropped = nn.functional.dropout(net.features(x), 0.5)
    torch.testing.assert_close(features, dropped.mean(dim=(2, 3)))


def test_dropout_stands_before_the_last_block() -> None:
    net = NiNNetwork(in_channels=1, num_classes=5, image_size=110, dropout=0.5).train()
    x = torch.rand(2, 1, 110, 110)
    torch.manual_seed(1)
    logits = net(x)
    torch.manual_seed(1)
    maps = nn.functional.dropout(net.features(x), 0.5)
    torch.testing.assert_close(logits, net.head(maps).mean(dim=(2, 3)))
    assert not torch.allclose(logits, net.eval()(x))
