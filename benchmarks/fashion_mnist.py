"""The files of Fashion-MNIST, without any of the packages that are measured."""

import gzip
from pathlib import Path

__all__ = ["FILES", "read_unpacked"]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Names of the unpacked files."""


def read_unpacked(data_dir: Path, name: str) -> bytes:
    """The unpacked content of one of the files.

    Args:
        data_dir: Folder with ``fashion-mnist/`` or torchvision's ``FashionMNIST/raw/``; packed or not.
        name: One of :data:`FILES`.

    Raises:
        FileNotFoundError: If neither folder has the file.
    """
    for folder in (data_dir / "fashion-mnist", data_dir / "FashionMNIST" / "raw"):
        if (folder / f"{name}.gz").is_file():
            return gzip.decompress((folder / f"{name}.gz").read_bytes())
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise FileNotFoundError(f"{data_dir}: has no {name}(.gz) in fashion-mnist/ or FashionMNIST/raw/")
