"""What all image sets do with a batch, and with images to predict."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules import Augmentation, DataError, Digits
from datamodules.interface.batches import Batch, ImageBatch
from datamodules.vision.base import ImageDataModule
from datamodules.vision.geometry import random_crop
from zoo import SoftmaxRegression


class LeftLit(ImageDataModule):
    """Images whose left pixel is white and whose right pixel is black."""

    in_channels = 1
    num_classes = 2

    def read_splits(self) -> dict[str, Batch]:
        image = torch.tensor([255, 0], dtype=torch.uint8).view(1, 1, 1, 2).repeat(64, 1, 2, 1)
        return {split: ImageBatch(image, torch.zeros(64).long()) for split in ("train", "val", "test")}


class Recorder(SoftmaxRegression):
    """Remembers which images arrived flipped, in each stage."""

    def __init__(self) -> None:
        super().__init__(image_size=2, num_classes=2)
        self.flipped: dict[str, list[list[bool]]] = {"train": [], "val": [], "test": []}

    def _add(self, stage: str, batch: Any) -> Tensor:
        self.flipped[stage].append((batch.image[:, 0, 0, 0] == 0).tolist())
        assert batch.image.sum(dim=3).eq(1).all()
        return super()._add(stage, batch)


def run(*, flip: bool) -> dict[str, list[list[bool]]]:
    model, data = Recorder(), LeftLit(image_size=2, augment=Augmentation(flip=flip), batch_size="full")
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    return model.flipped


def test_flips_are_drawn_for_each_image_and_in_training_only() -> None:
    flipped = run(flip=True)
    assert all(16 < sum(epoch) < 48 for epoch in flipped["train"])
    assert flipped["train"][0] != flipped["train"][1]
    assert not any(map(any, flipped["val"] + flipped["test"]))
    assert len(flipped["val"]) >= 2


def test_nothing_is_flipped_by_default() -> None:
    assert not any(map(any, run(flip=False)["train"]))


def test_nothing_is_flipped_without_a_trainer() -> None:
    data = LeftLit(image_size=2, augment=Augmentation(flip=True))
    data.setup()
    batch = data.on_after_batch_transfer(data.splits["train"], 0)
    assert (batch.image[:, 0, 0, 0] == 1).all()


@pytest.mark.parametrize("size", [28, 96, 5])
def test_images_are_resized_to_the_size_that_is_told(size: int) -> None:
    data = Digits(image_size=size)
    data.setup()
    raw = next(iter(data.val_dataloader()))
    batch = data.on_after_batch_transfer(raw, 0)
    assert batch.image.shape == (32, 1, size, size)
    # The same as Pillow's bilinear filter, which works on whole grey levels.
    for stored, seen in zip(raw.image[:3], batch.image[:3], strict=True):
        expected = Image.fromarray(stored[0].numpy()).resize((size, size), Image.Resampling.BILINEAR)
        assert (seen[0] * 255 - torch.from_numpy(np.array(expected))).abs().max() < 1.01


def test_pixels_become_floats_between_0_and_1() -> None:
    data = LeftLit(image_size=2)
    image = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).view(1, 1, 2, 2)
    batch = data.on_after_batch_transfer(ImageBatch(image, torch.zeros(1).long()), 0)
    assert batch.image.flatten().tolist() == pytest.approx([0, 0.2, 1, 0.4])
    assert batch.image.dtype == torch.float32


# Images to predict


def save(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 6), (value, value, value)).save(path)


def test_all_images_below_a_folder_are_read_in_order(tmp_path: Path) -> None:
    save(tmp_path / "b" / "2.png", 20)
    save(tmp_path / "a.jpg", 10)
    (tmp_path / "notes.txt").write_text("no image")
    new = Digits().read_new_data(tmp_path)
    assert new.names == [str(tmp_path / "a.jpg"), str(tmp_path / "b" / "2.png")]
    (batch,) = new.loader
    assert isinstance(batch, ImageBatch)
    assert batch.image.shape == (2, 1, 28, 28)
    assert batch.image.flatten(1).float().mean(1).tolist() == pytest.approx([10, 20], abs=1)


def test_one_image_is_read_from_a_file_or_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png", 30)
    (from_file,) = Digits().read_new_data(tmp_path / "a.png").loader
    stdin = SimpleNamespace(buffer=io.BytesIO((tmp_path / "a.png").read_bytes()))
    monkeypatch.setattr("sys.stdin", stdin)
    new = Digits().read_new_data(None)
    assert new.names == ["-"]
    (from_stdin,) = new.loader
    assert torch.equal(from_file[0], from_stdin[0])


def test_what_is_no_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image; replace or remove it"):
        Digits().read_new_data(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder holds no image files"):
        Digits().read_new_data(tmp_path / "empty")
    with pytest.raises(DataError, match="absent: there is no such file or folder"):
        Digits().read_new_data(tmp_path / "absent")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(DataError, match="standard input: cannot be read as an image"):
        Digits().read_new_data(None)


def test_image_size_is_checked() -> None:
    with pytest.raises(ValueError, match="image_size is 0, but must be at least 1"):
        Digits(image_size=0)


def test_each_image_is_shifted_on_its_own_by_at_most_the_padding() -> None:
    images = torch.rand(64, 3, 5, 6) + 1
    shifted = random_crop(images, 2, generator=torch.Generator().manual_seed(1))
    assert shifted.is_contiguous()
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    shifts = set()
    for i in range(64):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(shifted[i], padded[i, :, top : top + 5, left : left + 6])
        ]
        assert len(found) == 1
        shifts.update(found)
    assert {top for top, _ in shifts} == {left for _, left in shifts} == set(range(5))
    assert len(shifts) > 15  # both directions are drawn apart
