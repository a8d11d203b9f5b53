"""Augmentations: each operation is torchvision's, but drawn for each image of a batch."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
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
from datamodules.vision import color, geometry, mixing, rand_augment
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


def images(batch: int = 6, channels: int = 3, height: int = 17, width: int = 20) -> Tensor:
    """Smooth images of whole grey levels: noise of a quarter of the size, made larger."""
    small = torch.rand(batch, channels, 5, 6)
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    return (large * 255).round() / 255


def draws() -> torch.Generator:
    """What an operation draws from."""
    return torch.Generator().manual_seed(1)


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
        pixels = torch.randint(256, (12, 3, 10, 10), generator=draws()).to(torch.uint8)
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


# Windows


@pytest.mark.parametrize("size", [9, 17, 30])
def test_each_window_is_resized_as_torchvision_does(size: int) -> None:
    image = images(5)
    windows = torch.tensor([[0, 0, 17, 20], [3, 2, 10, 12], [16, 19, 1, 1], [0, 5, 17, 3], [9, 0, 4, 20]])
    result = geometry.resized_crop(image, *windows.unbind(1), size=size)
    for i, (top, left, height, width) in enumerate(windows.tolist()):
        expected = tv.resized_crop(image[i], top, left, height, width, [size, size], antialias=True)
        assert_close(result[i], expected, atol=1e-5, rtol=0)


def test_windows_have_the_wanted_areas_and_ratios_at_any_place() -> None:
    top, left, height, width = geometry.random_windows(
        4000, 32, 32, scale=(0.25, 0.81), ratio=(0.75, 4 / 3), generator=draws()
    )
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 32).all()
    assert (left + width <= 32).all()
    # A side is rounded by up to half a pixel.
    assert ((height - 0.5) * (width - 0.5) <= 0.81 * 1024).all()
    assert ((height + 0.5) * (width + 0.5) >= 0.25 * 1024).all()
    assert ((width - 0.5) / (height + 0.5) <= 4 / 3).all()
    assert ((width + 0.5) / (height - 0.5) >= 0.75).all()
    area = (height * width).double()
    assert 0.35 * 1024 < area.quantile(0.25) < area.quantile(0.75) < 0.71 * 1024
    assert 0.45 < (width > height).double().mean() / ((width != height).double().mean()) < 0.55
    assert height.max() == 32  # a tall window may fill the image
    assert abs((top / (32 - height).clamp(min=1)).mean() - 0.5) < 0.06
    assert torch.corrcoef(torch.stack([top, left]).double())[0, 1].abs() < 0.3


def test_a_window_that_never_fits_is_the_greatest_of_its_ratio() -> None:
    windows = geometry.random_windows(8, 16, 16, scale=(1.0, 1.0), ratio=(4.0, 4.0), generator=draws())
    assert windows[2].tolist() == [4] * 8
    assert windows[3].tolist() == [16] * 8
    assert len(set(windows[0].tolist())) > 1
    tall = geometry.random_windows(8, 16, 16, scale=(1.0, 1.0), ratio=(0.25, 0.25), generator=draws())
    assert (tall[2].tolist(), tall[3].tolist()) == ([16] * 8, [4] * 8)


def test_a_crop_of_everything_is_the_resized_image() -> None:
    """The stored image is resized once, from its window to the size that the model sees."""
    batch = noise(8, size=16)
    whole = Augmentation(resized_crop=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    for size in (8, 16, 24):
        cropped = seen(Colors(image_size=size, augment=whole), batch).image
        assert_close(cropped, seen(Colors(image_size=size), batch).image, atol=1e-5, rtol=0)


# Colour


def test_hue_is_torchvisions() -> None:
    image = torch.cat([images(8), torch.full((1, 3, 17, 20), 0.4)])
    shift = torch.tensor([-0.5, -0.3, -1 / 6, 0, 0.1, 1 / 3, 0.49, 0.5, 0.2])
    result = color.adjust_hue(image, shift.view(-1, 1, 1))
    for i, part in enumerate(shift.tolist()):
        assert_close(result[i], tv.adjust_hue(image[i], part), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_jitter_is_torchvisions_with_the_factor_that_was_drawn(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images(16)
    drawn: list[Tensor] = []
    uniform = color.uniform

    def record(*arguments: Any, **keywords: Any) -> Tensor:
        drawn.append(uniform(*arguments, **keywords))
        return drawn[-1]

    monkeypatch.setattr(color, "uniform", record)
    strengths = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0) | {name: 0.4}
    result = color.color_jitter(image, **strengths, generator=draws())
    (factors,) = drawn
    adjust = getattr(tv, f"adjust_{name}")
    for i, factor in enumerate(factors.flatten().tolist()):
        assert_close(result[i], adjust(image[i], factor), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("change", "low", "high"), [(0.4, 0.6, 1.4), (1.5, 0.0, 2.5)])
def test_factors_fill_their_range(change: float, low: float, high: float) -> None:
    gray = torch.full((4000, 1, 1, 1), 0.1)
    factors = color.color_jitter(gray, brightness=change, contrast=0, saturation=0, hue=0, generator=draws())
    factors = factors.flatten() / 0.1
    assert low - 1e-5 <= factors.min() < low + 0.05
    assert high - 0.05 < factors.max() <= high + 1e-5
    assert abs(factors.mean() - (low + high) / 2) < 0.05


# RandAugment


def by_torchvision(image: Tensor, operation: str, magnitude: int, sign: int) -> Tensor:
    """One operation of torchvision's RandAugment on one image."""
    names = {"saturation": "Color", "autocontrast": "AutoContrast"}
    name = names.get(operation, operation.title().replace("_", ""))
    reference = transforms.RandAugment(interpolation=transforms.InterpolationMode.BILINEAR)
    strengths, signed = reference._AUGMENTATION_SPACE[name]
    found = strengths(31, *image.shape[-2:])
    strength = 0.0 if found is None else float(found[magnitude]) * (sign if signed else 1)
    result = reference._apply_image_or_video_transform(
        image, name, strength, interpolation=reference.interpolation, fill=reference._fill
    )
    assert isinstance(result, Tensor)
    return result


