from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import callbacks.features as module
from callbacks import FeatureMaps
from datamodules import EdgeImage, SyntheticRegression
from tests.callbacks.conftest import MakeTrainer, digits, lenet
from zoo import BNLeNetScratch, EdgeKernel, LinearRegression, MultiDeviceLeNet, SoftmaxRegression
from zoo.tasks import ImageClassifier

Draw = Callable[..., Any]


class SpoilFirst(L.Callback):
    """Empties the first convolution after the first epoch, so that the best weights are not the last."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.current_epoch > 0:
            nn.init.zeros_(next(m for m in pl_module.modules() if isinstance(m, nn.Conv2d)).weight)


class Normalised(ImageClassifier):
    """Batch normalisation and dropout, which do other things in training, before the second convolution."""

    def __init__(self) -> None:
        super().__init__(optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
        features = (nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Conv2d(2, 4, 3))
        self.net = nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        self.example_input_array = torch.zeros(2, 1, 12, 12)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What is drawn."""
    pictures: list[SimpleNamespace] = []
    original: Draw = module.draw_features

    def watch(filters: Tensor, image: Tensor, layers: Any, **texts: str) -> Any:
        pictures.append(SimpleNamespace(filters=filters, image=image, layers=layers, **texts))
        return original(filters, image, layers, **texts)

    monkeypatch.setattr(module, "draw_features", watch)
    return pictures


def test_maps_are_those_of_the_best_weights_and_the_network_is_left_as_trained(
    make_trainer: MakeTrainer, tmp_path: Path, drawn: list[SimpleNamespace]
) -> None:
    model, data = lenet(image_size=20), digits(image_size=20)
    trainer = make_trainer(FeatureMaps(), SpoilFirst())
    trainer.fit(model, datamodule=data)
    (seen,) = drawn
    assert not model.net.conv1.weight.any()
    assert not any(m._forward_hooks for m in model.modules())
    assert all(m.training for m in model.modules())
    assert trainer.validating is False

    stored = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    model.load_state_dict(stored["state_dict"])
    assert seen.title == f"features, best checkpoint (epoch {stored['epoch'] + 1})"
    image, label = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert seen.label == str(int(label[0]))
    assert torch.equal(seen.image, image[0])
    assert torch.equal(seen.filters, model.net.conv1.weight)
    net = model.net
    first = net.conv1(image[:1])
    second = net.conv2(net.pool1(net.act1(first)))
    assert [(layer.name, layer.channels) for layer in seen.layers] == [("conv1", 6), ("conv2", 16)]
    torch.testing.assert_close(seen.layers[0].maps, first[0])
    torch.testing.assert_close(seen.layers[1].maps, second[0, :8])
    with Image.open(tmp_path / "features.png") as picture:
        assert picture.size[0] > 1000


@pytest.mark.filterwarnings("ignore:Found 1 module")
def test_network_is_shown_as_it_predicts_and_frozen_layers_stay_frozen(
    make_trainer: MakeTrainer, drawn: list[SimpleNamespace]
) -> None:
    model = Normalised()
    model.net[1].eval()
    trainer = make_trainer(callbacks=[FeatureMaps()], enable_checkpointing=False, max_steps=3)
    trainer.fit(model, datamodule=digits())
    (seen,) = drawn
    assert seen.title == "features, weights after the last step"
    assert [model.net[i].training for i in range(4)] == [True, False, True, True]
    model.eval()
    torch.testing.assert_close(seen.layers[1].maps, model.net[:4](seen.image[None])[0])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_picture_does_not_change_what_is_learned(
    make_trainer: MakeTrainer, drawn: list[SimpleNamespace]
) -> None:
    with_picture, without = lenet(), lenet()
    without.load_state_dict(with_picture.state_dict())
    after = []
    for model, callbacks in ((with_picture, [FeatureMaps()]), (without, [])):
        torch.manual_seed(1)
        make_trainer(*callbacks, max_epochs=1).fit(model, datamodule=digits())
        after.append(torch.rand(1))
    assert drawn
    assert torch.equal(*after)
    for name, value in without.state_dict().items():
        assert torch.equal(value, with_picture.state_dict()[name]), name


