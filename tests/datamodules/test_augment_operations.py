"""Each operation of the augmentations: torchvision's, but drawn for each image of a batch."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.transforms.v2 as transforms
import torchvision.transforms.v2.functional as tv
from torch import Tensor
from torch.testing import assert_close

from datamodules.vision import color, geometry, mixing, rand_augment


def draws() -> torch.Generator:
    """What an operation draws from."""
    return torch.Generator().manual_seed(1)


def images(batch: int = 6, channels: int = 3, height: int = 17, width: int = 20) -> Tensor:
    """Smooth images of whole grey levels: noise of a quarter of the size, made larger."""
    small = torch.rand(batch, channels, 5, 6)
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    return (large * 255).round() / 255


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