@pytest.mark.parametrize("magnitude", [0, 5, 9, 14, 30])
@pytest.mark.parametrize("operation", rand_augment.OPERATIONS)
def test_each_operation_is_torchvisions(operation: str, magnitude: int) -> None:
    image = images(6)
    image[5, 1] = 0.2  # a channel of one value
    sign = torch.tensor([1, -1, 1, -1, 1, -1])
    which = torch.full((6,), rand_augment.OPERATIONS.index(operation))
    result = rand_augment.apply_operation(image, which, sign, magnitude=magnitude)
    for i in range(6):
        expected = by_torchvision(image[i], operation, magnitude, int(sign[i]))
        assert_close(result[i], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("operation", rand_augment.OPERATIONS)
def test_operations_on_grey_images(operation: str) -> None:
    image = images(2, channels=1, height=28, width=28)
    which = torch.full((2,), rand_augment.OPERATIONS.index(operation))
    result = rand_augment.apply_operation(image, which, torch.tensor([1, -1]), magnitude=12)
    for i, sign in enumerate((1, -1)):
        assert_close(result[i], by_torchvision(image[i], operation, 12, sign), atol=2e-5, rtol=0)


def test_images_of_a_batch_get_different_operations_at_once() -> None:
    count = len(rand_augment.OPERATIONS)
    image, sign = images(1).repeat(count, 1, 1, 1), torch.ones(count).long()
    mixed = rand_augment.apply_operation(image, torch.arange(count), sign, magnitude=20)
    for i in range(count):
        alone = rand_augment.apply_operation(image[:1], torch.tensor([i]), sign[:1], magnitude=20)
        assert torch.equal(mixed[i : i + 1], alone)


def test_all_operations_and_both_directions_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Tensor, Tensor]] = []

    def record(image: Tensor, which: Tensor, sign: Tensor, *, magnitude: int) -> Tensor:
        assert magnitude == 7
        drawn.append((which, sign))
        return image

    monkeypatch.setattr(rand_augment, "apply_operation", record)
    rand_augment.rand_augment(torch.zeros(7000, 1, 2, 2), operations=2, magnitude=7, generator=draws())
    assert len(drawn) == 2
    for which, sign in drawn:
        counts = which.bincount(minlength=14)
        assert len(counts) == 14
        assert 400 < counts.min() <= counts.max() < 600  # 500 are expected, deviation 21.5
        assert sorted(set(sign.tolist())) == [-1, 1]
        assert abs(sign.double().mean()) < 0.06
    assert not torch.equal(drawn[0][0], drawn[1][0])


