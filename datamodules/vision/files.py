"""Image files as a data set for worker processes, which import this file: it must be quick to import."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.interface.images import read_image

__all__ = ["Example", "ImageFiles"]

Example = tuple[Path, int]
"""An image file and the index of its class."""


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Image files, read when they are asked for.

    An example is the image (channels, size, size), uint8, and the class index, int64.

    Args:
        examples: The files and their classes.
        channels: 1 for grey, 3 for colour; images are converted as needed.
        size: Height and width in pixels to which every image is resized.
    """

    def __init__(self, examples: list[Example], *, channels: int, size: int) -> None:
        self.examples = examples
        self.channels = channels
        self.size = size

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        path, label = self.examples[index]
        return read_image(path, channels=self.channels, size=self.size), torch.tensor(label)
