"""Faults of the book's models that are mended here: docs/errata.md."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import zoo
from zoo.layers.init import INITIALISERS
from zoo.scratch.normalization import BatchNorm
from zoo.tasks import ImageClassifier

INITIALISED = [
    name for name in zoo.list_models() if "init" in inspect.signature(zoo.MODELS[name].cls).parameters
]


# Q1, 6: an initialiser takes effect, since every layer has its weights from the start


def test_q1_lenet_starts_with_the_initialiser_that_it_names() -> None:
    for layer in zoo.LeNet().net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            area = layer.weight[0, 0].numel()
            fan_in, fan_out = layer.weight.shape[1] * area, layer.weight.shape[0] * area
            bound = math.sqrt(6 / (fan_in + fan_out))  # Glorot and Bengio (2010), uniform
            assert 0.9 * bound < layer.weight.abs().max().item() <= bound * (1 + 1e-6)
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)


@pytest.mark.parametrize("model", [zoo.LeNet, zoo.MLP, zoo.DropoutMLP])
@pytest.mark.parametrize("init", [name for name in INITIALISERS if name != "bilinear"])
def test_q1_every_weight_changes_with_the_initialiser(model: type[zoo.LeNet], init: str) -> None:
    weights = {}
    for name in ("default", init):
        torch.manual_seed(0)
        weights[name] = {
            key: weight.detach().clone()
            for key, weight in model(init=name).net.named_parameters()
            if key.endswith("weight")
        }
    for key, weight in weights[init].items():
        assert not torch.equal(weight, weights["default"][key]), key


@pytest.mark.parametrize("name", INITIALISED)
def test_q1_no_model_leaves_a_weight_out(name: str) -> None:
    """The book's does nothing on AlexNet, DenseNet and RegNet, and little on ResNet-18 for small images.

    An embedding is a table, whose rows no initialiser for layers has a fan for; it stays torch's N(0, 1).
    """
    entry = zoo.MODELS[name]
    weights = []
    for init in ("default", "kaiming_normal"):
        torch.manual_seed(0)
        net = entry.cls(**{**entry.tiny, "init": init}).net
        layers = {name: layer for name, layer in net.named_modules() if not isinstance(layer, nn.Embedding)}
        weights.append(
            {
                f"{name}.{key}": value
                for name, layer in layers.items()
                for key, value in layer.named_parameters(recurse=False)
                if value.ndim > 1
            }
        )
    assert weights[0]
    for key in weights[0]:
        assert not torch.equal(weights[0][key], weights[1][key]), key


@pytest.mark.parametrize("model", [zoo.AlexNet, zoo.DenseNet, zoo.RegNetX32])
def test_q1_networks_that_the_book_leaves_at_torchs_start_are_xavier_here(
    model: type[ImageClassifier],
) -> None:
    assert_starts_xavier(model())


def assert_starts_xavier(model: ImageClassifier) -> None:
    weights = [m.weight for m in model.net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert weights
    for weight in weights:
        bound = math.sqrt(6 / (weight[0, 0].numel() * (weight.shape[0] + weight.shape[1])))
        assert 0.9 * bound < weight.abs().max().item() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("model", [zoo.LeNet, zoo.VGG11, zoo.NiN, zoo.GoogLeNet, zoo.BNLeNet, zoo.ResNet18])
def test_erratum_19_other_convolutional_networks_are_xavier_too(model: type[ImageClassifier]) -> None:
    assert_starts_xavier(model(image_size=67))


# Q30: weights are named, not asked for by a flag that torchvision deprecates


def test_q30_weights_are_named_by_their_release() -> None:
    with (
        pytest.warns(UserWarning, match="'pretrained' is deprecated"),
        pytest.warns(UserWarning, match="Arguments other than a weight enum"),
        torch.device("meta"),
    ):
        torchvision.models.resnet18(pretrained=False)
    with pytest.raises(TypeError, match="pretrained"):
        zoo.ResNet(variant="resnet18", pretrained=True)
    with pytest.raises(
        ValueError, match="but must be torchvision:IMAGENET1K_V1 or torchvision:IMAGENET1K_V2"
    ):
        zoo.ResNet(weights="torchvision:BEST")


@pytest.mark.parametrize("name", zoo.list_models())
def test_erratum_6_no_model_has_a_lazy_layer(name: str) -> None:
    entry = zoo.MODELS[name]
    model = entry.cls(**entry.tiny)
    assert not [m for m in model.modules() if isinstance(m, nn.modules.lazy.LazyModuleMixin)]
    assert not [p for p in model.parameters() if isinstance(p, nn.UninitializedParameter)]


# Q3: batch normalisation from scratch looks at the mode, and its statistics are part of the model


def test_q3_batch_norm_looks_at_the_mode_and_not_at_gradients() -> None:
    model = zoo.BNLeNetScratch(image_size=16)
    norm = model.net.bn1
    images = torch.rand(4, 1, 16, 16)
    with torch.no_grad():
        model(images)  # in training mode: the running mean follows
        follows = norm.running_mean.clone()
        assert follows.any()
        model.eval()(images)
    model(images)  # in evaluation mode, with gradients: it stays
    assert torch.equal(norm.running_mean, follows)


def test_q3_running_statistics_are_saved_and_move_with_the_model() -> None:
    model = zoo.BNLeNetScratch(image_size=16)
    model(torch.rand(4, 1, 16, 16))
    again = zoo.BNLeNetScratch(image_size=16)
    again.load_state_dict(model.state_dict())
    for name in ("bn1", "bn2", "bn3", "bn4"):
        for statistic in ("running_mean", "running_var"):
            loaded, saved = (getattr(getattr(m.net, name), statistic) for m in (again, model))
            torch.testing.assert_close(loaded, saved, atol=0, rtol=0)
    assert model.to("meta").net.bn1.running_mean.device.type == "meta"


# 19: what the book has mended


def test_erratum_19_momentum_of_batch_norm_weighs_the_new_value() -> None:
    images = torch.full((4, 3, 2, 2), 10.0)
    for norm in (BatchNorm(3), nn.BatchNorm2d(3)):
        norm(images)
        torch.testing.assert_close(norm.running_mean, torch.full((3,), 0.9 * 0 + 0.1 * 10))
        torch.testing.assert_close(norm.running_var, torch.full((3,), 0.9 * 1 + 0.1 * 0))


def test_erratum_19_dropout_of_alexnet_follows_the_hidden_layers() -> None:
    expected = [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    model = zoo.AlexNet(image_size=65, hidden_size=8)
    assert [type(layer) for layer in model.net.classifier] == expected
    assert [layer.p for layer in model.net.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


def test_erratum_19_googlenets_second_module_has_a_relu_after_each_convolution() -> None:
    net = zoo.GoogLeNet(image_size=32).net
    seen: dict[str, Tensor] = {}
    for name in ("conv2.conv", "conv2", "conv3.conv", "conv3"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.update({name: output.clone()})
        )
    net(torch.rand(2, 1, 32, 32))
    for name in ("conv2", "conv3"):
        assert seen[f"{name}.conv"].min() < 0
        torch.testing.assert_close(seen[name], seen[f"{name}.conv"].clamp(min=0), atol=0, rtol=0)


@pytest.mark.parametrize("model", [zoo.BNLeNet, zoo.BNLeNetScratch])
def test_erratum_19_lenet_with_batch_norm_averages_as_lenet_does(model: type[ImageClassifier]) -> None:
    net = model(image_size=16).net
    seen: dict[str, Tensor] = {}
    for name in ("bn1", "bn2"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.update({name: output})
        )
    for name in ("conv2", "fc1"):
        net.get_submodule(name).register_forward_pre_hook(
            lambda _m, inputs, name=name: seen.update({name: inputs[0]})
        )
    net(torch.rand(2, 1, 16, 16))
    torch.testing.assert_close(seen["conv2"], F.avg_pool2d(seen["bn1"].sigmoid(), 2))
    torch.testing.assert_close(seen["fc1"].flatten(1), F.avg_pool2d(seen["bn2"].sigmoid(), 2).flatten(1))
