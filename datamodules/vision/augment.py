"""Which augmentations a run uses: the argument ``augment`` of image sets (not of Digits)."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from datamodules.interface.checks import check_at_least
from datamodules.vision.color import color_jitter
from datamodules.vision.geometry import random_crop, random_flip
from datamodules.vision.mixing import cutout, mixup_or_cutmix
from datamodules.vision.rand_augment import MAX_MAGNITUDE, OPERATIONS, rand_augment

__all__ = ["Augmentation"]

WHOLE = ("crop_padding", "rand_augment", "magnitude", "cutout")
GREATEST = {
    "brightness": 10,  # more would leave black and white alone
    "contrast": 10,
    "saturation": 10,
    "hue": 0.5,
    "rand_augment": len(OPERATIONS),
    "magnitude": MAX_MAGNITUDE,
    "mixup": 100,  # shares of 1/2, nearly always
    "cutmix": 100,
}
"""The greatest values; of what counts pixels, it is the size of the images."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes of training images, drawn anew for each image each time it is seen, on the device.

    They are made in this order: crop, flip, RandAugment, brightness, contrast, saturation, hue (torchvision's
    ColorJitter draws the order of the last four); then, on normalised pixels, Cutout and Mixup or CutMix.
    Images to validate, test or predict are never changed. What is drawn depends on the data's seed, the
    epoch, the batch's position in it and the device's rank alone, so a resumed run goes on as if it had not
    been stopped.

    The book's recipe for CIFAR-10 (section 14.13) is ``resized_crop: [0.64, 1.0], crop_ratio: [1.0, 1.0],
    flip: true``, that for dogs (section 14.14) ``resized_crop: [0.08, 1.0], flip: true, brightness: 0.4,
    contrast: 0.4, saturation: 0.4``. The book cuts windows out of the dogs' whole photographs; with
    ImageFolder these are squares of ``image_size`` by then, so the windows are squeezed and less sharp.

    Args:
        flip: Flip left to right with probability 1/2.
        crop_padding: Pixels of black added on each side before a window of the old size is cut out, at most
            the image's size; 0 for none.
        resized_crop: Least and greatest share of the image's area in a window that is cut out and resized, in
            (0, 1]; None for none.
        crop_ratio: Least and greatest width / height of that window, in [0.1, 10].
        brightness: Greatest change b of the brightness, in [0, 10]: the factor is in [max(0, 1 - b), 1 + b].
        contrast: Greatest change of the contrast, likewise.
        saturation: Greatest change of the saturation, likewise; colour images only.
        hue: Greatest turn of the hue as a part of a full turn, in [0, 0.5]; colour images only.
        rand_augment: Operations of RandAugment for each image, in [0, 14]; 0 for none. The paper takes 2.
        magnitude: Strength of these operations, in [0, 30].
        cutout: Side of a square in pixels that is set to 0, which after a normalisation is the mean colour;
            at most the image's size, 0 for none.
        mixup: Images are mixed with others of the batch, by a share from Beta(mixup, mixup), in [0, 100]; 0
            for none. Labels become class probabilities.
        cutmix: A box of another image of the batch is pasted in, its size from Beta(cutmix, cutmix), in
            [0, 100]; 0 for none. If Mixup is used too, each image gets one of the two.

    Raises:
        ValueError: If a value is out of its range, or no value of its kind.
    """

    flip: bool = False
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    rand_augment: int = 0
    magnitude: int = 9
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.flip, bool):
            raise ValueError(f"flip is {self.flip!r}, but must be true or false")
        for name in (*WHOLE, *GREATEST):
            value = getattr(self, name)
            if not _is_number(value, whole=name in WHOLE):
                kind = "a whole number" if name in WHOLE else "a number"
                raise ValueError(f"{name} is {value!r}, but must be {kind}")
            if name not in GREATEST:
                check_at_least(name, value, 0)
            elif not 0 <= value <= GREATEST[name]:
                raise ValueError(f"{name} is {value!r}, but must be in [0, {GREATEST[name]}]")
        if self.resized_crop is not None and not (
            _is_pair(self.resized_crop) and 0 < self.resized_crop[0] <= self.resized_crop[1] <= 1
        ):
            raise ValueError(
                f"resized_crop is {self.resized_crop!r}, but must be two shares of the area, 0 < least <= "
                "greatest <= 1"
            )
        if self.resized_crop is not None and self.crop_padding:
            raise ValueError(
                f"crop_padding is {self.crop_padding!r}, but must be 0 where resized_crop cuts the window"
            )
        if not (_is_pair(self.crop_ratio) and 0.1 <= self.crop_ratio[0] <= self.crop_ratio[1] <= 10):
            raise ValueError(
                f"crop_ratio is {self.crop_ratio!r}, but must be two ratios, 0.1 <= least <= greatest <= 10"
            )

    def check_images(self, *, in_channels: int, image_size: int) -> None:
        """Raise ValueError if an operation needs colours or pixels that the images do not have.

        Args:
            in_channels: Channels of the images.
            image_size: Height and width in pixels that the model sees.
        """
        for name in ("crop_padding", "cutout"):
            if getattr(self, name) > image_size:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but must be at most the {image_size} pixels of an "
                    "image"
                )
        for name in ("saturation", "hue"):
            if getattr(self, name) and in_channels != 3:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but must be 0 for images of {in_channels} channel(s)"
                )

    def of_pixels(
        self, image: Float[Tensor, "batch channels height width"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch channels height width"]:
        """All that is done to pixels in [0, 1] of the wanted size, but for ``resized_crop``."""
        if self.crop_padding:
            image = random_crop(image, self.crop_padding, generator=generator)
        if self.flip:
            image = random_flip(image, generator=generator)
        if self.rand_augment:
            image = rand_augment(
                image, operations=self.rand_augment, magnitude=self.magnitude, generator=generator
            )
        return color_jitter(
            image,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
            generator=generator,
        )

    def of_batch(
        self,
        image: Float[Tensor, "batch channels height width"],
        label: Int[Tensor, " batch"],
        *,
        num_classes: int,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "batch channels height width"], Tensor]:
        """All that is done after the normalisation.

        Returns:
            The images, and the labels: class probabilities (batch, num_classes), float32, where images were
            mixed, else as they were.
        """
        if self.cutout:
            image = cutout(image, self.cutout, generator=generator)
        if self.mixup or self.cutmix:
            return mixup_or_cutmix(
                image,
                label,
                num_classes=num_classes,
                mixup_alpha=self.mixup,
                cutmix_alpha=self.cutmix,
                generator=generator,
            )
        return image, label


def _is_number(value: Any, *, whole: bool = False) -> bool:
    return isinstance(value, Integral if whole else Real) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_number, value))
