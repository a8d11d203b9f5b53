import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from datamodules import CIFAR10, DataError
from datamodules.interface.batches import ImageBatch
from datamodules.vision import cifar10
from datamodules.vision.cifar10 import ARCHIVE, parse_batch
from tests.datamodules.fixtures import cifar10_batches, tar_gz


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Six tiny files, whose hashes are the published ones."""
    files = cifar10_batches()
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    for name, value in md5.items():
        monkeypatch.setitem(ARCHIVE.members_md5, name, value)  # type: ignore[arg-type]
    return files


def image_batch(data: CIFAR10, split: str) -> ImageBatch:
    batch = data.splits[split]
    assert isinstance(batch, ImageBatch)
    return batch


def as_python_2_wrote_it(value: Any) -> bytes:
    """A pickle with the opcodes and names of the real files: byte strings, old names of NumPy's modules."""

    def save_string(pickler: Any, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        pickler.write(b"T" + len(data).to_bytes(4, "little") + data)

    stream = io.BytesIO()
    pickler: Any = pickle._Pickler(stream, protocol=2)  # type: ignore[attr-defined]
    pickler.dispatch = pickler.dispatch | {str: save_string, bytes: save_string}
    pickler.dump(value)
    return stream.getvalue().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")


def put(folder: Path, layout: str, files: dict[str, bytes]) -> None:
    place = folder / layout
    if layout.endswith(".tar.gz"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(tar_gz(files))
        return
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)


LAYOUTS = [
    "cifar10/cifar-10-python.tar.gz",
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
    "cifar10/cifar-10-batches-py",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_archive_or_the_folder_is_read_where_it_lies(
    files: dict[str, bytes], layout: str, tmp_path: Path
) -> None:
    put(tmp_path, layout, files)
    before = sorted(tmp_path.rglob("*"))
    data = CIFAR10(data_dir=str(tmp_path), val_size=10)
    data.prepare_data()
    data.setup()
    assert sorted(tmp_path.rglob("*")) == before
    sizes = {split: len(image_batch(data, split).label) for split in ("train", "val", "test")}
    assert sizes == {"train": 40, "val": 10, "test": 10}
    # Pixels are stored as 1024 reds, then greens, then blues, row by row.
    stored = pickle.loads(files["test_batch"])
    images, labels = image_batch(data, "test")
    assert images.shape == (10, 3, 32, 32)
    for i in range(10):
        assert labels[i] == stored["labels"][i]
        assert images[i, 2, 3, 5] == stored["data"][i][2 * 1024 + 3 * 32 + 5]


def test_erratum_16_cifar10_is_not_validated_on_its_test_split(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    """Validation images are of the training files, and no image is lost."""
    put(tmp_path, LAYOUTS[0], files)
    data = CIFAR10(data_dir=str(tmp_path), val_size=15)
    data.setup()

    def stored(name: str) -> list[tuple[bytes, int]]:
        content = pickle.loads(files[name])
        return [(row.tobytes(), label) for row, label in zip(content["data"], content["labels"], strict=True)]

    def found(split: str) -> list[tuple[bytes, int]]:
        images, labels = image_batch(data, split)
        return [(image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]

    assert found("test") == stored("test_batch")
    assert len(found("val")) == 15
    train = [pair for name in cifar10.TRAIN_FILES for pair in stored(name)]
    assert sorted(found("train") + found("val")) == sorted(train)


def test_a_pickle_of_python_2_is_read() -> None:
    pixels = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
    data = as_python_2_wrote_it({"batch_label": "training batch 1 of 5", "labels": [3, 9], "data": pixels})
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in data
    assert b"_codecs" not in data
    images, labels = parse_batch(data, name="data_batch_1")
    assert torch.equal(images.flatten(1), torch.from_numpy(pixels))
    assert labels.tolist() == [3, 9]


class Evil:
    """Runs a command when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


class EvilArray:
    """Calls something of NumPy's that is no array."""

    def __reduce__(self) -> Any:
        return np.lib.format.open_memmap, ("ran", "w+", "u1", (3,))


@pytest.mark.parametrize("evil", [Evil(), EvilArray()], ids=["command", "numpy"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_runs_nothing(evil: Any, protocol: int) -> None:
    data = pickle.dumps({"data": evil, "labels": [1]}, protocol=protocol)
    with pytest.raises(
        DataError, match=r"^data_batch_1: is no file of CIFAR-10 \(it asks for .*\.\w+, which"
    ):
        parse_batch(data, name="data_batch_1")
    assert not Path("ran").exists()
    pickle.loads(data)  # what would have happened
    assert Path("ran").exists()


PIXELS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        cifar10_batches()["data_batch_1"][:-100],
        pickle.dumps([1, 2], protocol=4),
        pickle.dumps({"data": PIXELS}, protocol=4),
        pickle.dumps({"data": PIXELS[:, :10], "labels": [1, 2]}, protocol=4),
        pickle.dumps({"data": PIXELS.astype(np.int16), "labels": [1, 2]}, protocol=4),
        pickle.dumps({"data": PIXELS, "labels": [1]}, protocol=4),
        pickle.dumps({"data": PIXELS, "labels": [1, 10]}, protocol=4),
        pickle.dumps({"data": PIXELS, "labels": ["a", "b"]}, protocol=4),
    ],
)
def test_what_is_no_file_of_cifar_10_is_named(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^data_batch_2: is no file of CIFAR-10 \(") as caught:
        parse_batch(content, name="data_batch_2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrong_content_of_one_file_is_named_and_left(
    files: dict[str, bytes], layout: str, tmp_path: Path
) -> None:
    put(tmp_path, layout, files | {"data_batch_3": files["data_batch_2"]})
    with pytest.raises(DataError, match=r"data_batch_3 in it has the wrong content: its MD5 is \w{32}, but"):
        CIFAR10(data_dir=str(tmp_path)).prepare_data()
    assert (tmp_path / layout).exists()


def test_hashes_are_those_that_torchvision_checks() -> None:
    assert list(map(list, cifar10.TRAIN_FILES.items())) == torchvision.datasets.CIFAR10.train_list
    assert list(map(list, cifar10.TEST_FILES.items())) == torchvision.datasets.CIFAR10.test_list
    assert ARCHIVE.members_md5 == cifar10.TRAIN_FILES | cifar10.TEST_FILES
    assert ARCHIVE.urls == (torchvision.datasets.CIFAR10.url,)
    assert ARCHIVE.name == torchvision.datasets.CIFAR10.filename


def test_val_size_is_checked() -> None:
    with pytest.raises(ValueError, match=r"val_size is 50000, but must be in \[1, 49999\]"):
        CIFAR10(val_size=50_000)
