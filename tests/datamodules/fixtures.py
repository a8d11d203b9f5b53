"""Tiny files for the contract tests, one builder for each datamodule that reads files.

A builder writes its files into the folder it is given and returns the constructor's arguments. No two
examples may be equal, or the splits would not look disjoint.
"""

import csv
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.vision.cifar10 import ARCHIVE, CIFAR10_CLASSES, TEST_FILES, TRAIN_FILES
from datamodules.vision.fashion_mnist import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def fashion_mnist(folder: Path, *, train: int = 40, test: int = 7) -> dict[str, Any]:
    raw = folder / "fashion-mnist"
    raw.mkdir()
    random = np.random.default_rng(0)
    for images, labels, size in ((TRAIN_IMAGES, TRAIN_LABELS, train), (TEST_IMAGES, TEST_LABELS, test)):
        pixels = random.integers(0, 256, (size, 28, 28), np.uint8)
        (raw / images.name).write_bytes(gzip.compress(idx(pixels)))
        (raw / labels.name).write_bytes(gzip.compress(idx(np.arange(size, dtype=np.uint8) % 10)))
    return {"data_dir": str(folder), "val_size": 10}


def cifar10_batches(*, size: int = 10) -> dict[str, bytes]:
    """The six files of CIFAR-10, with few images each."""
    random = np.random.default_rng(0)
    files = {}
    for name in (*TRAIN_FILES, *TEST_FILES):
        pixels = random.integers(0, 256, (size, 3072), np.uint8)
        files[name] = pickle.dumps({"data": pixels, "labels": [i % 10 for i in range(size)]}, protocol=4)
    return files


