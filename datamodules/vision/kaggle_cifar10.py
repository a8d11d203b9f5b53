"""CIFAR-10 as in the Kaggle competition (section 14.13): PNG files and a table of labels."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from datamodules._download import RemoteFile, get_file
from datamodules._registry import register
from datamodules.base import BatchSize, NewData, default_data_dir
from datamodules.interface.batches import Batch, ImageBatch
from datamodules.interface.checks import check_positive
from datamodules.interface.errors import DataError
from datamodules.interface.images import decode_image
from datamodules.interface.registry import near_names
from datamodules.loaders import TensorLoader
from datamodules.tabular.table import parse_csv
from datamodules.vision.augment import Augmentation
from datamodules.vision.base import ImageDataModule
from datamodules.vision.cifar10 import CIFAR10_CLASSES

__all__ = ["KaggleCIFAR10"]

SMALL = RemoteFile(
    name="kaggle_cifar10_tiny.zip",
    sha1="2068874e4b9a9f0fb07ebe0ad2b29754449ccacd",
    urls=("http://d2l-data.s3-accelerate.amazonaws.com/kaggle_cifar10_tiny.zip",),
)

LABELS = "trainLabels.csv"


@register(book=("D16",), task="image classification", config="cnn/resnet18_small_kaggle_cifar10.yaml")
class KaggleCIFAR10(ImageDataModule):
    """CIFAR-10 in the files of the Kaggle competition (section 14.13), the book's small set or all of it.

    As in the book, a tenth of the size of the smallest class is held out of each class for validation. The
    competition's test images have no labels, so the same number again is held out for our test split; the
    book trains on these. The images without labels are for :meth:`read_competition_rows` and, from the
    command line, for ``predict --input`` with the folder or zip file.

    The book's preprocessing is ``augment: {resized_crop: [0.64, 1.0], crop_ratio: [1.0, 1.0], flip: true}``
    and ``normalization: cifar10``. It enlarges images to 40 pixels before it cuts windows of that share;
    these are the same windows, but for whole pixels, and they are interpolated once, not twice.

    The small set is taken from ``<data_dir>/cifar10-tiny`` or ``<data_dir>``, as ``kaggle_cifar10_tiny.zip``
    or as the folder ``kaggle_cifar10_tiny``; it is used as it lies there. Else it is downloaded into the
    former.

    Args:
        root: Folder or zip file of the competition: ``train/<id>.png``, ``trainLabels.csv`` and, to predict,
            ``test/<id>.png``. All images are held in memory (3 kB each). None means the small set.
        batch_size: Images in a batch on each device, or ``full``; the book takes 32 for the small set and
            128 for all.
        seed: Seed of the split, of the training order and of the augmentations.
        image_size: Height and width in pixels that the model sees.
        data_dir: Folder of the datasets, for the small set; None means ``$ZOO_DATA_DIR``, else ``data``.
        val_fraction: Share of the smallest class's size that is held out of each class for validation, and
            again for the test, in (0, 0.5); at least one image.
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
        root: str | None = None,
        batch_size: BatchSize = 32,
        seed: int = 0,
        image_size: int = 32,
        data_dir: str | None = None,
        val_fraction: float = 0.1,
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
        check_positive("val_fraction", val_fraction)
        if not val_fraction < 0.5:
            raise ValueError(f"val_fraction is {val_fraction!r}, but must be in (0, 0.5)")
        self.root = root
        self.data_dir = data_dir
        self.val_fraction = val_fraction

    def _places(self) -> list[Path]:
        if self.root is not None:
            return [Path(self.root)]
        data_dir = Path(self.data_dir or default_data_dir())
        names = (SMALL.name, SMALL.name.removesuffix(".zip"))
        return [folder / name for name in names for folder in (data_dir / "cifar10-tiny", data_dir)]

    @property
    def source(self) -> Path:
        """The folder or zip file that is read.

        Raises:
            DataError: If there is none.
        """
        places = self._places()
        found = next((path for path in places if path.exists()), None)
        if found is None:
            way_out = "prepare_data() gets it" if self.root is None else "check the path"
            raise DataError(f"{places[0]}: is missing; {way_out}")
        return found

    def prepare_data(self) -> None:
        """Download the small set if it is wanted and not there."""
        places = self._places()
        if self.root is None and not any(path.exists() for path in places):
            get_file(SMALL, places[:1])

    def read_splits(self) -> dict[str, Batch]:
        """Read the labelled images and hold out validation and test images of each class with the seed.

        Raises:
            DataError: If an image has no label or a label no image, or a class has too few images.
        """
        source = self.source
        with _files(source) as (names, read):
            labels = _read_labels(source, names, read)
            images = _read_images(source, names, read, "train")
        for name in images:
            if name not in labels:
                raise DataError(
                    f"{source}/train/{name}.png: has no label; add it to {LABELS}, or remove the image"
                )
        for name in labels:
            if name not in images:
                raise DataError(
                    f"{source}/{LABELS}: labels {name}, but there is no train/{name}.png; add it, or remove "
                    "the label"
                )
        label = torch.tensor([labels[name] for name in images])
        whole = ImageBatch(torch.stack(list(images.values())), label)
        return {
            split: ImageBatch(*(field[part] for field in whole)) for split, part in self._parts(label).items()
        }

    def _parts(self, label: Tensor) -> dict[str, Tensor]:
        """Indices of the examples of each split."""
        order = torch.randperm(len(label), generator=torch.Generator().manual_seed(self.seed))
        of_classes = [order[label[order] == index] for index in range(self.num_classes)]
        classes = [members for members in of_classes if len(members) > 0]
        smallest = min(len(members) for members in classes)
        size = max(1, int(smallest * self.val_fraction))
        if smallest <= 2 * size:
            raise DataError(
                f"{self.source}: its smallest class has {smallest} image(s), too few to hold out val and test"
            )
        return {
            "train": torch.cat([members[2 * size :] for members in classes]),
            "val": torch.cat([members[:size] for members in classes]),
            "test": torch.cat([members[size : 2 * size] for members in classes]),
        }

    def read_competition_rows(self) -> NewData:
        """The images to predict for a submission, named by their ids."""
        return self.read_new_data(self.source)

    def read_new_data(self, source: Path | None) -> NewData:
        """The images without labels, if the source is the competition's; else images of your own.

        Args:
            source: Folder or zip file of the competition; or an image file, a folder of them, or None for one
                image from standard input.
        """
        if source is None or not (zipfile.is_zipfile(source) or (source / LABELS).is_file()):
            return super().read_new_data(source)
        with _files(source) as (names, read):
            images = _read_images(source, names, read, "test")
        batch = ImageBatch(torch.stack(list(images.values())), torch.zeros(len(images), dtype=torch.int64))
        return NewData(list(images), TensorLoader(batch, self.batch_sampler(len(images), shuffle=False)))


