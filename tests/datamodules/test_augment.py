"""Augmentations of a datamodule: what they depend on, whom they change, and which values they refuse."""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jaxtyping
import lightning as L
import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as transforms
import torchvision.transforms.v2.functional as tv
from lightning.pytorch.plugins import Precision
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from datamodules import Augmentation, FashionMNIST, ImageFolder
from datamodules.interface.batches import Batch, ImageBatch
from datamodules.vision.base import ImageDataModule
from tests.datamodules.fixtures import image_folder
from zoo import LeNet


class Colors(ImageDataModule):
    """Noise of 10 x 10 pixels in five classes."""

    in_channels = 3
    num_classes = 5

    def read_splits(self) -> dict[str, Batch]:
        batch = ImageBatch(torch.randint(256, (4, 3, 10, 10)).to(torch.uint8), torch.tensor([0, 1, 4, 4]))
        return dict.fromkeys(("train", "val", "test"), batch)


def seen(
    data: ImageDataModule,
    batch: ImageBatch,
    *,
    training: bool = True,
    epoch: int = 0,
    position: int = 0,
    rank: int = 0,
) -> ImageBatch:
    """The batch as the model sees it, if it is the one at this position of the epoch."""
    trainer: Any = SimpleNamespace(
        training=training,
        precision_plugin=Precision(),
        overfit_batches=1.0,  # the order stays
        global_rank=rank,
        world_size=2,
    )
    data.trainer = trainer
    # Each of two processes gets every other example, so both get the whole batch, at three positions.
    data.batch_size = len(batch.image)
    thrice = torch.arange(data.batch_size).repeat_interleave(2).repeat(3)
    data.splits = {"train": ImageBatch(batch.image[thrice], batch.label[thrice])}
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    for at, delivered in enumerate(loader):
        if at == position:
            result = data.on_after_batch_transfer(delivered, 0)
            assert isinstance(result, ImageBatch)
            return result
    raise AssertionError(f"there is no batch {position}")


def noise(batch: int = 64, size: int = 16, num_classes: int = 5) -> ImageBatch:
    pixels = torch.randint(256, (batch, 3, size, size)).to(torch.uint8)
    return ImageBatch(pixels, torch.arange(batch) % num_classes)


# Drawn for each image

EACH = {
    "flip": Augmentation(flip=True),
    "crop_padding": Augmentation(crop_padding=3),
    "resized_crop": Augmentation(resized_crop=(0.3, 0.9)),
    "brightness": Augmentation(brightness=0.5),
    "contrast": Augmentation(contrast=0.5),
    "saturation": Augmentation(saturation=0.5),
    "hue": Augmentation(hue=0.5),
    "rand_augment": Augmentation(rand_augment=2),
    "cutout": Augmentation(cutout=6),
    "mixup": Augmentation(mixup=1.0),
    "cutmix": Augmentation(cutmix=1.0),
}
LEAST = {"flip": 2, "rand_augment": 20}
"""Different results among 64 equal images; where it is not given, nearly all differ."""


@pytest.mark.parametrize("name", EACH)
def test_equal_images_become_different_ones_in_training_only(name: str) -> None:
    one = noise(1).image
    same = ImageBatch(one.repeat(64, 1, 1, 1), torch.arange(64) % 5)
    if name in ("mixup", "cutmix"):
        same = noise(64)
    data = Colors(image_size=16, augment=EACH[name])
    plain = same.image.float() / 255
    changed = seen(data, same)
    results = {image.numpy().tobytes() for image in changed.image - plain}
    assert len(results) >= LEAST.get(name, 30)
    assert changed.image.is_contiguous()
    assert not torch.equal(seen(data, same, position=1).image, changed.image)
    assert torch.equal(seen(data, same, training=False).image, plain)
    assert torch.equal(seen(data, same, training=False).label, same.label)
    data.trainer = None
    assert torch.equal(data.on_after_batch_transfer(same, 0).image, plain)


def test_torchvision_draws_once_for_a_batch() -> None:
    """Why its transforms are not used."""
    same = noise(1).image.repeat(64, 1, 1, 1)
    for transform in (
        transforms.RandomCrop(16, padding=3),
        transforms.RandomResizedCrop(16),
        transforms.ColorJitter(0.5, 0.5, 0.5, 0.5),
        transforms.RandAugment(),
    ):
        assert len({image.numpy().tobytes() for image in transform(same)}) == 1


