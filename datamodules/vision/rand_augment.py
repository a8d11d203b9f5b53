"""RandAugment (Cubuk et al., 2019) on a batch: for each image its own operations."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from datamodules.vision.color import blend, grayscale, mean_gray
from datamodules.vision.geometry import affine

__all__ = ["MAX_MAGNITUDE", "OPERATIONS", "apply_operation", "rand_augment"]

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
"""In the paper's terms, saturation is "color"."""

MAX_MAGNITUDE = 30


def rand_augment(
    image: Float[Tensor, "batch channels height width"],
    *,
    operations: int,
    magnitude: int,
    generator: torch.Generator,
) -> Float[Tensor, "batch channels height width"]:
    """Apply some operations to each image, each drawn evenly from :data:`OPERATIONS`.

    The strengths of the operations are those of torchvision's RandAugment with its 31 magnitudes.

    Args:
        image: Images with values in [0, 1].
        operations: How many for each image.
        magnitude: Their strength, in [0, 30]; where an operation has two directions, one is drawn.
        generator: What is drawn from, on the images' device.
    """
    for _ in range(operations):
        shape, device = (len(image),), image.device
        which = torch.randint(len(OPERATIONS), shape, generator=generator, device=device)
        sign = torch.randint(2, shape, generator=generator, device=device) * 2 - 1
        image = apply_operation(image, which, sign, magnitude=magnitude)
    return image


def apply_operation(
    image: Float[Tensor, "batch channels height width"],
    which: Int[Tensor, " batch"],
    sign: Int[Tensor, " batch"],
    *,
    magnitude: int,
) -> Float[Tensor, "batch channels height width"]:
    """Apply one operation to each image.

    All operations are done on all images and the wanted results picked: on a device that is quicker than to
    wait until it is known which image needs which.

    Args:
        image: Images with values in [0, 1].
        which: Index in :data:`OPERATIONS` for each image.
        sign: 1 or -1, the direction for each image.
        magnitude: Strength in [0, 30].
    """
    level = magnitude / MAX_MAGNITUDE
    factor = (1 + 0.9 * level * sign).view(-1, 1, 1, 1)
    results = {
        ("shear_x", "shear_y", "translate_x", "translate_y", "rotate"): affine(
            image, _affine_maps(which, sign * level, image.shape[-2], image.shape[-1])
        ),
        ("brightness",): (image * factor).clamp(0, 1),
        ("saturation",): blend(image, grayscale(image), factor),
        ("contrast",): blend(image, mean_gray(image), factor),
        ("sharpness",): blend(image, smooth(image), factor),
        ("posterize",): posterize(image, bits=8 - round(4 * level)),
        ("solarize",): torch.where(image >= 1 - level, 1 - image, image),
        ("autocontrast",): autocontrast(image),
        ("equalize",): equalize(image),
    }
    for names, result in results.items():
        image = torch.where(_is(which, *names).view(-1, 1, 1, 1), result, image)
    return image


def _is(which: Int[Tensor, " batch"], *names: str) -> Tensor:
    """Whether each image's operation is one of those named, bool (batch,)."""
    first, last = OPERATIONS.index(names[0]), OPERATIONS.index(names[-1])
    return (which >= first) & (which <= last)


def _affine_maps(
    which: Int[Tensor, " batch"], level: Float[Tensor, " batch"], height: int, width: int
) -> Float[Tensor, "batch 2 3"]:
    """Where pixels come from: shear by up to 0.3, shift by up to 150/331 of the size, turn by up to 30°."""

    def only(name: str, value: Tensor) -> Tensor:
        return torch.where(_is(which, name), value, 0.0)

    angle = only("rotate", level * math.radians(30))
    cos, sin = angle.cos(), angle.sin()
    x = only("translate_x", (level * 150 / 331 * width).trunc())
    y = only("translate_y", (level * 150 / 331 * height).trunc())
    # The turn is around the centre, the shear leaves the first row or column in place.
    x_first = width / 2 - cos * width / 2 + sin * height / 2 - x
    y_first = height / 2 - sin * width / 2 - cos * height / 2 - y
    row_x = torch.stack([cos, only("shear_x", 0.3 * level) - sin, x_first], dim=1)
    row_y = torch.stack([only("shear_y", 0.3 * level) + sin, cos, y_first], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def smooth(
    image: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Each pixel averaged with its eight neighbours, itself counted five times; the border stays."""
    if min(image.shape[-2:]) <= 2:
        return image
    # Sums of three rows, then of three columns; pooling takes several times as long on a CPU.
    sums = image[..., :-2, :] + image[..., 1:-1, :] + image[..., 2:, :]
    sums = sums[..., :-2] + sums[..., 1:-1] + sums[..., 2:]
    smoothed = image.clone()
    smoothed[..., 1:-1, 1:-1] = (sums + 4 * image[..., 1:-1, 1:-1]) / 13
    return smoothed


def posterize(
    image: Float[Tensor, "batch channels height width"], *, bits: int
) -> Float[Tensor, "batch channels height width"]:
    """Round down to ``2**bits`` levels."""
    levels = 1 << bits
    return (image * levels).floor().clamp(max=levels - 1) / levels


def autocontrast(
    image: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Stretch each channel of each image to [0, 1]; one of a single value stays."""
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    return torch.where(flat, image, (image - low) / torch.where(flat, 1, high - low))


def equalize(
    image: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Make the 256 levels of each channel of each image about equally frequent, as Pillow does."""
    # As much below 256 as rounding may lift a product.
    index = (image * 255.999).long().flatten(2)
    count = index.new_zeros(*index.shape[:2], 256).scatter_add(2, index, torch.ones_like(index))
    # The pixels of the greatest level take no part in the step between the levels.
    step = (index.shape[2] - count.gather(2, index.amax(dim=2, keepdim=True))) // 255
    below = count.cumsum(dim=2) - count
    level = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    equalized = (level.gather(2, index) / 255).view_as(image).to(image.dtype)
    return torch.where(step[..., None] == 0, image, equalized)
