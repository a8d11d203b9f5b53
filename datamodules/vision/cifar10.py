"""CIFAR-10 (section 14.1): colour photographs in ten classes, 32 x 32 pixels."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from datamodules._download import RemoteFile, get_file, read_members
from datamodules._registry import register
from datamodules.base import BatchSize, default_data_dir
from datamodules.interface.batches import Batch, ImageBatch
from datamodules.interface.errors import DataError
from datamodules.vision.augment import Augmentation
from datamodules.vision.base import ImageDataModule

__all__ = ["CIFAR10", "CIFAR10_CLASSES", "parse_batch"]

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

# MD5 is what was published; torchvision checks the same.
TRAIN_FILES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST_FILES = {"test_batch": "40351d587109b95175f43aff81a1287e"}

ARCHIVE = RemoteFile(
    name="cifar-10-python.tar.gz",
    members_md5=TRAIN_FILES | TEST_FILES,
    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
)

UNPACKED = "cifar-10-batches-py"


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    """Reads plain values and NumPy's arrays; what else a pickle asks for could run code, and is refused."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 writes the module under its new name.
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of CIFAR-10 needs")
        return ALLOWED[key]


def parse_batch(
    data: bytes, *, name: str
) -> tuple[UInt8[Tensor, "images 3 32 32"], Int64[Tensor, " images"]]:
    """Read one of the files, a pickle of Python 2, without running what a pickle may hold.

    Args:
        data: The content of the file.
        name: What to call it in an error.

    Returns:
        Images and class indices.

    Raises:
        DataError: If it is no file of CIFAR-10.
    """
    try:
        content = _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
        pixels = np.asarray(content["data"])
        labels = np.asarray(content["labels"])
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3 * 32 * 32):
            raise ValueError(f"its pixels are {pixels.dtype} of shape {pixels.shape}")
        if labels.dtype.kind != "i" or not 0 <= labels.min() <= labels.max() <= 9:
            raise ValueError("its labels are not in [0, 9]")
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
        raise DataError(
            f"{name}: is no file of CIFAR-10 ({error}); move it away to have it downloaded again"
        ) from error
    return torch.tensor(pixels).view(-1, 3, 32, 32), torch.tensor(labels, dtype=torch.int64)


@register(book=("D12",), task="image classification", config="cnn/resnet18_small_cifar10.yaml")
class CIFAR10(ImageDataModule):
    """CIFAR-10, 60,000 colour photographs, 32 x 32 pixels (section 14.1; Krizhevsky, 2009).

    The book validates on the test split. Here the validation images are held out of the 50,000 training
    images, and the 10,000 test images are only tested on. The book's augmentation is
    ``augment: {flip: true}``, without normalisation.

    The archive ``cifar-10-python.tar.gz`` is read as it is from ``<data_dir>/cifar10`` or ``<data_dir>``; the
    unpacked folder ``cifar-10-batches-py`` in either, as torchvision leaves it, will do too. Else the archive
    is downloaded into the former (170 MB).

    Args:
        batch_size: Images in a batch on each device, or ``full``; the book's is 256.
        seed: Seed of the split, of the training order and of the augmentations.
        image_size: Height and width in pixels that the model sees.
        data_dir: Folder of the datasets; None means ``$ZOO_DATA_DIR``, else ``data``.
        val_size: Images held out of the training images for validation, in [1, 49999].
        augment: Changes of the training images, or None.
        normalization: Whose mean and deviation of each channel normalise, ``imagenet`` or ``cifar10``;
            None leaves pixels in [0, 1].
    """

    in_channels = 3
    num_classes = 10
    class_names = CIFAR10_CLASSES

    def __init__(
        self,
        *,
        batch_size: BatchSize = 128,
        seed: int = 0,
        image_size: int = 32,
        data_dir: str | None = None,
        val_size: int = 5000,
        augment: Augmentation | None = None,
        normalization: str | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            seed=seed,
            image_size=image_size,
            augment=augment,
            normalization=normalization,
        )
        if not 1 <= val_size <= 49_999:
            raise ValueError(f"val_size is {val_size!r}, but must be in [1, 49999]")
        self.data_dir = data_dir
        self.val_size = val_size

    def _places(self) -> list[Path]:
        root = Path(self.data_dir or default_data_dir())
        return [folder / name for name in (ARCHIVE.name, UNPACKED) for folder in (root / "cifar10", root)]

    def prepare_data(self) -> None:
        """Find or download the archive, and check the content of its files."""
        get_file(ARCHIVE, self._places())

    def read_splits(self) -> dict[str, Batch]:
        """Read the six files and hold out validation images with the seed."""
        files = read_members(self._places(), [*TRAIN_FILES, *TEST_FILES])
        parsed = {name: parse_batch(data, name=name) for name, data in files.items()}
        image, label = (
            torch.cat(parts) for parts in zip(*(parsed[name] for name in TRAIN_FILES), strict=True)
        )
        order = torch.randperm(len(label), generator=torch.Generator().manual_seed(self.seed))
        held_out, kept = order[: self.val_size], order[self.val_size :]
        return {
            "train": ImageBatch(image[kept], label[kept]),
            "val": ImageBatch(image[held_out], label[held_out]),
            "test": ImageBatch(*parsed["test_batch"]),
        }