# Cutout, Mixup, CutMix


def test_cutout_sets_one_square_to_zero() -> None:
    cut = mixing.cutout(torch.ones(2000, 3, 12, 14), 6, generator=draws())
    assert torch.equal(cut[:, 0], cut[:, 2])
    gone = cut[:, 0] == 0
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.sum((1, 2)), rows * columns)
    # Centres are drawn over all pixels: of 12 places 7 leave all six rows within, of 14 9.
    assert rows.min() == columns.min() == 3
    assert rows.max() == columns.max() == 6
    assert abs((rows == 6).double().mean() - 7 / 12) < 0.05
    assert abs((columns == 6).double().mean() - 9 / 14) < 0.05
    assert gone.any(0).all()


def test_cutout_leaves_the_mean_colour_of_normalised_images() -> None:
    data = Colors(image_size=16, augment=Augmentation(cutout=40), normalization="imagenet")
    assert (seen(data, noise()).image == 0).all((2, 3)).any()


@pytest.mark.parametrize(
    ("alpha", "below"),
    [
        (0.5, lambda x: 2 / math.pi * x.sqrt().asin()),
        (1.0, lambda x: x),
        (2.0, lambda x: 3 * x**2 - 2 * x**3),
        (3.0, lambda x: 10 * x**3 - 15 * x**4 + 6 * x**5),
    ],
)
def test_shares_have_the_distribution_of_beta(alpha: float, below: Callable[[Tensor], Tensor]) -> None:
    shares = mixing.random_shares(20_000, alpha, generator=draws()).double().sort().values
    distance = (below(shares) - torch.arange(20_000) / 20_000).abs().max()
    assert distance < 1.63 / math.sqrt(20_000)  # Kolmogorov and Smirnov: exceeded by 1 of 100 samples


@pytest.mark.parametrize("alpha", [1e-3, 1e3])
def test_shares_of_extreme_values_are_numbers(alpha: float) -> None:
    shares = mixing.random_shares(20_000, alpha, generator=draws())
    assert ((shares >= 0) & (shares <= 1)).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_mixes_images_and_labels_by_the_same_share(alpha: float) -> None:
    # The image of class i has the value 1 at pixel i: it must become its own label.
    label = torch.eye(5).repeat(400, 1)
    image = label.view(-1, 1, 1, 5)
    mixed, probabilities = mixing.mixup(
        image, label, partner=torch.randperm(2000), alpha=alpha, generator=draws()
    )
    assert_close(mixed.view(-1, 5), probabilities)
    assert_close(probabilities.sum(1), torch.ones(2000))
    share = probabilities[torch.arange(2000), label.argmax(1)]
    share = share[(probabilities > 0).sum(1) == 2]
    # The variance of Beta(a, a) is 1 / (4 (2a + 1)).
    assert abs(share.mean() - 0.5) < 0.05
    assert abs(share.var() * 4 * (2 * alpha + 1) - 1) < 0.15


