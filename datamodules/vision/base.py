"""What all image sets share: compact storage, conversion on the device, prediction of image files."""

import sys
from pathlib import Path
from typing import Any

import torch

from datamodules.base import BatchSize, NewData, ZooDataModule
from datamodules.interface.batches import ImageBatch
from datamodules.interface.checks import check_at_least
from datamodules.interface.errors import DataError
from datamodules.interface.images import decode_image, find_images, read_image, to_float
from datamodules.loaders import TensorLoader

__all__ = ["ImageDataModule"]


class ImageDataModule(ZooDataModule):
    """Base of the image sets: uint8 pixels in memory, float32 in [0, 1] on the device.

    Args:
        batch_size: Images in a batch on each device, or ``full``.
        seed: Seed of the split and of the training order.
        image_size: Height and width in pixels that the model sees; other images are resized (bilinear, on the
            device).
        flip: Flip each training image left to right with probability 1/2, drawn anew each time it is seen.

    Attributes:
        in_channels: Channels of each image.
        num_classes: Number of classes.
        image_size: Height and width in pixels.
    """

    in_channels: int
    num_classes: int

    def __init__(
        self, *, batch_size: BatchSize = 128, seed: int = 0, image_size: int = 28, flip: bool = False
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_at_least("image_size", image_size, 1)
        self.image_size = image_size
        self.flip = flip

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make the pixels float32 in [0, 1] of the wanted size, and flip in training, on the device."""
        if not isinstance(batch, ImageBatch):
            return batch  # the model's own example input
        image = to_float(batch.image)
        if image.shape[-1] != self.image_size or image.shape[-2] != self.image_size:
            size = (self.image_size, self.image_size)
            image = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
        if self.flip and self.trainer is not None and self.trainer.training:
            flipped = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
            image = torch.where(flipped, image.flip(-1), image)
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

    def _decode(self, data: bytes) -> torch.Tensor:
        return decode_image(data, name="standard input", channels=self.in_channels, size=self.image_size)
