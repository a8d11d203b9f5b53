"""Your own images: a folder for each class."""

from pathlib import Path
from typing import Any

import torch

from datamodules._registry import register
from datamodules.base import BatchSize, Loader
from datamodules.interface.batches import ImageBatch
from datamodules.interface.checks import check_at_least, check_fraction, check_positive
from datamodules.interface.errors import DataError
from datamodules.interface.images import find_images
from datamodules.loaders import WorkerLoader
from datamodules.vision.augment import Augmentation
from datamodules.vision.base import ImageDataModule
from datamodules.vision.files import Example, ImageFiles

__all__ = ["ImageFolder"]


@register(task="image classification")
class ImageFolder(ImageDataModule):
    """Images of your own, in one folder for each class.

    Either ``root`` holds the folders of the classes (``root/cat/1.png``), or it holds ``train`` and, where
    you have them, ``val`` and ``test``, each with the folders of the classes (``root/train/cat/1.png``). A
    split without a folder is held out of the training images with the seed. Without ``train``, a folder named
    ``val`` or ``test`` is refused: it would be taken for a class. Images are read from disk as they are
    needed.

    The names of the classes come from the folders when they are first asked for, or from a checkpoint: its
    model can classify new images without the ones that it was trained on.

    Args:
        root: The folder.
        in_channels: 3 for colour, 1 for grey; images are converted as needed.
        image_size: Height and width in pixels to which every image is resized.
        batch_size: Images in a batch on each device, or ``full``.
        seed: Seed of the split, of the training order and of the augmentations.
        num_workers: Processes that read images ahead; 0 reads in the main process.
        val_fraction: Share of the training images held out for validation if there is no ``val``, in (0, 1).
        test_fraction: Share of the training images held out for testing if there is no ``test``, in (0, 1).
        augment: Changes of the training images, or None. ``resized_crop`` cuts its windows out of images that
            are squares of ``image_size`` already, not out of whole photographs.
        normalization: Whose mean and deviation of each channel normalise, ``imagenet`` or ``cifar10``;
            None leaves pixels in [0, 1].

    Attributes:
        class_names: The names of the classes' folders, in alphabetical order, or those of a checkpoint.
        files: Image files and class indices of each split, filled by ``setup``.
    """

    def __init__(
        self,
        *,
        root: str,
        in_channels: int = 3,
        image_size: int = 64,
        batch_size: BatchSize = 32,
        seed: int = 0,
        num_workers: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        augment: Augmentation | None = None,
        normalization: str | None = None,
    ) -> None:
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels is {in_channels!r}, but must be 1 (grey) or 3 (colour)")
        self.in_channels = in_channels
        super().__init__(
            batch_size=batch_size,
            seed=seed,
            image_size=image_size,
            augment=augment,
            normalization=normalization,
        )
        check_at_least("num_workers", num_workers, 0)
        check_positive("val_fraction", val_fraction)
        check_positive("test_fraction", test_fraction)
        check_fraction("val_fraction + test_fraction", val_fraction + test_fraction)
        self.root = Path(root)
        self.num_workers = num_workers
        self.fractions = {"val": val_fraction, "test": test_fraction}
        self.files: dict[str, list[Example]] = {}
        self._class_names: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes.

        Raises:
            DataError: If they are to come from the folder, but it cannot be read, holds no folders, or holds
                ``val`` or ``test`` alone.
        """
        if not self._class_names:
            self._class_names = self._names_of_folders()
        return self._class_names

    @class_names.setter
    def class_names(self, names: tuple[str, ...]) -> None:
        self._class_names = names

    def _names_of_folders(self) -> tuple[str, ...]:
        if not self.root.is_dir():
            raise DataError(
                f"root is {str(self.root)!r}, but must be a folder that holds one of images for each class"
            )
        names = tuple(_folders(self._train_folder))
        if not names:
            raise DataError(f"{self._train_folder}: holds no folders, but must hold one for each class")
        if self._train_folder == self.root:
            for split in self.fractions:
                if split in names:
                    raise DataError(
                        f"{self.root / split}: stands without {self.root / 'train'}; put the training images "
                        f"there, or rename {split} if it is a class"
                    )
        return names

    @property
    def _train_folder(self) -> Path:
        split = self.root / "train"
        return split if split.is_dir() else self.root

    def setup(self, stage: str | None = None) -> None:
        """List the image files, once.

        Raises:
            DataError: If a folder is missing or holds no images, if there are too few images to split, or if
                a class is none of the checkpoint's.
        """
        if self.files:
            return
        for name in self._names_of_folders():
            if name not in self.class_names:
                raise DataError(
                    f"{self._train_folder / name}: {name} is no class of the checkpoint, which has "
                    f"{', '.join(self.class_names)}; choose the images it was trained on, or train anew"
                )
        files: dict[str, list[Example]] = {}
        train = self._list(self._train_folder)
        order = [
            train[i] for i in torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))
        ]
        for split, fraction in self.fractions.items():
            folder = self.root / split
            if self._train_folder != self.root and folder.is_dir():
                files[split] = self._list(folder)
            else:
                size = max(1, round(len(train) * fraction))
                files[split], order = order[:size], order[size:]
        if not order:
            raise DataError(
                f"{self._train_folder}: holds {len(train)} images, too few to hold out val and test"
            )
        self.files = {"train": order, **files}

    def _list(self, folder: Path) -> list[Example]:
        """The images of each class below a folder."""
        examples: list[Example] = []
        for name in _folders(folder):
            if name not in self.class_names:
                raise DataError(f"{folder / name}: {name} is no class of {self._train_folder}")
            paths = find_images(folder / name)
            if not paths:
                raise DataError(f"{folder / name}: holds no images; add some, or remove the folder")
            examples += [(path, self.class_names.index(name)) for path in paths]
        if not examples:
            raise DataError(f"{folder}: holds no folders, but must hold those of classes")
        return examples

    def _loader(self, split: str, *, shuffle: bool) -> Loader:
        files = ImageFiles(self.files[split], channels=self.in_channels, size=self.image_size)
        sampler = self.batch_sampler(len(files), shuffle=shuffle)
        return WorkerLoader(files, sampler, ImageBatch, num_workers=self.num_workers)

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch, and the names of the classes."""
        return {**super().state_dict(), "class_names": list(self._class_names)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the epoch, and count the classes as the checkpoint's model does; files are listed anew."""
        names = tuple(state_dict.get("class_names", ()))
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "class_names"})
        if not names or names == self._class_names:
            return
        self.class_names = names
        if self.files:
            self.files = {}
            self.setup()


def _folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, in alphabetical order, without hidden ones."""
    try:
        return sorted(
            path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
