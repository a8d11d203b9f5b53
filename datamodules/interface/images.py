"""Reading and preprocessing images, for datamodules and for models that classify a photograph alone."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from datamodules.interface.checks import check_choice
from datamodules.interface.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "NORMALIZATIONS",
    "Normalization",
    "decode_image",
    "find_images",
    "normalization_for",
    "read_image",
    "to_float",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")

MODES = {1: "L", 3: "RGB"}


class Normalization(NamedTuple):
    """What is taken off each channel, and what it is then divided by; for pixels in [0, 1].

    Attributes:
        mean: Mean of each channel.
        std: Standard deviation of each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


NORMALIZATIONS = {
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
"""Figures in common use, by the set that they were measured on; the book has both (sections 14.13, 14.14)."""


def normalization_for(name: str, *, in_channels: int) -> Normalization:
    """The normalisation of this name.

    Args:
        name: A key of :data:`NORMALIZATIONS`.
        in_channels: Channels of the images to normalise.

    Raises:
        ValueError: If there is none of that name, or it is for images of another number of channels.
    """
    check_choice("normalization", name, NORMALIZATIONS)
    found = NORMALIZATIONS[name]
    if len(found.mean) != in_channels:
        raise ValueError(
            f"normalization is {name!r}, but must be null for images of {in_channels} channel(s): it is for "
            f"{len(found.mean)}"
        )
    return found


def decode_image(
    data: bytes, *, name: str, channels: int, size: int | None
) -> UInt8[Tensor, "channels height width"]:
    """Decode an image file.

    Args:
        data: The file's content.
        name: What to call it in an error.
        channels: 1 for grey, 3 for colour; converted as needed.
        size: Height and width to resize to in pixels; None keeps the image's own.

    Raises:
        DataError: If it is no image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            converted = image.convert(MODES[channels])
            if size is not None and converted.size != (size, size):
                converted = converted.resize((size, size), Image.Resampling.BILINEAR)
            pixels = np.array(converted, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as an image; replace or remove it") from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1).contiguous()


def read_image(path: Path, *, channels: int, size: int | None) -> UInt8[Tensor, "channels height width"]:
    """Read an image file; see :func:`decode_image`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return decode_image(data, name=str(path), channels=channels, size=size)


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, in the order of their paths."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def to_float(
    image: UInt8[Tensor, "batch channels height width"] | Float[Tensor, "batch channels height width"],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Float[Tensor, "batch channels height width"]:
    """Pixels as float32 in [0, 1], normalised per channel if mean and std are given (in the same units)."""
    if image.dtype == torch.uint8:
        image = image.float() / 255
    if mean is not None and std is not None:
        # Plain numbers: tensors of them would be copied to the device, and the copies wait for it.
        channels = zip(image.unbind(1), mean, std, strict=True)
        image = torch.stack([(channel - m) / s for channel, m, s in channels], dim=1)
    return image
