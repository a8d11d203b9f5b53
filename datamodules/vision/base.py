"""What all image sets share: compact storage, conversion on the device, prediction of image files."""

import sys
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from datamodules.base import BatchSize, NewData, ZooDataModule
from datamodules.interface.batches import ImageBatch
from datamodules.interface.checks import check_at_least
from datamodules.interface.errors import DataError
from datamodules.interface.images import decode_image, find_images, read_image, to_float
from datamodules.loaders import TensorLoader

__all__ = ["ImageDataModule"]


class ImageDataModule(ZooDataModule):
    """Base of the image sets: uint8 pixels in memory, float32 in [0, 1] on the device.

    Where the trainer's precision is another (``bf16-true``, ``64-true``), the pixels have that in the end.

    Args:
        batch_size: Images in a batch on each device, or ``full``.
        seed: Seed of the split and of the training order.
        image_size: Height and width in pixels that the model sees; other images are resized (bilinear, on the
            device).
        flip: Flip each training image left to right with probability 1/2, drawn anew each time it is seen.
        crop_padding: Pixels of black added on each side of a training image before a window of its own size
            is cut out at random; at least 0.

    Attributes:
        in_channels: Channels of each image.
        num_classes: Number of classes.
        image_size: Height and width in pixels.
    """

    in_channels: int
    num_classes: int

    def __init__(
        self,
        *,
        batch_size: BatchSize = 128,
        seed: int = 0,
        image_size: int = 28,
        flip: bool = False,
        crop_padding: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_at_least("image_size", image_size, 1)
        check_at_least("crop_padding", crop_padding, 0)
        self.image_size = image_size
        self.flip = flip
        self.crop_padding = crop_padding

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make the pixels float32 in [0, 1] of the wanted size, and augment in training, on the device."""
        if not isinstance(batch, ImageBatch):
            return batch  # the model's own example input
        image = to_float(batch.image)
        if image.shape[-1] != self.image_size or image.shape[-2] != self.image_size:
            size = (self.image_size, self.image_size)
            image = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
        if self.trainer is not None and self.trainer.training:
            if self.crop_padding:
                image = random_crop(image, self.crop_padding)
            if self.flip:
                image = random_flip(image)
        if self.trainer is not None:
            # Lightning converts batches before the transfer, when the pixels are still bytes.
            image = self.trainer.precision_plugin.convert_input(image)
        return batch._replace(image=image)

    def read_new_data(self, source: Path | None) -> NewData:
        """Images from one file, from all image files below a folder, or one image from standard input."""
        if source is None:
            names = ["-"]
            images = [self._decode(sys.stdin.buffer.read())]
        else:
            if not source.exists():
                raise DataError(f"--input {source}: there is no such file or folder")
            paths = find_images(source) if source.is_dir() else [source]
            if not paths:
                raise DataError(f"--input {source}: the folder holds no image files")
            names = [str(path) for path in paths]
            images = [read_image(path, channels=self.in_channels, size=self.image_size) for path in paths]
        batch = ImageBatch(torch.stack(images), torch.zeros(len(images), dtype=torch.int64))
        return NewData(names, TensorLoader(batch, self.batch_sampler(len(images), shuffle=False)))

    def _decode(self, data: bytes) -> Tensor:
        return decode_image(data, name="standard input", channels=self.in_channels, size=self.image_size)


def random_flip(
    image: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Flip left to right with probability 1/2, drawn for each image."""
    flipped = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
    return torch.where(flipped, image.flip(-1), image)


def random_crop(
    image: Float[Tensor, "batch channels height width"], padding: int
) -> Float[Tensor, "batch channels height width"]:
    """Pad with black and cut out a window of the old size, drawn for each image.

    Args:
        image: Images.
        padding: Pixels added on each side.
    """
    batch, _, height, width = image.shape
    padded = torch.nn.functional.pad(image, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, batch, 1), device=image.device)
    rows = top + torch.arange(height, device=image.device)
    columns = left + torch.arange(width, device=image.device)
    example = torch.arange(batch, device=image.device)
    # Indices around the slice of channels put the channels last.
    return padded[example[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
