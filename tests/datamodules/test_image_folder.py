import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image

from datamodules import DataError, ImageFolder
from datamodules.interface.batches import ImageBatch
from zoo import SoftmaxRegression

COLOURS = {"cat": (200, 0, 0), "dog": (0, 100, 0)}


def save(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (10, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def classes(root: Path, *, images: int) -> None:
    for name, colour in COLOURS.items():
        for i in range(images):
            save(root / name / f"{i}.png", colour, size=(10 + i, 6))


def folder(root: Path, **arguments: Any) -> ImageFolder:
    return ImageFolder(**{"root": str(root), "image_size": 8, "batch_size": 4, **arguments})


def paths(data: ImageFolder) -> dict[str, set[Path]]:
    return {split: {path for path, _ in examples} for split, examples in data.files.items()}


def test_one_folder_is_split_by_the_fractions(tmp_path: Path) -> None:
    classes(tmp_path, images=10)
    data = folder(tmp_path, val_fraction=0.2, test_fraction=0.3)
    data.setup()
    assert {split: len(found) for split, found in paths(data).items()} == {"train": 10, "val": 4, "test": 6}
    assert set.union(*paths(data).values()) == set(tmp_path.glob("*/*.png"))
    other = folder(tmp_path, val_fraction=0.2, test_fraction=0.3, seed=1)
    other.setup()
    assert paths(other) != paths(data)


def test_folders_of_splits_are_used_as_they_are(tmp_path: Path) -> None:
    for split, images in (("train", 4), ("val", 2), ("test", 3)):
        classes(tmp_path / split, images=images)
    data = folder(tmp_path)
    data.setup()
    for split in ("train", "val", "test"):
        assert paths(data)[split] == set((tmp_path / split).glob("*/*.png"))
    assert data.class_names == ("cat", "dog")


def test_a_split_without_a_folder_is_held_out_of_the_training_images(tmp_path: Path) -> None:
    classes(tmp_path / "train", images=10)
    classes(tmp_path / "test", images=3)
    data = folder(tmp_path, val_fraction=0.25)
    data.setup()
    found = paths(data)
    assert found["test"] == set((tmp_path / "test").glob("*/*.png"))
    assert (len(found["train"]), len(found["val"])) == (15, 5)
    assert found["train"] | found["val"] == set((tmp_path / "train").glob("*/*.png"))


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_folder_of_a_split_is_no_class(tmp_path: Path, split: str) -> None:
    classes(tmp_path, images=2)
    classes(tmp_path / split, images=2)
    with pytest.raises(DataError) as caught:
        folder(tmp_path).setup()
    assert str(caught.value) == (
        f"{tmp_path / split}: stands without {tmp_path / 'train'}; put the training images there, or rename "
        f"{split} if it is a class"
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_are_resized_and_keep_their_class(tmp_path: Path, num_workers: int) -> None:
    classes(tmp_path, images=5)
    data = folder(tmp_path, num_workers=num_workers)
    data.setup()
    seen = 0
    for batch in data.train_dataloader():
        assert isinstance(batch, ImageBatch)
        assert batch.image.shape[1:] == (3, 8, 8)
        assert batch.image.dtype == torch.uint8
        for image, label in zip(batch.image, batch.label, strict=True):
            assert tuple(image[:, 4, 4].tolist()) == COLOURS[data.class_names[label]]
            seen += 1
    assert seen == 8


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    classes(tmp_path, images=5)
    data = folder(tmp_path, in_channels=1)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    assert batch[0].shape[1:] == (1, 8, 8)


def test_names_of_classes_are_known_before_setup_and_hidden_folders_are_none(tmp_path: Path) -> None:
    classes(tmp_path, images=1)
    (tmp_path / ".cache").mkdir()
    data = folder(tmp_path)
    assert (data.num_classes, data.class_names) == (2, ("cat", "dog"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unreadable_image_is_named_in_one_line(tmp_path: Path, num_workers: int) -> None:
    classes(tmp_path / "train", images=2)
    classes(tmp_path / "val", images=1)
    classes(tmp_path / "test", images=1)
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"no image")
    data = folder(tmp_path, num_workers=num_workers)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    with pytest.raises(DataError) as caught:
        trainer.fit(SoftmaxRegression(in_channels=3, image_size=8, num_classes=2), datamodule=data)
    assert str(caught.value).startswith(f"{tmp_path / 'train' / 'cat' / '0.png'}: cannot be read as an image")
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no folders, but must hold one for each class"):
        folder(tmp_path / "empty").setup()

    classes(tmp_path / "few", images=1)
    with pytest.raises(DataError, match="few: holds 2 images, too few to hold out val and test"):
        folder(tmp_path / "few").setup()

    classes(tmp_path / "hollow", images=3)
    (tmp_path / "hollow" / "bird").mkdir()
    with pytest.raises(DataError, match="hollow/bird: holds no images; add some, or remove the folder"):
        folder(tmp_path / "hollow").setup()

    classes(tmp_path / "split" / "train", images=3)
    save(tmp_path / "split" / "val" / "bird" / "1.png", (0, 0, 0))
    with pytest.raises(DataError, match=r"split/val/bird: bird is no class of .*split/train"):
        folder(tmp_path / "split").setup()

    (tmp_path / "bare").mkdir()
    classes(tmp_path / "bare" / "train", images=3)
    (tmp_path / "bare" / "test").mkdir()
    with pytest.raises(DataError, match="bare/test: holds no folders, but must hold those of classes"):
        folder(tmp_path / "bare").setup()


@pytest.mark.parametrize("name", ["absent", "file"])
@pytest.mark.parametrize(
    "ask",
    [ImageFolder.setup, attrgetter("class_names"), attrgetter("num_classes")],
    ids=["setup", "names", "number"],
)
def test_a_root_that_is_no_folder_is_named(
    tmp_path: Path, name: str, ask: Callable[[ImageFolder], Any]
) -> None:
    (tmp_path / "file").write_text("no folder")
    data = folder(tmp_path / name)
    with pytest.raises(DataError) as caught:
        ask(data)
    assert str(caught.value) == (
        f"root is {str(tmp_path / name)!r}, but must be a folder that holds one of images for each class"
    )


# Checkpoints


def of_checkpoint(root: Path, **arguments: Any) -> dict[str, Any]:
    """What a run on these images saves."""
    data = folder(root, **arguments)
    data.setup()
    state = data.state_dict()
    assert json.loads(json.dumps(state)) == state  # it loads with weights_only
    return state


def test_new_images_need_no_folder_but_a_checkpoint(tmp_path: Path) -> None:
    classes(tmp_path / "old", images=5)
    state = of_checkpoint(tmp_path / "old")
    save(tmp_path / "new.png", (1, 2, 3))
    data = folder(tmp_path / "moved")
    data.load_state_dict(state)
    assert (data.class_names, data.num_classes) == (("cat", "dog"), 2)
    new = data.read_new_data(tmp_path / "new.png")
    assert new.names == [str(tmp_path / "new.png")]
    with pytest.raises(DataError, match=r"^root is '.*moved', but must be a folder"):
        data.setup()


@pytest.mark.parametrize("listed", [True, False])
def test_classes_are_counted_as_in_the_checkpoint(tmp_path: Path, listed: bool) -> None:
    classes(tmp_path / "old", images=5)
    save(tmp_path / "old" / "ape" / "1.png", (0, 0, 0))
    classes(tmp_path / "new", images=5)
    data = folder(tmp_path / "new")
    if listed:
        data.setup()
    data.load_state_dict(of_checkpoint(tmp_path / "old"))
    data.setup()
    assert data.class_names == ("ape", "cat", "dog")
    labels = {path.parent.name: label for files in data.files.values() for path, label in files}
    assert labels == {"cat": 1, "dog": 2}


def test_a_class_that_the_checkpoint_does_not_know_is_refused(tmp_path: Path) -> None:
    classes(tmp_path / "old", images=5)
    classes(tmp_path / "new", images=5)
    (tmp_path / "new" / "dog").rename(tmp_path / "new" / "cow")
    data = folder(tmp_path / "new")
    data.load_state_dict(of_checkpoint(tmp_path / "old"))
    with pytest.raises(
        DataError, match="new/cow: cow is no class of the checkpoint, which has cat, dog; choose the images"
    ):
        data.setup()


def test_a_checkpoint_without_names_leaves_those_of_the_folder(tmp_path: Path) -> None:
    classes(tmp_path, images=5)
    data = folder(tmp_path)
    data.load_state_dict({"epoch": 1, "position": 2})
    assert data.class_names == ("cat", "dog")
    data.setup()
    assert data.train_dataloader().batch_sampler.epoch == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 2}, r"in_channels is 2, but must be 1 \(grey\) or 3 \(colour\)"),
        ({"num_workers": -1}, "num_workers is -1, but must be at least 0"),
        ({"val_fraction": 0.0}, "val_fraction is 0.0, but must be positive"),
        ({"test_fraction": -0.1}, "test_fraction is -0.1, but must be positive"),
        (
            {"val_fraction": 0.5, "test_fraction": 0.5},
            r"val_fraction \+ test_fraction is 1.0, but must be in",
        ),
    ],
)
def test_arguments_are_checked(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    classes(tmp_path, images=2)
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, **arguments)