Read = Callable[[str], bytes]


@contextmanager
def _files(source: Path) -> Iterator[tuple[list[str], Read]]:
    """The names in a folder or zip file, relative to where the labels lie, and a function that reads one.

    Raises:
        DataError: If something cannot be read while it is in use.
    """
    try:
        if source.is_dir():
            paths = [*source.glob("*.csv"), *source.glob("*/*.png")]
            yield (
                [path.relative_to(source).as_posix() for path in paths],
                lambda name: (source / name).read_bytes(),
            )
        else:
            with zipfile.ZipFile(source) as archive:
                names = archive.namelist()
                prefix = next((name for name in names if name.endswith(LABELS)), "").removesuffix(LABELS)
                inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
                yield inside, lambda name: archive.read(prefix + name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{source}: is damaged: it is no complete zip file ({error}); move it away to have it downloaded "
            "again, or put the right file in its place"
        ) from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror or error})") from error


def _read_images(
    source: Path, names: list[str], read: Read, folder: str
) -> dict[str, UInt8[Tensor, "3 32 32"]]:
    """The images of a folder by their ids, in the order of the ids."""
    ids = [
        name.removeprefix(f"{folder}/").removesuffix(".png")
        for name in names
        if name.startswith(f"{folder}/") and name.endswith(".png")
    ]
    if not ids:
        raise DataError(f"{source}/{folder}: holds no images, but must hold {folder}/<id>.png")
    return {
        key: decode_image(
            read(f"{folder}/{key}.png"), name=f"{source}/{folder}/{key}.png", channels=3, size=32
        )
        for key in sorted(ids, key=lambda key: (len(key), key))  # 2 before 10
    }


def _read_labels(source: Path, names: list[str], read: Read) -> dict[str, int]:
    """The class index of each id."""
    name = f"{source}/{LABELS}"
    if LABELS not in names:
        raise DataError(f"{name}: is missing, but must hold the columns id and label")
    try:
        table = parse_csv(read(LABELS).decode("utf-8-sig"), name=name)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: is not UTF-8 text; save it as CSV in UTF-8") from error
    labels: dict[str, int] = {}
    for line, key, label in zip(table.lines, table.column("id"), table.column("label"), strict=True):
        if key is None or key in labels:
            raise DataError(
                f"{name}: line {line} has {'no id' if key is None else f'the id {key} again'}; mend it"
            )
        if label not in CIFAR10_CLASSES:
            near = near_names(label or "", list(CIFAR10_CLASSES))
            raise DataError(
                f"{name}: line {line} has the class {label!r}, but must have one of "
                f"{', '.join(CIFAR10_CLASSES)}{near}"
            )
        labels[key] = CIFAR10_CLASSES.index(label)
    return labels
