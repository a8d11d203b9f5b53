"""Geometry on a batch of images, on its device: each image has its own flip, window or affine map.

torchvision's transforms draw once for a whole batch; the functions here draw for each image. Nothing loops
over the images and nothing waits for the device. All draw from a generator on the images' device.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["affine", "random_crop", "random_flip", "random_resized_crop", "random_windows", "resized_crop"]

ATTEMPTS = 10  # windows drawn for an image before one of a fixed size is taken, as in torchvision


def uniform(
    shape: tuple[int, ...], low: float, high: float, *, generator: torch.Generator
) -> Float[Tensor, "..."]:
    """Numbers drawn evenly from [low, high), float32, on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def random_flip(
    image: Float[Tensor, "batch channels height width"], *, generator: torch.Generator
) -> Float[Tensor, "batch channels height width"]:
    """Flip left to right with probability 1/2, drawn for each image."""
    flipped = torch.rand(len(image), 1, 1, 1, generator=generator, device=image.device) < 0.5
    return torch.where(flipped, image.flip(-1), image)


def random_crop(
    image: Float[Tensor, "batch channels height width"], padding: int, *, generator: torch.Generator
) -> Float[Tensor, "batch channels height width"]:
    """Pad with black and cut out a window of the old size, drawn for each image.

    Args:
        image: Images.
        padding: Pixels added on each side.
        generator: What is drawn from, on the images' device.
    """
    batch, _, height, width = image.shape
    padded = torch.nn.functional.pad(image, (padding,) * 4)
    top, left = torch.randint(2 * padding + 1, (2, batch, 1), generator=generator, device=image.device)
    rows = top + torch.arange(height, device=image.device)
    columns = left + torch.arange(width, device=image.device)
    example = torch.arange(batch, device=image.device)
    # Indices around the slice of channels put the channels last.
    cropped = padded[example[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).contiguous()


def random_resized_crop(
    image: Float[Tensor, "batch channels height width"],
    size: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Float[Tensor, "batch channels size size"]:
    """Cut out a window of random area and shape, drawn for each image, and resize it.

    Args:
        image: Images.
        size: Height and width of the result in pixels.
        scale: Least and greatest share of the image's area.
        ratio: Least and greatest width / height of the window.
        generator: What is drawn from, on the images' device.
    """
    batch, _, height, width = image.shape
    windows = random_windows(batch, height, width, scale=scale, ratio=ratio, generator=generator)
    return resized_crop(image, *windows, size=size)


def random_windows(
    batch: int,
    height: int,
    width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"], Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Windows of random area and shape within images of the given size.

    The area is drawn evenly, the logarithm of the ratio too. Of ten draws the first that fits is taken; if
    none does, the greatest window whose ratio is in the range.

    Returns:
        Top, left, height and width in pixels, int64.
    """
    area = height * width * uniform((batch, ATTEMPTS), *scale, generator=generator)
    log_ratios = math.log(ratio[0]), math.log(ratio[1])
    shape = uniform((batch, ATTEMPTS), *log_ratios, generator=generator).exp()
    heights, widths = (area / shape).sqrt().round().long(), (area * shape).sqrt().round().long()
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    first = fits.int().argmax(dim=1, keepdim=True)
    nearest = min(max(width / height, ratio[0]), ratio[1])
    any_fits = fits.any(dim=1)
    rows = torch.where(any_fits, heights.gather(1, first)[:, 0], max(1, min(height, round(width / nearest))))
    columns = torch.where(
        any_fits, widths.gather(1, first)[:, 0], max(1, min(width, round(height * nearest)))
    )
    top = (uniform((batch,), 0, 1, generator=generator) * (height - rows + 1)).long()
    left = (uniform((batch,), 0, 1, generator=generator) * (width - columns + 1)).long()
    return top, left, rows, columns


def resized_crop(
    image: Float[Tensor, "batch channels old_height old_width"],
    top: Int[Tensor, " batch"],
    left: Int[Tensor, " batch"],
    height: Int[Tensor, " batch"],
    width: Int[Tensor, " batch"],
    *,
    size: int,
) -> Float[Tensor, "batch channels size size"]:
    """Cut each image's own window out and resize it (bilinear, antialiased).

    Resizing is linear and treats rows and columns apart, so it is a product with a matrix from each side.

    Args:
        image: Images.
        top: First row of each window.
        left: First column of each window.
        height: Rows of each window.
        width: Columns of each window.
        size: Height and width of the result in pixels.
    """
    rows = _resizing(top, height, image.shape[-2], size).to(image.dtype)
    columns = _resizing(left, width, image.shape[-1], size).to(image.dtype)
    # The channels share one product for the columns: a matrix for each takes ten times as long on a CPU.
    narrowed = (image.flatten(1, 2) @ columns.mT).view(*image.shape[:3], size)
    return rows[:, None] @ narrowed


def _resizing(
    start: Int[Tensor, " batch"], length: Int[Tensor, " batch"], old: int, new: int
) -> Float[Tensor, "batch new old"]:
    """The weight of each old pixel in each new one: a triangle around its place in the window."""
    step = (length / new)[:, None, None]
    place = (torch.arange(new, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(old, device=start.device) + 0.5 - start[:, None, None]
    # Where the window shrinks, the triangle is wider, so that no pixel is left out.
    weight = (1 - (pixel - place).abs() / step.clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel > 0) & (pixel < length[:, None, None]))
    return weight / weight.sum(dim=2, keepdim=True)


def affine(
    image: Float[Tensor, "batch channels height width"], source: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch channels height width"]:
    """Map each image by its own affine map (bilinear; black where nothing comes from within the image).

    Args:
        image: Images.
        source: For a pixel at (x, y) of the result, ``source @ (x, y, 1)`` is where it comes from, in pixels
            from the upper left corner of the image; the centre of the first pixel is at (0.5, 0.5).
    """
    height, width = image.shape[-2:]
    y = torch.arange(height, device=image.device) + 0.5
    x = torch.arange(width, device=image.device) + 0.5
    from_x, from_y, start = (part[:, None, None] for part in source.unbind(2))
    pixels = from_x * x[:, None] + from_y * y[:, None, None] + start
    # grid_sample counts from -1 to 1.
    grid = torch.stack([2 * pixels[..., 0] / width - 1, 2 * pixels[..., 1] / height - 1], dim=-1)
    return torch.nn.functional.grid_sample(image, grid.to(image.dtype), align_corners=False)
