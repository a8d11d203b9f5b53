import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import DataError, FashionMNIST
from datamodules.base import default_data_dir
from datamodules.interface.batches import ImageBatch
from datamodules.vision.fashion_mnist import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    parse_idx,
)
from tests.datamodules.fixtures import fashion_mnist, idx

FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


def image_batch(data: FashionMNIST, split: str) -> ImageBatch:
    batch = data.splits[split]
    assert isinstance(batch, ImageBatch)
    return batch


@pytest.fixture
def tiny(tmp_path: Path) -> FashionMNIST:
    return FashionMNIST(**fashion_mnist(tmp_path))


# The real files


@pytest.fixture
def real(shared_data: Path) -> FashionMNIST:
    data = FashionMNIST(data_dir=str(shared_data))
    data.prepare_data()
    data.setup()
    return data


def test_the_real_files_have_the_expected_content_and_splits(real: FashionMNIST) -> None:
    sizes = {split: image_batch(real, split).image.shape for split in real.splits}
    assert sizes == {"train": (54_000, 1, 28, 28), "val": (6_000, 1, 28, 28), "test": (10_000, 1, 28, 28)}
    assert image_batch(real, "train").image.dtype == torch.uint8
    assert image_batch(real, "test").label.bincount().tolist() == [1000] * 10
    both = torch.cat([image_batch(real, "train").label, image_batch(real, "val").label])
    assert both.bincount().tolist() == [6000] * 10
    # The first test images as the book's figures and torchvision's documentation show them.
    names = [real.class_names[label] for label in image_batch(real, "test").label[:5]]
    assert names == ["ankle boot", "pullover", "trouser", "trouser", "shirt"]


@pytest.mark.parametrize("unpacked", [False, True])
def test_torchvisions_folder_is_accepted(shared_data: Path, tmp_path: Path, unpacked: bool) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        source = shared_data / "fashion-mnist" / file.name
        if unpacked:
            (raw / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(source.read_bytes()))
        else:
            shutil.copy(source, raw)
    data = FashionMNIST(data_dir=str(tmp_path))
    data.prepare_data()
    data.setup()
    assert len(image_batch(data, "test").label) == 10_000
    assert not (tmp_path / "fashion-mnist").exists()


# Tiny files


def test_splits_hold_each_image_once(tiny: FashionMNIST, tmp_path: Path) -> None:
    tiny.setup()
    images = torch.cat([image_batch(tiny, split).image for split in ("train", "val")])
    original = parse_idx(
        bytearray(gzip.decompress((tmp_path / "fashion-mnist" / TRAIN_IMAGES.name).read_bytes())), name=""
    )
    assert sorted(i.numpy().tobytes() for i in images) == sorted(i.numpy().tobytes() for i in original)
    assert [len(image_batch(tiny, split).label) for split in ("train", "val", "test")] == [30, 10, 7]
    # An image keeps its label: image number i has the label i % 10.
    number = {image.numpy().tobytes(): i for i, image in enumerate(original)}
    for split in ("train", "val"):
        batch = image_batch(tiny, split)
        assert batch.label.tolist() == [number[i.numpy().tobytes()] % 10 for i in batch.image]


def test_data_dir_is_the_environments_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fashion_mnist(tmp_path)
    data = FashionMNIST(val_size=10)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    data.setup()
    assert len(image_batch(data, "train").label) == 30


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", "")
    assert default_data_dir() == "data"


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    data = FashionMNIST(**fashion_mnist(tmp_path))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz has the wrong content: its SHA-256"):
        data.prepare_data()


@pytest.mark.parametrize("val_size", [0, 60_000])
def test_val_size_is_checked(val_size: int) -> None:
    with pytest.raises(ValueError, match=rf"val_size is {val_size}, but must be in \[1, 59999\]"):
        FashionMNIST(val_size=val_size)


# The IDX format


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_idx_round_trip(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert parse_idx(bytearray(idx(array)), name="a").tolist() == array.tolist()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d[:-1], r"a: holds 5 values, but must hold 6 by its sizes \(2, 3\)"),
        (lambda d: d + b"x", r"a: holds 7 values, but must hold 6"),
        (lambda d: b"\0\0\x0d" + d[3:], "a: is no IDX file of bytes .it starts with 00 00 0d 02"),
        (lambda d: b"\0\0\x08\0" + d[4:], "a: is no IDX file"),
        (lambda d: d[:6], "a: is no IDX file"),
        (lambda d: b"<html>", "a: is no IDX file"),
        (lambda d: b"", "a: is no IDX file of bytes .it starts with nothing"),
    ],
)
def test_a_corrupt_idx_file_is_named(damage: object, message: str) -> None:
    data = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert callable(damage)
    with pytest.raises(DataError, match=message):
        parse_idx(bytearray(damage(data)), name="a")