@pytest.mark.parametrize("name", EACH)
def test_seed_epoch_position_and_rank_decide_and_nothing_else(name: str) -> None:
    batch = noise()

    def result(seed: int = 3, epoch: int = 0, position: int = 0, rank: int = 0) -> Tensor:
        torch.manual_seed(0)  # as the command line does on every rank
        state = torch.get_rng_state()
        data = Colors(image_size=16, augment=EACH[name], seed=seed)
        image = seen(data, batch, epoch=epoch, position=position, rank=rank).image
        assert torch.equal(torch.get_rng_state(), state)
        return image

    first = result()
    torch.rand(5)
    assert torch.equal(result(), first)
    # Each image of the batch is the same every time, so it is the draws that differ.
    others = [result(seed=4), result(epoch=1), result(epoch=2), result(position=1), result(position=2)]
    others += [result(rank=1), result(epoch=1, position=1), result(epoch=1, rank=1), result(seed=-3)]
    assert len({image.numpy().tobytes() for image in (first, *others)}) == 10


ALL: dict[str, Any] = {
    "flip": True,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.2,
    "rand_augment": 2,
    "cutout": 4,
    "mixup": 0.5,
    "cutmix": 1.0,
}
WINDOWS: dict[str, dict[str, Any]] = {
    "crop_padding": {"crop_padding": 2},
    "resized_crop": {"resized_crop": (0.3, 1.0)},
}


class Forbidding(TorchDispatchMode):
    """Refuses what copies numbers to the device or waits for some from it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func._schema.name not in {"aten::lift_fresh", "aten::_local_scalar_dense", "aten::nonzero"}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("window", WINDOWS)
def test_nothing_waits_for_the_device(window: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a CPU, and only there, torch's reads the labels to check them.
    monkeypatch.setattr(torch.nn.functional, "one_hot", lambda label, classes: torch.eye(classes)[label])
    data = Colors(image_size=12, augment=Augmentation(**ALL, **WINDOWS[window]), normalization="imagenet")
    batch = noise()
    seen(data, batch)
    with Forbidding():
        data.on_after_batch_transfer(batch, 0)
        for wait in (lambda: batch.image.new_tensor([1, 2]), lambda: int(batch.label[0])):
            with pytest.raises(AssertionError):
                wait()


class ThreeBatches(Colors):
    """Three batches of four images, the same ones each time."""

    def read_splits(self) -> dict[str, Batch]:
        generator = torch.Generator().manual_seed(1)
        pixels = torch.randint(256, (12, 3, 10, 10), generator=generator).to(torch.uint8)
        return dict.fromkeys(("train", "val", "test"), ImageBatch(pixels, torch.arange(12) % 5))


class SaveOnce(L.Callback):
    """Saves one checkpoint, after a step or at the first epoch's end."""

    def __init__(self, when: int | str) -> None:
        self.when = when

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self.when == trainer.global_step:
            trainer.save_checkpoint("saved.ckpt")

    def on_train_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self.when == "epoch's end" and trainer.current_epoch == 0:
            trainer.save_checkpoint("saved.ckpt")


def fit(data: ImageDataModule, *callbacks: L.Callback, checkpoint: Path | None = None) -> list[Tensor]:
    """LeNet's weights after three epochs of three batches."""
    classes = data.num_classes
    model = LeNet(in_channels=3, image_size=12, num_classes=classes, activation="relu", init="default")
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
    )
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint)
    assert trainer.global_step == 9
    return list(model.parameters())


@pytest.mark.parametrize("when", [2, 3, "epoch's end", 4])
@pytest.mark.parametrize(
    ("kind", "window"), [("memory", "crop_padding"), ("memory", "resized_crop"), ("files", "crop_padding")]
)
def test_a_resumed_run_is_the_uninterrupted_run(
    kind: str, window: str, when: int | str, tmp_path: Path
) -> None:
    given = image_folder(tmp_path)

    def data() -> ImageDataModule:
        augment = Augmentation(**ALL, **WINDOWS[window])
        if kind == "memory":
            return ThreeBatches(batch_size=4, image_size=12, augment=augment)
        return ImageFolder(**given | {"image_size": 12, "augment": augment})

    whole = fit(data(), SaveOnce(when))
    torch.manual_seed(7)  # the global generator is elsewhere
    resumed = fit(data(), checkpoint=Path("saved.ckpt"))
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one, other)


