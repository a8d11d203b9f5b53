"""DenseNet: shapes, counts, equality with functions and with torchvision, recomputation."""

import inspect
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from tests.zoo.cnn.torchvision_twin import torchvision_twin
from zoo.cnn.densenet import DENSENETS, BottleneckLayer, DenseBlock, DenseLayer, DenseNetNetwork

# As published; scope of the zoo (and torchvision's page for the 161).
COUNTS = {
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
}


# The book's network


def test_block_adds_its_maps_to_those_that_come_in() -> None:
    """Section 8.7.2: two layers of 10 channels after 3."""
    block = DenseBlock([DenseLayer(3, 10), DenseLayer(13, 10)])
    x = torch.randn(4, 3, 8, 8)
    output = block(x)
    assert output.shape == (4, 23, 8, 8)
    expected = x
    for layer in block.values():
        y = F.batch_norm(expected, None, None, training=True).relu()
        y = F.conv2d(y, layer.conv1.weight, layer.conv1.bias, padding=1)
        expected = torch.cat([expected, y], dim=1)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)


def test_stages_of_the_books_network_at_96_pixels() -> None:
    with torch.device("meta"):
        net = zoo.DenseNet().net
    x, shapes = torch.zeros(1, 1, 96, 96, device="meta"), []
    for name, module in net.features.named_children():
        x = module(x)
        if re.fullmatch(r"pool0|(denseblock|transition)\d|norm5", name):
            shapes.append(tuple(x.shape[1:]))
    channels = [64, 192, 96, 224, 112, 240, 120, 248, 248]
    sides = [24, 24, 12, 12, 6, 6, 3, 3, 3]
    assert shapes == [(c, side, side) for c, side in zip(channels, sides, strict=True)]


def normalised(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """With the batch's statistics, and a ReLU."""
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True).relu()


def test_books_network_is_what_section_8_7_4_says() -> None:
    """Outputs and gradients, at a size of which pooling leaves a rest."""
    net = zoo.DenseNet(image_size=50, num_classes=3).net
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    x = torch.rand(3, 1, 50, 50)

    def by_functions() -> Tensor:
        layers = net.features
        y = F.conv2d(x, layers.conv0.weight, layers.conv0.bias, stride=2, padding=3)
        y = F.max_pool2d(normalised(layers.norm0, y), 3, stride=2, padding=1)
        for i in range(1, 5):
            for layer in layers.get_submodule(f"denseblock{i}").values():
                new = F.conv2d(normalised(layer.norm1, y), layer.conv1.weight, layer.conv1.bias, padding=1)
                y = torch.cat([y, new], dim=1)
            if i < 4:
                halve = layers.get_submodule(f"transition{i}")
                y = F.conv2d(normalised(halve.norm, y), halve.conv.weight, halve.conv.bias)
                y = F.avg_pool2d(y, 2)
        y = normalised(layers.norm5, y).mean(dim=(2, 3))
        return F.linear(y, net.classifier.weight, net.classifier.bias)

    outputs, gradients = [], []
    for function in (lambda: net(x), by_functions):
        outputs.append(function())
        gradients.append(torch.autograd.grad(outputs[-1].square().sum(), list(net.parameters())))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4 + 1e-3 * theirs.abs().max().item(), rtol=1e-3)


# Torchvision's


