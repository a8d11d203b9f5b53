"""Fashion-MNIST (section 4.2): clothing in ten classes, the book's standard image set."""

import math
import struct
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from datamodules._download import RemoteFile, get_file, read_file
from datamodules._registry import register
from datamodules.base import BatchSize, default_data_dir
from datamodules.interface.batches import Batch, ImageBatch
from datamodules.interface.errors import DataError
from datamodules.vision.augment import Augmentation
from datamodules.vision.base import ImageDataModule

__all__ = ["FashionMNIST", "parse_idx"]

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)


def _file(name: str, sha256: str) -> RemoteFile:
    return RemoteFile(name=name, sha256=sha256, urls=tuple(mirror + name for mirror in MIRRORS))


# SHA-256 of the unpacked content.
TRAIN_IMAGES = _file(
    "train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
)
TRAIN_LABELS = _file(
    "train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
)
TEST_IMAGES = _file(
    "t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
)
TEST_LABELS = _file(
    "t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
)


def parse_idx(data: bytearray, *, name: str) -> UInt8[Tensor, "..."]:
    """Read an array of bytes in the IDX format of MNIST.

    torchvision's reader would do the same, but says of a damaged file only that an assertion failed.

    Args:
        data: The content of the file: the magic number ``00 00 08 rank``, the sizes as big-endian int32, the
            values.
        name: What to call the file in an error.

    Returns:
        The array, uint8, with the sizes that the file names; it shares the memory of ``data``.

    Raises:
        DataError: If the magic number is wrong, or the values are more or fewer than the sizes say.
    """
    rank = data[3] if len(data) > 3 and data[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * rank
    if rank == 0 or len(data) <= start:
        raise DataError(f"{name}: is no IDX file of bytes (it starts with {data[:4].hex(' ') or 'nothing'})")
    sizes = struct.unpack(f">{rank}I", data[4:start])
    if len(data) - start != math.prod(sizes):
        raise DataError(
            f"{name}: holds {len(data) - start} values, but must hold {math.prod(sizes)} by its sizes {sizes}"
        )
    return torch.frombuffer(data, dtype=torch.uint8, offset=start).reshape(sizes)


@register(book=("D04",), task="image classification", config="linear/softmax_regression_fashion_mnist.yaml")
class FashionMNIST(ImageDataModule):
    """Fashion-MNIST, 70,000 grey images of clothing, 28 x 28 pixels (section 4.2; Xiao et al., 2017).

    The book validates on the test split. Here the validation images are held out of the 60,000 training
    images, and the 10,000 test images are only tested on. The pixels are not normalised, as in the book.

    The files are taken from ``<data_dir>/fashion-mnist`` under their public names, or from torchvision's own
    folder ``<data_dir>/FashionMNIST/raw``, packed or not; else they are downloaded into the former (31 MB).

    Args:
        batch_size: Images in a batch on each device, or ``full``.
        seed: Seed of the split, of the training order and of the augmentations.
        image_size: Height and width in pixels that the model sees; the book uses 28, 96 and 224.
        data_dir: Folder of the datasets; None means ``$ZOO_DATA_DIR``, else ``data``.
        val_size: Images held out of the training images for validation, in [1, 59999].
        augment: Changes of the training images, or None.
    """

    in_channels = 1
    num_classes = 10
    class_names = (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )

    def __init__(
        self,
        *,
        batch_size: BatchSize = 128,
        seed: int = 0,
        image_size: int = 28,
        data_dir: str | None = None,
        val_size: int = 6000,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, image_size=image_size, augment=augment)
        if not 1 <= val_size <= 59_999:
            raise ValueError(f"val_size is {val_size!r}, but must be in [1, 59999]")
        self.data_dir = data_dir
        self.val_size = val_size

    def _places(self, file: RemoteFile) -> list[Path]:
        root = Path(self.data_dir or default_data_dir())
        names = (file.name, file.name.removesuffix(".gz"))
        return [
            folder / name
            for folder in (root / "fashion-mnist", root / "FashionMNIST" / "raw")
            for name in names
        ]

    def _read(self, file: RemoteFile) -> UInt8[Tensor, "..."]:
        return parse_idx(read_file(self._places(file)), name=file.name)

    def prepare_data(self) -> None:
        """Find or download the four files, and check their content."""
        for file in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
            get_file(file, self._places(file))

    def read_splits(self) -> dict[str, Batch]:
        """Read the four files and hold out validation images with the seed."""
        train = ImageBatch(self._read(TRAIN_IMAGES)[:, None], self._read(TRAIN_LABELS).long())
        test = ImageBatch(self._read(TEST_IMAGES)[:, None], self._read(TEST_LABELS).long())
        order = torch.randperm(len(train.label), generator=torch.Generator().manual_seed(self.seed))
        held_out, kept = order[: self.val_size], order[self.val_size :]
        return {
            "train": ImageBatch(train.image[kept], train.label[kept]),
            "val": ImageBatch(train.image[held_out], train.label[held_out]),
            "test": test,
        }
