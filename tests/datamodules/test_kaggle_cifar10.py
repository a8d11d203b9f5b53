import shutil
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import DataError, KaggleCIFAR10, _download
from datamodules.interface.batches import ImageBatch
from tests.datamodules.fixtures import kaggle_cifar10


def image_batch(data: KaggleCIFAR10, split: str) -> ImageBatch:
    batch = data.splits[split]
    assert isinstance(batch, ImageBatch)
    return batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The unpacked competition: 40 labelled images, 3 others."""
    return Path(kaggle_cifar10(tmp_path)["data_dir"]) / "cifar10-tiny" / "kaggle_cifar10_tiny"


def packed(folder: Path, target: Path, prefix: str = "kaggle_cifar10_tiny/") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def pixels_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


# The real small set


def test_the_real_small_set(shared_data: Path) -> None:
    data = KaggleCIFAR10(data_dir=str(shared_data))
    data.prepare_data()
    data.setup()
    for split, each in (("train", 80), ("val", 10), ("test", 10)):
        assert image_batch(data, split).image.shape == (10 * each, 3, 32, 32)
        assert image_batch(data, split).image.dtype == torch.uint8
        assert image_batch(data, split).label.bincount().tolist() == [each] * 10
    images = torch.cat([image_batch(data, split).image for split in data.splits])
    means = (images.double() / 255).mean((0, 2, 3))
    assert torch.allclose(means, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=0.02)
    new = data.read_competition_rows()
    assert new.names == [str(i) for i in range(1, 101)]
    assert sum(len(batch[0]) for batch in new.loader) == 100


def test_labels_of_the_real_small_set_belong_to_their_images(shared_data: Path) -> None:
    """The book shows the first labels: 1 is a frog, 2 and 3 are trucks, 4 is a deer, 5 an automobile."""
    with zipfile.ZipFile(shared_data / "cifar10-tiny" / "kaggle_cifar10_tiny.zip") as archive:
        lines = archive.read("kaggle_cifar10_tiny/trainLabels.csv").decode().split()
        known = dict(line.split(",") for line in lines[1:])
        assert [known[str(i)] for i in range(1, 6)] == ["frog", "truck", "truck", "deer", "automobile"]
        data = KaggleCIFAR10(data_dir=str(shared_data))
        data.setup()
        found = {
            image.numpy().tobytes(): data.class_names[label]
            for split in data.splits
            for image, label in zip(*image_batch(data, split), strict=True)
        }
        for i in range(1, 6):
            with archive.open(f"kaggle_cifar10_tiny/train/{i}.png") as file:
                image = np.ascontiguousarray(np.array(Image.open(file)).transpose(2, 0, 1))
            assert found[image.tobytes()] == known[str(i)]


# Layouts


@pytest.mark.parametrize("prefix", ["kaggle_cifar10_tiny/", "", "a/b/"])
@pytest.mark.parametrize("place", ["cifar10-tiny", "."])
def test_a_zip_file_holds_the_same_as_the_folder(
    folder: Path, tmp_path: Path, prefix: str, place: str
) -> None:
    unpacked = KaggleCIFAR10(data_dir=str(tmp_path))
    unpacked.setup()
    (tmp_path / "packed" / place).mkdir(parents=True)
    packed(folder, tmp_path / "packed" / place / "kaggle_cifar10_tiny.zip", prefix)
    zipped = KaggleCIFAR10(data_dir=str(tmp_path / "packed"))
    zipped.setup()
    for split in ("train", "val", "test"):
        for a, b in zip(unpacked.splits[split], zipped.splits[split], strict=True):
            assert torch.equal(a, b)


def test_the_whole_competition_is_read_from_its_root(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "cifar-10"
    shutil.move(folder, root)
    data = KaggleCIFAR10(root=str(root))
    data.prepare_data()
    data.setup()
    images = {pixels_of(root / "train" / f"{i}.png").numpy().tobytes(): (i - 1) % 10 for i in range(1, 41)}
    found = {
        image.numpy().tobytes(): int(label)
        for split in data.splits
        for image, label in zip(*image_batch(data, split), strict=True)
    }
    assert found == images


def test_what_lies_there_is_used_as_it_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("nothing is to be checked or downloaded")

    monkeypatch.setattr(_download, "_download", refuse)
    monkeypatch.setattr(_download, "_check", refuse)
    KaggleCIFAR10(data_dir=str(tmp_path)).prepare_data()
    KaggleCIFAR10(root=str(tmp_path / "absent")).prepare_data()
    with pytest.raises(AssertionError):
        KaggleCIFAR10(data_dir=str(tmp_path / "absent")).prepare_data()


# Splits


def test_the_same_number_is_held_out_of_each_class(folder: Path, tmp_path: Path) -> None:
    for name in ("1", "11", "21", "31"):  # one airplane is left of four: 5, 6, 7 ... 40
        (folder / "train" / f"{name}.png").rename(tmp_path / f"{name}.png")
    text = (folder / "trainLabels.csv").read_text().splitlines()
    kept = [line for line in text if line.split(",")[0] not in ("1", "11", "21", "31")]
    (folder / "trainLabels.csv").write_text("\n".join(kept))
    data = KaggleCIFAR10(data_dir=str(tmp_path), val_fraction=0.3)  # of a class of 4: 1.2
    data.setup()
    counts = {split: image_batch(data, split).label.bincount(minlength=10).tolist() for split in data.splits}
    assert counts == {"train": [0] + [2] * 9, "val": [0] + [1] * 9, "test": [0] + [1] * 9}


@pytest.mark.parametrize(("val_fraction", "held_out"), [(0.01, 1), (0.1, 1), (0.2, 1), (0.35, 2), (0.49, 2)])
def test_the_share_is_of_the_smallest_class(tmp_path: Path, val_fraction: float, held_out: int) -> None:
    kaggle_cifar10(tmp_path, each=6)
    data = KaggleCIFAR10(data_dir=str(tmp_path), val_fraction=val_fraction)
    data.setup()
    for split, each in (("val", held_out), ("test", held_out), ("train", 6 - 2 * held_out)):
        assert image_batch(data, split).label.bincount().tolist() == [each] * 10


def test_classes_of_two_images_are_too_small(tmp_path: Path) -> None:
    data = KaggleCIFAR10(**kaggle_cifar10(tmp_path, each=2))
    with pytest.raises(DataError, match=r"its smallest class has 2 image\(s\), too few to hold out"):
        data.setup()


@pytest.mark.parametrize("val_fraction", [0.5, 0, -0.1])
def test_val_fraction_is_checked(val_fraction: float) -> None:
    with pytest.raises(ValueError, match=f"val_fraction is {val_fraction}, but must be"):
        KaggleCIFAR10(val_fraction=val_fraction)


# Images to predict


@pytest.mark.parametrize("zipped", [True, False])
def test_images_without_labels_are_named_by_their_ids_in_order(
    folder: Path, tmp_path: Path, zipped: bool
) -> None:
    shutil.copy(folder / "train" / "7.png", folder / "test" / "10.png")
    source = packed(folder, tmp_path / "own.zip") if zipped else folder
    data = KaggleCIFAR10(root=str(source))
    for new in (data.read_competition_rows(), KaggleCIFAR10().read_new_data(source)):
        assert new.names == ["1", "2", "3", "10"]
        (batch,) = new.loader
        assert isinstance(batch, ImageBatch)
        for name, image in zip(new.names, batch.image, strict=True):
            assert torch.equal(image, pixels_of(folder / "test" / f"{name}.png"))


def test_own_images_are_predicted_under_their_paths(folder: Path) -> None:
    assert KaggleCIFAR10().read_new_data(folder / "test").names == [
        str(folder / "test" / f"{i}.png") for i in (1, 2, 3)
    ]
    assert KaggleCIFAR10().read_new_data(folder / "test" / "2.png").names == [str(folder / "test" / "2.png")]
    with pytest.raises(DataError, match="there is no such file or folder"):
        KaggleCIFAR10().read_new_data(folder / "absent")


# Bad files


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "trainLabels.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


BAD: dict[str, tuple[Any, str]] = {
    "no labels": (lambda f: (f / "trainLabels.csv").unlink(), r"/trainLabels\.csv: is missing, but must"),
    "no column": (lambda f: change(f, "id,label", "id,class"), r"trainLabels\.csv: has no column 'label'"),
    "no label": (lambda f: change(f, "7,frog\n", ""), r"/train/7\.png: has no label; add it to trainLabels"),
    "no image": (lambda f: (f / "train" / "7.png").unlink(), r"labels 7, but there is no train/7\.png; add"),
    "unknown class": (
        lambda f: change(f, "\n7,frog", "\n7,forg"),
        r"trainLabels\.csv: line 8 has the class 'forg', but must have one of .*; did you mean frog",
    ),
    "empty class": (lambda f: change(f, "\n7,frog", "\n7,"), r"line 8 has the class None, but must"),
    "an id twice": (lambda f: change(f, "\n7,frog", "\n6,frog"), r"line 8 has the id 6 again; mend it"),
    "no id": (lambda f: change(f, "\n7,frog", "\n,frog"), r"line 8 has no id; mend it"),
    "no images": (lambda f: shutil.rmtree(f / "train"), r"/train: holds no images, but must hold train/<id>"),
    "no picture": (
        lambda f: (f / "train" / "7.png").write_text("no"),
        r"/train/7\.png: cannot be read as an image; replace or remove it",
    ),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("bad", BAD)
def test_bad_files_are_named_in_one_line(folder: Path, tmp_path: Path, bad: str, zipped: bool) -> None:
    spoil, message = BAD[bad]
    spoil(folder)
    source = packed(folder, tmp_path / "own.zip") if zipped else folder
    with pytest.raises(DataError, match=message) as caught:
        KaggleCIFAR10(root=str(source)).setup()
    assert str(caught.value).startswith(str(source))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "no zip", "flipped", "overwritten"])
def test_a_damaged_zip_file_is_named(folder: Path, tmp_path: Path, damage: str) -> None:
    source = packed(folder, tmp_path / "own.zip")
    content = bytearray(source.read_bytes())
    if damage == "flipped":
        content[content.index(b"IDAT", content.index(b"train/1.png")) + 30] ^= 0xFF
    if damage == "overwritten":  # what is packed begins with a kind of block that does not exist
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("trainLabels.csv", "id,label\n" + "1,frog\n" * 100)
        content = bytearray(source.read_bytes())
        content[content.index(b"trainLabels.csv") + 15] = 0xFF
    source.write_bytes({"cut": content[:3000], "no zip": b"<html>"}.get(damage, content))
    with pytest.raises(DataError, match=r"own\.zip: is damaged: it is no complete zip file \(") as caught:
        KaggleCIFAR10(root=str(source)).setup()
    assert "\n" not in str(caught.value)
    assert source.exists()


def test_a_source_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: is missing; check the path"):
        KaggleCIFAR10(root=str(tmp_path / "absent")).setup()