def tar_gz(files: dict[str, bytes], *, folder: str = "cifar-10-batches-py") -> bytes:
    """An archive with these files in a folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, bytes], *, folder: str = "files", compressed: bool = True) -> bytes:
    """A zip archive with these files in a folder."""
    packed = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(packed, "w", kind) as archive:
        archive.writestr(f"{folder}/", b"")
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)
    return packed.getvalue()


def cifar10(folder: Path) -> dict[str, Any]:
    (folder / "cifar10").mkdir()
    (folder / "cifar10" / ARCHIVE.name).write_bytes(tar_gz(cifar10_batches()))
    return {"data_dir": str(folder), "val_size": 10}


def kaggle_cifar10(folder: Path, *, each: int = 4, test: int = 3) -> dict[str, Any]:
    """Files of the competition, unpacked, with ids from 1 on."""
    random = np.random.default_rng(0)
    root = folder / "cifar10-tiny" / "kaggle_cifar10_tiny"
    for split, size in (("train", 10 * each), ("test", test)):
        (root / split).mkdir(parents=True)
        for i in range(size):
            pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(root / split / f"{i + 1}.png")
    with (root / "trainLabels.csv").open("w", newline="") as file:
        rows = [(i + 1, CIFAR10_CLASSES[i % 10]) for i in range(10 * each)]
        csv.writer(file).writerows([("id", "label"), *rows])
    return {"data_dir": str(folder)}


def image_folder(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(0)
    for name, mode, shape in (("fish", "RGB", (9, 12, 3)), ("bird", "L", (14, 10))):
        (folder / name).mkdir()
        for i in range(10):
            pixels = random.integers(0, 256, shape, np.uint8)
            Image.fromarray(pixels, mode=mode).save(folder / name / f"{i}.png")
    return {"root": str(folder), "image_size": 8, "val_fraction": 0.3, "test_fraction": 0.2, "batch_size": 4}


def table(path: Path, *, target: str, rows: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{i},{i * i % 97},{'Pave' if i % 3 else 'Grvl'},{1000 + 13 * i}" for i in range(rows)]
    path.write_text("\n".join([f"Id,LotArea,Street,{target}", *lines]) + "\n", encoding="utf-8")


def csv_table(folder: Path) -> dict[str, Any]:
    table(folder / "plots.csv", target="price")
    return {"file": str(folder / "plots.csv"), "target": "price", "id_column": "Id"}


def house_prices(folder: Path) -> dict[str, Any]:
    table(folder / "house-prices" / "kaggle_house_pred_train.csv", target="SalePrice")
    table(folder / "house-prices" / "kaggle_house_pred_test.csv", target="Unused", rows=5)
    return {"data_dir": str(folder)}


def airfoil(folder: Path, *, rows: int = 1503) -> dict[str, Any]:
    (folder / "airfoil").mkdir()
    values = np.random.default_rng(0).uniform(1, 100, (rows, 6))
    text = "".join("\t".join(f"{value:.6g}" for value in row) + "\r\n" for row in values)
    (folder / "airfoil" / "airfoil_self_noise.dat").write_text(text, encoding="ascii", newline="")
    return {"data_dir": str(folder)}


def letters(*, size: int) -> str:
    """Words of random letters; windows of some letters do not repeat."""
    drawn = np.random.default_rng(0).integers(0, 26, size)
    return "".join(" " if i % 7 == 6 else chr(ord("a") + letter) for i, letter in enumerate(drawn))


def time_machine(folder: Path) -> dict[str, Any]:
    (folder / "timemachine").mkdir()
    (folder / "timemachine" / "timemachine.txt").write_text(letters(size=60), encoding="utf-8")
    return {"data_dir": str(folder)}


def text_file(folder: Path) -> dict[str, Any]:
    (folder / "letters.txt").write_text(letters(size=200), encoding="utf-8")
    return {"path": str(folder / "letters.txt")}


def wikitext2_members() -> dict[str, bytes]:
    """The three texts: lines of words, all of them in the first line of the training text."""
    random = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(30)])
    members = {}
    for split, lines in (("train", 9), ("valid", 4), ("test", 3)):
        drawn = ["".join(f" {word}" for word in words[random.integers(0, 30, 9)]) for _ in range(lines)]
        first = ["".join(f" {word}" for word in words)] if split == "train" else []
        members[f"wiki.{split}.tokens"] = "".join(f"{line} \n" for line in first + drawn).encode()
    return members


def wikitext2(folder: Path) -> dict[str, Any]:
    (folder / "wikitext-2").mkdir()
    packed = zipped(wikitext2_members(), folder="wikitext-2")
    (folder / "wikitext-2" / "wikitext-2-v1.zip").write_bytes(packed)
    return {"data_dir": str(folder)}


def sentence_pairs(*, sources: int = 20) -> str:
    """A table of sentence pairs: numbers in words, every second with two translations.

    All its words are in any training split, so that no two sentences have the same ids.
    """
    lines = []
    for i in range(sources):
        digits = [int(digit) for digit in f"{i:b}"]
        source = " ".join(["No", "Yes"][digit] for digit in digits) + "!"
        target = " ".join(["non", "oui"][digit] for digit in digits)
        lines.append(f"{source}\t{target} !")
        if i % 2:
            lines.append(f"{source}\t{target}, {target} !")
    return "\n".join(lines) + "\n"


def parallel_text(folder: Path) -> dict[str, Any]:
    (folder / "pairs.tsv").write_text(sentence_pairs(), encoding="utf-8", newline="")
    return {"path": str(folder / "pairs.tsv")}


def english_french(folder: Path) -> dict[str, Any]:
    (folder / "fra-eng").mkdir()
    packed = zipped({"fra.txt": sentence_pairs().encode(), "_about.txt": b""}, folder="fra-eng")
    (folder / "fra-eng" / "fra-eng.zip").write_bytes(packed)
    return {"data_dir": str(folder)}


BUILDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "AirfoilNoise": airfoil,
    "CIFAR10": cifar10,
    "CSVTable": csv_table,
    "EnglishFrench": english_french,
    "FashionMNIST": fashion_mnist,
    "HousePrices": house_prices,
    "ImageFolder": image_folder,
    "KaggleCIFAR10": kaggle_cifar10,
    "ParallelText": parallel_text,
    "TextFile": text_file,
    "TimeMachine": time_machine,
    "WikiText2": wikitext2,
}
