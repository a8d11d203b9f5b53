"""What every convolutional network of the zoo must do, beyond what every model must."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.zoo.models import tiny
from zoo.tasks import ImageClassifier

zoo.list_models()
NAMES = sorted(
    entry.name
    for entry in zoo.MODELS
    if entry.cls.__module__.startswith("zoo.cnn.") and issubclass(entry.cls, ImageClassifier)
)
NAMES += ["BNLeNetScratch", "MultiDeviceLeNet"]
HEADS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "BNLeNetScratch": lambda net, features: net.fc3(features),
    "MultiDeviceLeNet": lambda net, features: features @ net.w4 + net.b4,
}
"""The last layers that are no ``nn.Linear``."""
REFUSALS = (RuntimeError, TypeError, ValueError)
"""What torch raises for images of a wrong shape; layers from scratch and the check of annotations."""
PRETRAINED = [name for name in NAMES if "weights" in inspect.signature(zoo.MODELS[name].cls).parameters]


def test_there_are_networks() -> None:
    assert {"AlexNet", "ResNet18", "RegNetX32"} <= set(NAMES)
    assert {"ResNet", "VGG", "ImageNetDenseNet"} <= set(PRETRAINED)


@pytest.mark.parametrize("name", NAMES)
def test_data_and_network_meet_in_the_same_arguments(name: str) -> None:
    assert {"in_channels", "num_classes", "image_size"} <= set(
        inspect.signature(zoo.MODELS[name].cls).parameters
    )


@pytest.mark.parametrize("name", NAMES)
def test_features_are_one_vector_for_each_image_and_what_the_last_layer_sees(name: str) -> None:
    model = tiny(name).eval()
    images = model.example_batch(3)[0]
    features = model.net.forward_features(images)
    assert features.shape == (3, model.net.num_features)
    torch.testing.assert_close(features[:1], model.net.forward_features(images[:1]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(features[0], features[1])
    linear = [module for module in model.net.modules() if isinstance(module, nn.Linear)]
    if name == "NiN":  # its last layer makes maps, and their means are the logits
        assert linear == []
    else:
        logits = HEADS[name](model.net, features) if name in HEADS else linear[-1](features)
        torch.testing.assert_close(logits, model(images), atol=1e-6, rtol=1e-5)


def smallest_image_size(name: str) -> int:
    """The size that the error for an image of one pixel names; 1 if that works."""
    try:
        tiny(name, image_size=1)
    except ValueError as error:
        return int(str(error).removeprefix("image_size is 1, but must be at least "))
    return 1


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_image_that_is_accepted_works(name: str) -> None:
    smallest = smallest_image_size(name)
    if smallest > 1:
        wrong = smallest - 1
        with pytest.raises(ValueError, match=f"^image_size is {wrong}, but must be at least {smallest}$"):
            tiny(name, image_size=wrong)
    model = tiny(name, image_size=smallest)
    model.measure(model.example_batch(2))[0].backward()
    if smallest > 1:
        images = model.example_batch(2)[0][..., 1:, 1:]
        with pytest.raises(REFUSALS):
            model(images)


@pytest.mark.parametrize("name", NAMES)
def test_channels_and_classes_are_those_that_are_asked_for(name: str) -> None:
    model = tiny(name, in_channels=2, num_classes=3).eval()
    images = model.example_batch(2)[0]
    assert images.shape[1] == 2
    assert model(images).shape == (2, 3)
    with pytest.raises(REFUSALS, match="channels"):
        model(images[:, :1])


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_weights_are_taken_but_for_what_has_another_width(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny(name, in_channels=3, num_classes=4)
    torch.save(source.net.state_dict(), tmp_path / "weights.pth")
    same = tiny(name, in_channels=3, num_classes=4, weights=str(tmp_path / "weights.pth"))
    torch.testing.assert_close(dict(same.state_dict()), dict(source.state_dict()), atol=0, rtol=0)
    assert caplog.records == []

    model = tiny(name, in_channels=1, num_classes=5, weights=str(tmp_path / "weights.pth"))
    assert len(caplog.records) == 1
    replaced = (model.net.stem_name, *model.net.head_names)
    assert all(f"{layer} (" in caplog.text for layer in replaced)
    for key, value in model.net.state_dict().items():
        if not key.startswith(tuple(f"{layer}." for layer in replaced)):
            torch.testing.assert_close(value, source.net.state_dict()[key], atol=0, rtol=0)


@pytest.mark.parametrize("name", PRETRAINED)
def test_head_is_the_last_layer_and_stem_the_first(name: str) -> None:
    net = tiny(name, num_classes=7).net
    heads = [net.get_submodule(head) for head in net.head_names]
    assert all(isinstance(head, nn.Linear) and head.out_features == 7 for head in heads)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert net.get_submodule(net.stem_name) is convolutions[0]


@pytest.mark.parametrize("name", PRETRAINED)
def test_unknown_published_weights_name_those_that_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"but must be torchvision:IMAGENET1K_V1 or .*, or a file$"):
        tiny(name, weights="torchvision:IMAGENET22K")