# What the model sees


def test_a_crop_of_everything_is_the_resized_image() -> None:
    """The stored image is resized once, from its window to the size that the model sees."""
    batch = noise(8, size=16)
    whole = Augmentation(resized_crop=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    for size in (8, 16, 24):
        cropped = seen(Colors(image_size=size, augment=whole), batch).image
        assert_close(cropped, seen(Colors(image_size=size), batch).image, atol=1e-5, rtol=0)


def test_cutout_leaves_the_mean_colour_of_normalised_images() -> None:
    data = Colors(image_size=16, augment=Augmentation(cutout=16), normalization="imagenet")
    cut = (seen(data, noise()).image == 0).all(1)  # no pixel has just the mean colour
    assert (cut.sum((1, 2)) >= 8 * 8).all()  # what remains of a square around a corner


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_become_probabilities_in_training_only(name: str) -> None:
    data, batch = Colors(image_size=16, augment=EACH[name]), noise()
    label = seen(data, batch).label
    assert (label.shape, label.dtype) == ((64, 5), torch.float32)
    assert torch.equal(seen(data, batch, training=False).label, batch.label)


# Normalisation


@pytest.mark.parametrize("name", ["imagenet", "cifar10"])
@pytest.mark.parametrize("training", [True, False])
def test_images_are_normalised_in_each_split(name: str, training: bool) -> None:
    figures = {
        "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "cifar10": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    }
    batch = noise()
    data = Colors(image_size=16, normalization=name)
    expected = tv.normalize(batch.image / 255, *figures[name])
    assert_close(seen(data, batch, training=training).image, expected)
    data.trainer = None
    assert_close(data.on_after_batch_transfer(batch, 0).image, expected)


def test_padding_is_black_before_the_normalisation() -> None:
    white = ImageBatch(torch.full((32, 3, 8, 8), 255).to(torch.uint8), torch.zeros(32).long())
    data = Colors(image_size=8, augment=Augmentation(crop_padding=4), normalization="imagenet")
    values = seen(data, white).image[:, 0].unique()
    assert_close(values, torch.tensor([-0.485 / 0.229, 0.515 / 0.229]))


def test_a_normalisation_of_other_images_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"normalization is 'imagnet', but must be one of .*mean imagenet"):
        Colors(normalization="imagnet")
    given = image_folder(tmp_path) | {"in_channels": 1, "normalization": "cifar10"}
    with pytest.raises(ValueError, match=r"is 'cifar10', but must be null for images of 1 channel\(s\)"):
        ImageFolder(**given)


# Values


SHARES = "must be two shares of the area, 0 < least <= greatest <= 1"
RATIOS = "must be two ratios, 0.1 <= least <= greatest <= 10"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"flip": "no"}, "flip is 'no', but must be true or false"),
    ({"flip": 1}, "flip is 1, but must be true or false"),
    ({"crop_padding": -1}, "crop_padding is -1, but must be at least 0"),
    ({"crop_padding": 1.0}, "crop_padding is 1.0, but must be a whole number"),
    ({"brightness": -0.1}, "brightness is -0.1, but must be in [0, 10]"),
    ({"brightness": math.inf}, "brightness is inf, but must be in [0, 10]"),
    ({"brightness": "0.4"}, "brightness is '0.4', but must be a number"),
    ({"brightness": (0.8, 1.2)}, "brightness is (0.8, 1.2), but must be a number"),
    ({"contrast": math.nan}, "contrast is nan, but must be in [0, 10]"),
    ({"contrast": True}, "contrast is True, but must be a number"),
    ({"contrast": 40}, "contrast is 40, but must be in [0, 10]"),
    ({"saturation": -1.0}, "saturation is -1.0, but must be in [0, 10]"),
    ({"saturation": 10.5}, "saturation is 10.5, but must be in [0, 10]"),
    ({"hue": 0.6}, "hue is 0.6, but must be in [0, 0.5]"),
    ({"rand_augment": -2}, "rand_augment is -2, but must be in [0, 14]"),
    ({"rand_augment": 2000}, "rand_augment is 2000, but must be in [0, 14]"),
    ({"rand_augment": True}, "rand_augment is True, but must be a whole number"),
    ({"magnitude": 31}, "magnitude is 31, but must be in [0, 30]"),
    ({"magnitude": 9.5}, "magnitude is 9.5, but must be a whole number"),
    ({"cutout": -3}, "cutout is -3, but must be at least 0"),
    ({"cutout": 2.5}, "cutout is 2.5, but must be a whole number"),
    ({"mixup": -0.2}, "mixup is -0.2, but must be in [0, 100]"),
    ({"mixup": math.inf}, "mixup is inf, but must be in [0, 100]"),
    ({"cutmix": -0.2}, "cutmix is -0.2, but must be in [0, 100]"),
    ({"cutmix": None}, "cutmix is None, but must be a number"),
    ({"cutmix": math.nan}, "cutmix is nan, but must be in [0, 100]"),
    ({"resized_crop": (0.0, 1.0)}, f"resized_crop is (0.0, 1.0), but {SHARES}"),
    ({"resized_crop": (0.5, 1.1)}, f"resized_crop is (0.5, 1.1), but {SHARES}"),
    ({"resized_crop": (0.9, 0.5)}, f"resized_crop is (0.9, 0.5), but {SHARES}"),
    ({"resized_crop": 0.5}, f"resized_crop is 0.5, but {SHARES}"),
    ({"resized_crop": (0.5,)}, f"resized_crop is (0.5,), but {SHARES}"),
    ({"resized_crop": (0.5, 0.7, 1)}, f"resized_crop is (0.5, 0.7, 1), but {SHARES}"),
    ({"resized_crop": ("0.5", "1")}, f"resized_crop is ('0.5', '1'), but {SHARES}"),
    ({"crop_ratio": (2.0, 1.0)}, f"crop_ratio is (2.0, 1.0), but {RATIOS}"),
    ({"crop_ratio": [100, 200]}, f"crop_ratio is [100, 200], but {RATIOS}"),
    ({"crop_ratio": (0.01, 1.0)}, f"crop_ratio is (0.01, 1.0), but {RATIOS}"),
    ({"crop_ratio": 1.0}, f"crop_ratio is 1.0, but {RATIOS}"),
    (
        {"resized_crop": (0.5, 1.0), "crop_padding": 2},
        "crop_padding is 2, but must be 0 where resized_crop cuts the window",
    ),
]


