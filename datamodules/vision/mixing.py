"""Cutout, Mixup and CutMix on a batch: for each image its own square, partner and share."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["cutmix", "cutout", "mixup", "mixup_or_cutmix"]


def cutout(
    image: Float[Tensor, "batch channels height width"], size: int, *, generator: torch.Generator
) -> Float[Tensor, "batch channels height width"]:
    """Set a square of each image to 0 (DeVries and Taylor, 2017).

    Its centre is drawn evenly, so that part of the square may lie outside the image.

    Args:
        image: Images.
        size: Side of the square in pixels.
        generator: What is drawn from, on the images' device.
    """
    batch, _, height, width = image.shape
    sizes = torch.full((batch,), size, device=image.device)
    return image.masked_fill(_random_boxes(sizes, sizes, height, width, generator), 0.0)


def _random_boxes(
    box_height: Int[Tensor, " batch"],
    box_width: Int[Tensor, " batch"],
    height: int,
    width: int,
    generator: torch.Generator,
) -> Bool[Tensor, "batch 1 height width"]:
    """True within a box of each image, whose centre is drawn evenly over the pixels."""

    def within(length: Int[Tensor, " batch"], size: int) -> Tensor:
        centre = torch.randint(size, (len(length), 1), generator=generator, device=length.device)
        start = centre - length[:, None] // 2
        pixel = torch.arange(size, device=length.device)
        return (pixel >= start) & (pixel < start + length[:, None])

    return (within(box_height, height)[:, :, None] & within(box_width, width)[:, None, :])[:, None]


def random_shares(batch: int, alpha: float, *, generator: torch.Generator) -> Float[Tensor, " batch"]:
    """Numbers in [0, 1] from Beta(alpha, alpha), float32, on the generator's device.

    torch.distributions draws from the global generator alone. This is the formula for a symmetric Beta of
    Devroye, "Random variate generation in one line of code" (1996), which needs two uniform numbers.
    """
    u, v = torch.rand((2, batch), generator=generator, device=generator.device).unbind()
    cos = (2 * math.pi * v).cos()
    ratio = (-u.log() / alpha).expm1() * cos.square()  # u ** (-1 / alpha) - 1, times cos ** 2
    return 0.5 + 0.5 * cos.sign() / (1 + 1 / ratio).sqrt()


def mixup(
    image: Float[Tensor, "batch channels height width"],
    label: Float[Tensor, "batch num_classes"],
    *,
    partner: Int[Tensor, " batch"],
    alpha: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch num_classes"]]:
    """Mix each image and its label with its partner's (Zhang et al., 2018).

    Args:
        image: Images.
        label: Class probabilities.
        partner: Index of each image's partner.
        alpha: The share of the image itself is drawn from Beta(alpha, alpha).
        generator: What is drawn from, on the images' device.
    """
    share = random_shares(len(image), alpha, generator=generator)
    of_image = share.to(image.dtype).view(-1, 1, 1, 1)
    mixed = of_image * image + (1 - of_image) * image[partner]
    return mixed, _mixed_labels(label, partner, share)


def cutmix(
    image: Float[Tensor, "batch channels height width"],
    label: Float[Tensor, "batch num_classes"],
    *,
    partner: Int[Tensor, " batch"],
    alpha: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch num_classes"]]:
    """Paste a box of its partner into each image (Yun et al., 2019); labels follow the shares of pixels.

    Args:
        image: Images.
        label: Class probabilities.
        partner: Index of each image's partner.
        alpha: The share that the box leaves of the image is drawn from Beta(alpha, alpha), before what of the
            box lies outside the image is cut off.
        generator: What is drawn from, on the images' device.
    """
    height, width = image.shape[-2:]
    side = (1 - random_shares(len(image), alpha, generator=generator)).sqrt()
    box = _random_boxes((side * height).long(), (side * width).long(), height, width, generator)
    share = 1 - box.float().mean(dim=(1, 2, 3))
    return torch.where(box, image[partner], image), _mixed_labels(label, partner, share)


def _mixed_labels(
    label: Float[Tensor, "batch num_classes"], partner: Int[Tensor, " batch"], share: Float[Tensor, " batch"]
) -> Float[Tensor, "batch num_classes"]:
    return share[:, None] * label + (1 - share[:, None]) * label[partner]


def mixup_or_cutmix(
    image: Float[Tensor, "batch channels height width"],
    label: Int[Tensor, " batch"],
    *,
    num_classes: int,
    mixup_alpha: float,
    cutmix_alpha: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch num_classes"]]:
    """Mix each image with another of the batch; where both kinds are wanted, each image gets one of them.

    Args:
        image: Images.
        label: Class indices.
        num_classes: Number of classes.
        mixup_alpha: For :func:`mixup`; 0 for none.
        cutmix_alpha: For :func:`cutmix`; 0 for none. One of the two is positive.
        generator: What is drawn from, on the images' device.

    Returns:
        The images, and class probabilities, float32.
    """
    partner = torch.randperm(len(image), generator=generator, device=image.device)
    probabilities = torch.nn.functional.one_hot(label, num_classes).float()
    if not cutmix_alpha:
        return mixup(image, probabilities, partner=partner, alpha=mixup_alpha, generator=generator)
    pasted = cutmix(image, probabilities, partner=partner, alpha=cutmix_alpha, generator=generator)
    if not mixup_alpha:
        return pasted
    blended = mixup(image, probabilities, partner=partner, alpha=mixup_alpha, generator=generator)
    paste = torch.rand(len(image), generator=generator, device=image.device) < 0.5
    return (
        torch.where(paste.view(-1, 1, 1, 1), pasted[0], blended[0]),
        torch.where(paste[:, None], pasted[1], blended[1]),
    )