def test_mixed_precision_is_drawn_in_float32(make_trainer: MakeTrainer, drawn: list[SimpleNamespace]) -> None:
    model = lenet()
    trainer = make_trainer(callbacks=[FeatureMaps()], enable_checkpointing=False, precision="bf16-mixed")
    trainer.fit(model, datamodule=digits())
    maps = drawn[0].layers[0].maps
    assert maps.dtype == torch.float32
    assert torch.equal(maps, maps.bfloat16().float())  # computed as in training, in bfloat16
    torch.testing.assert_close(maps, model.net.conv1(drawn[0].image[None])[0], atol=0.02, rtol=0.02)


def test_compiled_network_runs_uncompiled() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())

    def refuse(*_: Any) -> Any:
        raise AssertionError("compiled")

    net.compile(backend=refuse)
    seen = module._Seen(net)
    seen.look_at(torch.zeros(1, 1, 8, 8))
    assert [layer.name for layer in seen.layers] == ["0"]


def test_layers_are_chosen_evenly_in_the_order_in_which_they_run() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.excite = nn.Conv2d(1, 1, 1)
            self.layers = nn.ModuleList(nn.Conv2d(1, 1, 3, padding=1) for _ in range(7))

        def forward(self, x: Tensor) -> Tensor:
            for layer in reversed(self.layers):
                x = layer(x)
            return x * self.excite(x.mean(dim=(2, 3), keepdim=True))

    net = Backwards()
    seen = module._Seen(net)
    seen.look_at(torch.rand(1, 1, 8, 8))
    assert [layer.name for layer in seen.chosen()] == ["layers.6", "layers.4", "layers.2", "layers.0"]
    assert seen.first is not None
    assert seen.first[0] == "layers.6"
    assert torch.equal(seen.first[1], net.layers[6].weight)


def test_layers_that_write_in_place_leave_the_maps() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3), nn.ReLU(inplace=True))
    image = torch.randn(1, 1, 8, 8)
    seen = module._Seen(net)
    seen.look_at(image)
    first, second = (layer.maps for layer in seen.layers)
    assert first.min() < 0
    assert second.min() < 0
    torch.testing.assert_close(first, net[0](image)[0])
    torch.testing.assert_close(second, net[2](net[0](image).relu())[0])


def test_convolutions_are_told_by_weight_and_output() -> None:
    class Pooled(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mean(dim=(2, 3))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pooled, self.norm, self.conv = Pooled(1, 2, 3), nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return self.conv(x) + self.pooled(x)[..., None, None]

    seen = module._Seen(Net())
    seen.look_at(torch.rand(2, 1, 8, 8))
    assert [layer.name for layer in seen.layers] == ["conv"]


def test_hooks_are_removed_when_the_network_fails() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Linear(3, 1))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        module._Seen(net).look_at(torch.zeros(1, 1, 8, 8))
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("channels", "count", "text"),
    [
        (1, 6, "6 filters of conv, 3 x 3\nred: positive"),
        (1, 1, "1 filter of conv, 3 x 3: {}\nred: positive"),
        (3, 96, "64 of 96 filters of conv, 3 x 3\ngrey: zero"),
        (5, 6, "6 filters of conv, 3 x 3, mean over 5 channels\nred: positive"),
    ],
)
def test_filters_over_any_number_of_channels_are_drawn(channels: int, count: int, text: str) -> None:
    filters = torch.randn(count, channels, 3, 3)
    layers = [module.Layer("conv", torch.randn(2, 4, 4), 2)]
    figure = module.draw_features(
        filters, torch.randn(channels, 8, 8), layers, first="conv", label="shirt", title="t"
    )
    axes, maps, image = figure.axes
    numbers = ", ".join(f"{weight:.2f}" for weight in filters.flatten().tolist())
    assert axes.get_title().startswith(text.format(numbers))
    assert maps.get_title(loc="left") == "conv: 2 of 2 maps, 4 x 4"
    assert image.get_title() == "validation image\nshirt"
    pixels = torch.as_tensor(axes.images[0].get_array().filled(torch.nan))
    if channels == 3:
        expected = (filters[0].movedim(0, -1) / filters[:64].abs().max() + 1) / 2
    else:
        expected = filters[0].mean(dim=0)
    torch.testing.assert_close(pixels[:3, :3], expected)