@pytest.fixture
def _users_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the type checks that tests have beyond a user's run."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("_users_run")
@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[str(given) for given, _ in REFUSED])
def test_values_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Augmentation(**arguments)
    assert str(caught.value) == message


@pytest.mark.usefixtures("_users_run")
def test_the_ends_of_the_ranges_are_values() -> None:
    for name in ("brightness", "contrast", "saturation"):
        Augmentation(**{name: 10})
    Augmentation(hue=0.5, rand_augment=14, magnitude=30, mixup=100, cutmix=100)
    Augmentation(resized_crop=(1, 1), crop_ratio=(0.1, 10))
    numbers: dict[str, Any] = {"brightness": np.float32(0.5), "cutout": np.int64(2)}
    Augmentation(**numbers, magnitude=0)


@pytest.mark.parametrize("name", ["crop_padding", "cutout"])
def test_no_more_pixels_than_the_model_sees(name: str) -> None:
    for size in (28, 14):
        FashionMNIST(image_size=size, augment=Augmentation(**{name: size}))
        message = f"^{name} is {size + 1}, but must be at most the {size} pixels of an image$"
        with pytest.raises(ValueError, match=message):
            FashionMNIST(image_size=size, augment=Augmentation(**{name: size + 1}))


@pytest.mark.usefixtures("_users_run")
def test_what_is_no_augmentation_is_refused() -> None:
    given: Any = {"flip": True}
    with pytest.raises(ValueError, match=r"^augment is {'flip': True}, but must be an Augmentation, such as"):
        FashionMNIST(augment=given)


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_grey_images_have_no_colours_to_change(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is 0.1, but must be 0 for images of 1 channel\(s\)"):
        FashionMNIST(augment=Augmentation(**{name: 0.1}))
    FashionMNIST(augment=Augmentation(brightness=0.1, contrast=0.1, rand_augment=1))
