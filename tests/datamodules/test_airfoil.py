import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import AirfoilNoise, DataError
from datamodules.interface.batches import RegressionBatch
from datamodules.tabular.airfoil import FILE
from tests.datamodules.fixtures import airfoil
from zoo.linear import least_squares


def read(data: AirfoilNoise) -> dict[str, RegressionBatch]:
    data.setup()
    splits = {}
    for name, split in data.splits.items():
        assert isinstance(split, RegressionBatch)
        splits[name] = split
    return splits


def test_hash_is_that_of_the_books_file(shared_data: Path) -> None:
    content = (shared_data / "airfoil" / FILE.name).read_bytes()
    assert hashlib.sha1(content).hexdigest() == "76e5be1548fd8222e5074cf0faae75edff8cf93f"
    assert hashlib.sha256(content).hexdigest() == FILE.sha256


def test_split_of_the_book(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 1,500 rows, standardised by all 1,503, read with NumPy as the book does."""
    monkeypatch.setenv("ZOO_DATA_DIR", str(shared_data))
    data = AirfoilNoise(split="book")
    data.prepare_data()
    splits = read(data)
    rows = np.genfromtxt(shared_data / "airfoil" / FILE.name, dtype=np.float64, delimiter="\t")
    assert rows.shape == (1503, 6)
    expected = torch.from_numpy((rows - rows.mean(axis=0)) / rows.std(axis=0)).float()
    for name, start, stop in (("train", 0, 1500), ("val", 1500, 1501), ("test", 1501, 1503)):
        features, target = splits[name]
        torch.testing.assert_close(features, expected[start:stop, :-1], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(target, expected[start:stop, -1:], atol=1e-6, rtol=1e-6)
    batch = next(iter(data.train_dataloader()))
    assert (batch[0].shape, batch[1].shape) == ((10, 5), (10, 1))


def test_the_least_loss_that_the_chapter_can_reach(shared_data: Path) -> None:
    """Half the squared error of least squares: all of the book's figures, .242 to .250, are just above."""
    features, target = read(AirfoilNoise(data_dir=str(shared_data), split="book"))["train"]
    weight, bias = least_squares(features, target)
    loss = (features @ weight.T + bias - target).square().mean() / 2
    assert loss.item() == pytest.approx(0.2416, abs=5e-4)


def test_random_split_is_standardised_by_its_training_rows(tmp_path: Path) -> None:
    given = airfoil(tmp_path)
    splits = read(AirfoilNoise(**given))
    assert {name: len(split.target) for name, split in splits.items()} == {
        "train": 1203,
        "val": 150,
        "test": 150,
    }
    for tensor in splits["train"]:
        torch.testing.assert_close(tensor.mean(dim=0), torch.zeros(tensor.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            tensor.std(dim=0, correction=0), torch.ones(tensor.shape[1]), atol=1e-5, rtol=0
        )
    everything = torch.cat([torch.cat(tuple(split), dim=1) for split in splits.values()])
    assert len(everything.unique(dim=0)) == 1503
    few = read(AirfoilNoise(**given, val_fraction=0.2, test_fraction=0.4, seed=1))
    assert {name: len(split.target) for name, split in few.items()} == {"train": 601, "val": 301, "test": 601}


def test_column_that_never_changes_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "airfoil" / FILE.name
    path.parent.mkdir()
    path.write_text("".join(f"{i}\t1\t{i * i}\t2\t3\t{i % 7}\n" for i in range(20)))
    features, _ = read(AirfoilNoise(data_dir=str(tmp_path)))["train"]
    assert (features[:, [1, 3, 4]] == 0).all()
    assert features[:, 0].std() > 0.5


@pytest.mark.parametrize("line", ["1\t2\t3\t4\t5", "1\t2\t3\t4\t5\tx", "1\t2\t3\t4\t5\tnan", ""])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    data = AirfoilNoise(**airfoil(tmp_path, rows=10))
    data.file.write_text(data.file.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"airfoil_self_noise\.dat: line 11 is .*, but must be 6 numbers"):
        data.setup()


def test_too_few_rows_and_no_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"airfoil_self_noise\.dat: there is no such file"):
        AirfoilNoise(data_dir=str(tmp_path)).setup()
    given = airfoil(tmp_path, rows=1500)
    with pytest.raises(DataError, match=r"its 1500 rows leave none for the val split"):
        AirfoilNoise(**given, split="book").setup()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"split": "books"}, r"^split is 'books', but must be one of random, book; did you mean book\?"),
        ({"val_fraction": 0}, r"^val_fraction is 0, but must be positive"),
        ({"test_fraction": 1.0}, r"^test_fraction is 1\.0, but must be in \[0, 1\)"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, r"^val_fraction \+ test_fraction is 1\.0, but must be"),
        ({"batch_size": 0}, r"^batch_size is 0"),
    ],
)
def test_bad_values_are_refused(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AirfoilNoise(**argument)