def test_each_map_spans_black_to_white() -> None:
    maps = torch.stack([torch.rand(4, 4), 100 + torch.rand(4, 4), torch.zeros(4, 4)])
    figure = module.draw_features(
        torch.zeros(1, 1, 3, 3),
        torch.zeros(1, 8, 8),
        [module.Layer("a", maps, 3)],
        first="a",
        label="",
        title="",
    )
    pixels = torch.as_tensor(figure.axes[1].images[0].get_array().filled(torch.nan))
    for left, low, high in ((0, 0, 1), (5, 0, 1), (10, 0, 0)):
        tile = pixels[:, left : left + 4]
        assert (float(tile.min()), float(tile.max())) == (low, high)
    assert pixels[:, 4].isnan().all()


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"limit_val_batches": 0, "max_steps": 1}])
def test_without_a_validation_or_in_a_trial_nothing_is_drawn(
    make_trainer: MakeTrainer, tmp_path: Path, options: dict[str, Any]
) -> None:
    trainer = make_trainer(callbacks=[FeatureMaps()], enable_checkpointing=False, **options)
    trainer.fit(lenet(), datamodule=digits())
    assert not (tmp_path / "features.png").exists()


def test_network_that_is_one_convolution_and_no_classifier(
    make_trainer: MakeTrainer, tmp_path: Path, drawn: list[SimpleNamespace]
) -> None:
    model = EdgeKernel()
    options = {"enable_checkpointing": False, "log_every_n_steps": 1}
    make_trainer(callbacks=[FeatureMaps()], **options).fit(model, EdgeImage())
    (seen,) = drawn
    assert (seen.first, seen.label) == ("net", "")
    assert torch.equal(seen.filters, model.net.weight)
    ((name, maps, channels),) = seen.layers
    assert (name, channels) == ("net", 1)
    torch.testing.assert_close(maps, model.net(seen.image[None])[0])
    assert (tmp_path / "features.png").exists()


def test_convolutions_from_scratch(make_trainer: MakeTrainer, drawn: list[SimpleNamespace]) -> None:
    model = BNLeNetScratch(image_size=20)
    trainer = make_trainer(callbacks=[FeatureMaps()], enable_checkpointing=False, max_steps=1)
    trainer.fit(model, digits(image_size=20))
    (seen,) = drawn
    assert seen.first == "conv1"
    assert torch.equal(seen.filters, model.net.conv1.weight)
    assert [(layer.name, layer.channels) for layer in seen.layers] == [("conv1", 6), ("conv2", 16)]
    torch.testing.assert_close(seen.layers[0].maps, model.net.conv1(seen.image[None])[0])


def test_convolutions_in_functions_show_their_weight_alone(
    make_trainer: MakeTrainer, tmp_path: Path, drawn: list[SimpleNamespace]
) -> None:
    model = MultiDeviceLeNet(image_size=14)
    trainer = make_trainer(callbacks=[FeatureMaps()], enable_checkpointing=False, max_steps=1)
    trainer.fit(model, digits(image_size=14))
    (seen,) = drawn
    assert (seen.first, seen.layers) == ("w1", [])
    assert torch.equal(seen.filters, model.net.w1)
    assert (tmp_path / "features.png").exists()


class ImageInside(LinearRegression):
    """Makes an image of its two features."""

    def __init__(self) -> None:
        super().__init__(in_features=2)
        features = (nn.Unflatten(1, (1, 1, 2)), nn.Conv2d(1, 1, 1), nn.Flatten())
        self.net = nn.Sequential(*features, nn.Linear(2, 1))


def test_other_networks_and_processes_draw_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"callbacks": [FeatureMaps()], "enable_checkpointing": False, "max_steps": 1}
    for model in (LinearRegression(in_features=2), ImageInside()):
        make_trainer(**options).fit(model, datamodule=SyntheticRegression())
    make_trainer(**options).fit(SoftmaxRegression(image_size=12), datamodule=digits())
    second: Any = SimpleNamespace(is_global_zero=False, fast_dev_run=0, val_dataloaders=digits())
    FeatureMaps().on_train_end(second, lenet())
    assert not (tmp_path / "features.png").exists()
