"""What all image sets share: compact storage, conversion on the device, prediction of image files."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.base import BatchSize, NewData, ZooDataModule
from datamodules.interface.batches import ImageBatch
from datamodules.interface.checks import check_at_least
from datamodules.interface.errors import DataError
from datamodules.interface.images import (
    NORMALIZATIONS,
    decode_image,
    find_images,
    normalization_for,
    read_image,
    to_float,
)
from datamodules.loaders import TensorLoader
from datamodules.vision.augment import Augmentation
from datamodules.vision.geometry import random_resized_crop

__all__ = ["ImageDataModule"]


class ImageDataModule(ZooDataModule):
    """Base of the image sets: uint8 pixels in memory, float32 on the device.

    Where the trainer's precision is another (``bf16-true``, ``64-true``), the pixels have that in the end.

    Args:
        batch_size: Images in a batch on each device, or ``full``.
        seed: Seed of the split, of the training order and of the augmentations.
        image_size: Height and width in pixels that the model sees; other images are resized (bilinear, on the
            device).
        augment: Changes of the training images, or None.
        normalization: Whose mean and deviation of each channel normalise, ``imagenet`` or ``cifar10``;
            None leaves pixels in [0, 1].

    Attributes:
        in_channels: Channels of each image.
        num_classes: Number of classes.
        image_size: Height and width in pixels.
    """

    in_channels: int

    @property
    def num_classes(self) -> int:
        """Number of classes; where it is fixed, a plain attribute of the class."""
        return len(self.class_names)

    def __init__(
        self,
        *,
        batch_size: BatchSize = 128,
        seed: int = 0,
        image_size: int = 28,
        augment: Augmentation | None = None,
        normalization: str | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_at_least("image_size", image_size, 1)
        self.image_size = image_size
        self.augment = augment
        self.normalization = normalization
        if augment is not None:
            if not isinstance(augment, Augmentation):
                raise ValueError(
                    f"augment is {augment!r}, but must be an Augmentation, such as Augmentation(flip=True)"
                )
            augment.check_images(in_channels=self.in_channels, image_size=image_size)
        if normalization is not None:
            normalization_for(normalization, in_channels=self.in_channels)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make the pixels floats of the wanted size, augment in training, normalise; on the device."""
        if not isinstance(batch, ImageBatch):
            return batch  # the model's own example input
        image, label = to_float(batch.image), batch.label
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            image, label = self._augmented(self.augment, image, label)
        else:
            image = self._normalized(self._resized(image))
        if self.trainer is not None:
            # Lightning converts batches before the transfer, when the pixels are still bytes.
            image = self.trainer.precision_plugin.convert_input(image)
        return batch._replace(image=image, label=label)

    def _augmented(self, augment: Augmentation, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        generator = self.batch_generator(image.device)
        if augment.resized_crop is not None:
            image = random_resized_crop(
                image,
                self.image_size,
                scale=augment.resized_crop,
                ratio=augment.crop_ratio,
                generator=generator,
            )
        else:
            image = self._resized(image)
        image = self._normalized(augment.of_pixels(image, generator=generator))
        return augment.of_batch(image, label, num_classes=self.num_classes, generator=generator)

    def _resized(self, image: Tensor) -> Tensor:
        size = (self.image_size, self.image_size)
        if image.shape[-2:] == size:
            return image
        return torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)

    def _normalized(self, image: Tensor) -> Tensor:
        if self.normalization is None:
            return image
        return to_float(image, **NORMALIZATIONS[self.normalization]._asdict())

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