def test_cutmix_labels_are_the_shares_of_pixels() -> None:
    label = torch.eye(5).repeat(200, 1)
    image = label.argmax(1).float().view(-1, 1, 1, 1).expand(-1, 3, 8, 10).contiguous()
    partner = torch.randperm(1000)
    mixed, probabilities = mixing.cutmix(image, label, partner=partner, alpha=1.0, generator=draws())
    expected = torch.stack([(mixed[:, 0] == i).float().mean((1, 2)) for i in range(5)], dim=1)
    assert_close(probabilities, expected)
    pasted = mixed[:, 0] != image[:, 0]
    rows, columns = pasted.any(2).sum(1), pasted.any(1).sum(1)
    assert torch.equal(pasted.sum((1, 2)), rows * columns)  # boxes
    # Without the cut at the border, 1 - share would be even in [0, 1].
    assert rows.max() == 7  # a side of 8 has no probability
    assert 0.15 < (1 - probabilities[torch.arange(1000), label.argmax(1)]).mean() < 0.45


def test_partners_are_others_of_the_batch_each_once() -> None:
    image = torch.arange(64).float().view(64, 1, 1, 1).expand(64, 1, 6, 6).contiguous()
    label = torch.arange(64)
    _, probabilities = mixing.mixup_or_cutmix(
        image, label, num_classes=64, mixup_alpha=1.0, cutmix_alpha=0.0, generator=draws()
    )
    others = probabilities * (1 - torch.eye(64))
    assert ((others > 0).sum(1) <= 1).all()
    assert ((others > 0).sum(0) <= 1).all()
    assert (others.sum(1) > 0).sum() > 50


def test_where_both_are_wanted_each_image_gets_one() -> None:
    image = torch.arange(400).float().view(400, 1, 1, 1).expand(400, 1, 8, 8).contiguous()
    mixed, probabilities = mixing.mixup_or_cutmix(
        image, torch.arange(400), num_classes=400, mixup_alpha=1.0, cutmix_alpha=1.0, generator=draws()
    )
    means = mixed.mean((1, 2, 3))
    assert_close(probabilities @ torch.arange(400.0), means, atol=1e-2, rtol=1e-4)
    even = mixed.amax((1, 2, 3)) == mixed.amin((1, 2, 3))
    assert 120 < even.sum() < 280  # Mixup, and boxes of no pixel


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop_padding": -1}, "crop_padding is -1, but must be at least 0"),
        ({"brightness": -0.1}, "brightness is -0.1, but must be at least 0"),
        ({"contrast": math.nan}, "contrast is nan, but must be at least 0"),
        ({"saturation": -1.0}, "saturation is -1.0, but must be at least 0"),
        ({"hue": 0.6}, r"hue is 0.6, but must be in \[0, 0.5\]"),
        ({"rand_augment": -2}, "rand_augment is -2, but must be at least 0"),
        ({"magnitude": 31}, r"magnitude is 31, but must be in \[0, 30\]"),
        ({"cutout": -3}, "cutout is -3, but must be at least 0"),
        ({"mixup": -0.2}, "mixup is -0.2, but must be at least 0"),
        ({"cutmix": -0.2}, "cutmix is -0.2, but must be at least 0"),
        ({"resized_crop": (0.0, 1.0)}, r"resized_crop is \(0.0, 1.0\), but must be two shares"),
        ({"resized_crop": (0.9, 0.5)}, r"resized_crop is \(0.9, 0.5\), but must be two shares"),
        ({"crop_ratio": (2.0, 1.0)}, r"crop_ratio is \(2.0, 1.0\), but must be two ratios"),
        ({"resized_crop": (0.5, 1.0), "crop_padding": 2}, "crop_padding is 2, but must be 0 where"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_grey_images_have_no_colours_to_change(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is 0.1, but must be 0 for images of 1 channel\(s\)"):
        FashionMNIST(augment=Augmentation(**{name: 0.1}))
    FashionMNIST(augment=Augmentation(brightness=0.1, contrast=0.1, rand_augment=1))
