"""Colour on a batch of images with values in [0, 1]: each image has its own strength."""

import torch
from jaxtyping import Float
from torch import Tensor

from datamodules.vision.geometry import uniform

__all__ = ["adjust_hue", "blend", "color_jitter", "grayscale", "mean_gray"]

LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue (ITU-R 601-2)


def blend(
    image: Float[Tensor, "batch channels height width"],
    other: Float[Tensor, "#batch #channels #height #width"],
    factor: Float[Tensor, "batch 1 1 1"],
) -> Float[Tensor, "batch channels height width"]:
    """``factor * image + (1 - factor) * other``, cut off at 0 and 1; above 1 it leads away from the other."""
    return (other + factor * (image - other)).clamp(0, 1)


def grayscale(
    image: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch 1 height width"]:
    """The brightness of each pixel; a grey image is its own."""
    if image.shape[1] == 1:
        return image
    # Plain numbers: a tensor of them would be copied to the device, and the copy waits for it.
    red, green, blue = (weight * channel for weight, channel in zip(LUMA, image.unbind(1), strict=True))
    return (red + green + blue)[:, None]


def mean_gray(image: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1 1 1"]:
    """The mean brightness of each image."""
    return grayscale(image).mean(dim=(1, 2, 3), keepdim=True)


def adjust_hue(
    image: Float[Tensor, "batch 3 height width"], shift: Float[Tensor, "batch 1 1"]
) -> Float[Tensor, "batch 3 height width"]:
    """Turn the hue of each image, with brightness (value) and saturation of each pixel kept.

    Args:
        image: Colour images.
        shift: Part of a whole turn for each image; red, green and blue are a third of a turn apart.
    """
    red, green, blue = image.unbind(1)
    value, lead = image.max(dim=1)
    chroma = value - image.amin(dim=1)
    # The hue in sixths of a turn: 0 at red, 2 at green, 4 at blue; any will do where there is no colour.
    divisor = torch.where(chroma == 0, 1, chroma)
    sixths = torch.where(
        lead == 0,
        (green - blue) / divisor,
        torch.where(lead == 1, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sixths = sixths + 6 * shift
    # Each channel is at the value within a sixth of its own hue, and falls to value - chroma in another.
    away = torch.stack([(sixths + offset) % 6 for offset in (5, 3, 1)], dim=1)
    share = torch.minimum(away, 4 - away).clamp(0, 1)
    return value[:, None] - chroma[:, None] * share


def color_jitter(
    image: Float[Tensor, "batch channels height width"],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch channels height width"]:
    """Change brightness, contrast, saturation and hue, in this order, by factors drawn for each image.

    torchvision draws the order too, once for a whole batch.

    Args:
        image: Images; saturation and hue need three channels.
        brightness: Greatest change b of the factor, which is drawn from [max(0, 1 - b), 1 + b]; 0 changes
            nothing.
        contrast: Likewise, towards and away from the image's mean grey.
        saturation: Likewise, towards and away from grey.
        hue: Greatest part of a turn, in [0, 0.5].
        generator: What is drawn from, on the images' device.
    """

    def factor(change: float) -> Float[Tensor, "batch 1 1 1"]:
        return uniform((len(image), 1, 1, 1), max(0.0, 1 - change), 1 + change, generator=generator)

    if brightness:
        image = (image * factor(brightness)).clamp(0, 1)
    if contrast:
        image = blend(image, mean_gray(image), factor(contrast))
    if saturation:
        image = blend(image, grayscale(image), factor(saturation))
    if hue:
        image = adjust_hue(image, uniform((len(image), 1, 1), -hue, hue, generator=generator))
    return image