@pytest.mark.parametrize("variant", DENSENETS)
def test_variant_has_the_published_number_of_parameters(variant: str) -> None:
    with torch.device("meta"):
        model = zoo.ImageNetDenseNet(variant=variant)
    assert sum(p.numel() for p in model.parameters()) == COUNTS[variant]
    assert model.net(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("variant", DENSENETS)
def test_weight_layers_are_as_many_as_the_name_says(variant: str) -> None:
    with torch.device("meta"):
        net = zoo.ImageNetDenseNet(variant=variant).net
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(variant.removeprefix("densenet"))


def network(variant: str, *, dropout: float = 0.0, memory_efficient: bool = False) -> DenseNetNetwork:
    """Uninitialised, with five classes."""
    with torch.device("meta"):
        net = DenseNetNetwork(
            size=DENSENETS[variant],
            in_channels=3,
            num_classes=5,
            image_size=40,
            dropout=dropout,
            memory_efficient=memory_efficient,
        )
    return net.to_empty(device="cpu")


@pytest.mark.parametrize("variant", DENSENETS)
def test_outputs_are_torchvisions(variant: str) -> None:
    """In evaluation and in training, where the running statistics follow."""
    twin, net = torchvision_twin(variant, num_classes=5), network(variant)
    assert list(net.state_dict()) == list(twin.state_dict())
    net.load_state_dict(twin.state_dict())
    x = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), twin(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net.train()(x), twin.train()(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dict(net.named_buffers()), dict(twin.named_buffers()), atol=1e-5, rtol=1e-5)


def gradients_of(net: nn.Module, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(net(x).square().sum(), list(net.parameters())))


def test_gradients_are_torchvisions() -> None:
    twin, net = torchvision_twin("densenet121", num_classes=5).train(), network("densenet121")
    net.load_state_dict(twin.state_dict())
    x = torch.rand(2, 3, 64, 64)
    for ours, theirs in zip(gradients_of(net, x), gradients_of(twin, x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * theirs.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("counters", [True, False])
def test_file_with_the_older_keys_fills_the_network(
    counters: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The published files say `denselayer1.norm.1.weight`, and have no counters."""
    state = torchvision_twin("densenet121", num_classes=5).state_dict()
    older = {
        re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key) if "denselayer" in key else key: value
        for key, value in state.items()
        if counters or not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    assert "features.denseblock4.denselayer16.conv.2.weight" in older
    torch.save(older, tmp_path / "older.pth")
    model = zoo.ImageNetDenseNet(weights=str(tmp_path / "older.pth"), num_classes=5)
    assert caplog.records == []
    for key, value in model.net.state_dict().items():
        if counters or not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, state[key], atol=0, rtol=0)


def test_weights_start_as_the_paper_says() -> None:
    """He et al. (2015): variance 2 / fan-in; the last layer's bias is 0."""
    net = zoo.ImageNetDenseNet(num_classes=5).net
    weight = net.features.denseblock3.denselayer20.conv2.weight
    assert weight.var().item() == pytest.approx(2 / (9 * 128), rel=0.05)
    assert not net.classifier.bias.any()


# Recomputation


@pytest.mark.parametrize("training", [True, False])
def test_recomputation_learns_the_same(training: bool) -> None:
    """Outputs, gradients and, after three batches, the running statistics: each batch counts once."""
    twin = torchvision_twin("densenet121", num_classes=5)
    state = {key: value.clone() for key, value in twin.state_dict().items()}
    plain, frugal = network("densenet121"), network("densenet121", memory_efficient=True)
    for net in (plain, frugal):
        net.load_state_dict(state)
        net.train(training)
    for _ in range(3):
        x = torch.rand(2, 3, 40, 40)
        ours, theirs = gradients_of(frugal, x), gradients_of(plain, x)
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(frugal(x), plain(x), atol=0, rtol=0)
    torch.testing.assert_close(frugal.state_dict(), plain.state_dict(), atol=0, rtol=0)
    batches = 4 if training else 0
    assert frugal.features.denseblock2.denselayer3.norm1.num_batches_tracked == 3 + batches


def test_recomputation_goes_on_with_the_momentum_that_was_there() -> None:
    layer = BottleneckLayer(4, 2, dropout=0.0, memory_efficient=True)
    for momentum in (0.3, None):  # None: the mean over all batches
        layer.norm1.momentum = momentum
        layer(torch.rand(2, 4, 3, 3)).sum().backward()
        assert layer.norm1.momentum == momentum
    assert layer.norm1.num_batches_tracked == 2


def test_compiled_recomputation_learns_the_same_and_counts_each_batch_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The suite's shape checks would break the graph.
    for cls, name in (
        (DenseBlock, "forward"),
        (BottleneckLayer, "forward"),
        (BottleneckLayer, "_first_half"),
    ):
        monkeypatch.setattr(cls, name, inspect.unwrap(getattr(cls, name)))
    plain, frugal = (
        DenseBlock([BottleneckLayer(c, 2, dropout=0.0, memory_efficient=memory_efficient) for c in (4, 6, 8)])
        for memory_efficient in (False, True)
    )
    frugal.load_state_dict(plain.state_dict())
    frugal.compile(backend="aot_eager", fullgraph=True)
    for _ in range(2):
        x = torch.rand(2, 4, 5, 5)
        torch.testing.assert_close(gradients_of(frugal, x), gradients_of(plain, x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(frugal.state_dict(), plain.state_dict(), atol=1e-6, rtol=1e-5)
    assert frugal.denselayer3.norm1.num_batches_tracked == 2


def kept_for_the_backward_pass(layer: nn.Module, maps: list[Tensor]) -> int:
    """Numbers in tensors that autograd keeps, each storage once, without the maps and the parameters."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(*maps)
    for tensor in (*maps, *layer.parameters(), *layer.buffers()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values())


def test_recomputation_keeps_neither_the_concatenation_nor_its_normalisation() -> None:
    """Three maps of 8, 2 and 2 channels, 10 x 10 for each of 4 images; 8 channels after the 1 x 1."""
    maps = [torch.rand(4, channels, 10, 10, requires_grad=True) for channels in (8, 2, 2)]
    kept = [
        kept_for_the_backward_pass(
            BottleneckLayer(12, 2, dropout=0.0, memory_efficient=memory_efficient), maps
        )
        for memory_efficient in (False, True)
    ]
    assert 2 * 4 * 12 * 100 <= kept[0] - kept[1] <= 2 * 4 * 12 * 100 + 100
    assert 2 * 4 * 8 * 100 <= kept[1] <= 2 * 4 * 8 * 100 + 100


# Dropout


def test_dropout_is_after_each_layer_of_the_blocks() -> None:
    layer = BottleneckLayer(4, 32, dropout=0.25, memory_efficient=False)
    x = torch.rand(2, 4, 8, 8)
    dropped = layer(x)
    layer.dropout = nn.Identity()
    whole = layer(x)
    zero = dropped == 0
    assert zero.float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(dropped[~zero], whole[~zero] / 0.75)
    with torch.device("meta"):
        net = zoo.ImageNetDenseNet(dropout=0.25).net
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.25 for m in net.modules()) == 6 + 12 + 24 + 16
