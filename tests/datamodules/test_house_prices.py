import hashlib
from pathlib import Path

import pytest
import torch

from datamodules import DataError, HousePrices, HouseTiny
from datamodules.interface.batches import RegressionBatch
from datamodules.tabular.encoder import TableEncoder, is_numeric
from datamodules.tabular.house_prices import COMPETITION, TRAIN
from datamodules.tabular.table import MISSING_VALUES, Table, read_csv
from zoo.linear import least_squares


def encoder_for(table: Table, columns: list[str]) -> TableEncoder:
    numeric = [column for column in columns if is_numeric(table.column(column))]
    encoder = TableEncoder()
    encoder.fit(table, numeric=numeric, categorical=[c for c in columns if c not in numeric])
    return encoder


def fold_errors(shared_data: Path, *, l2: float, log_skewed: float | None) -> list[float]:
    """Validation log-MSE of ridge regression on each fold."""
    errors = []
    for fold in range(5):
        data = HousePrices(data_dir=str(shared_data), fold=fold, log_skewed=log_skewed)
        data.setup()
        features, target = data.splits["train"]
        weight, bias = least_squares(features, target, l2=l2)
        features, target = data.splits["val"]
        errors.append((features @ weight.T + bias - target).square().mean().item())
    return errors


def test_house_tiny_is_the_books() -> None:
    features, target = HouseTiny().book_tensors()
    expected = torch.tensor([[3, 0, 1], [2, 0, 1], [4, 1, 0], [3, 0, 1]], dtype=torch.float64)
    assert torch.equal(features, expected)
    assert target.dtype == torch.float64
    assert target.tolist() == [127500, 106000, 178100, 140000]


def test_house_tiny_has_three_splits() -> None:
    data = HouseTiny()
    assert data.in_features == 3
    splits = {name: split[1].flatten().tolist() for name, split in data.splits.items()}
    assert splits == {"train": [106000, 178100], "val": [127500], "test": [140000]}
    assert data.splits["val"][0].tolist() == [[0, 0, 1]]
    half = 0.5**0.5
    torch.testing.assert_close(data.splits["train"][0], torch.tensor([[-half, 0, 1], [half, 1, 0]]))


def test_hashes_are_those_of_the_books_files(shared_data: Path) -> None:
    sha1 = {
        TRAIN: "585e9cc93e70b39160e7921475f9bcd7d31219ce",
        COMPETITION: "fa19780a7b011d9b009e8bff8e99922a8ee2eb90",
    }
    for file, book in sha1.items():
        content = (shared_data / "house-prices" / file.name).read_bytes()
        assert hashlib.sha1(content).hexdigest() == book
        assert hashlib.sha256(content).hexdigest() == file.sha256


def test_three_splits_of_labelled_rows(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(shared_data))
    data = HousePrices()
    data.prepare_data()
    data.setup()
    assert {name: len(split[1]) for name, split in data.splits.items()} == {
        "train": 1168,
        "val": 146,
        "test": 146,
    }
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, RegressionBatch)
    assert (batch.features.shape, batch.target.shape) == ((64, data.in_features), (64, 1))
    assert data.out_features == 1
    features, target = data.splits["train"]
    torch.testing.assert_close(features[:, 0].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, 0].std(), torch.tensor(1.0), atol=1e-5, rtol=0)
    assert 10 < target.min() < target.max() < 14  # logarithms of prices


def test_folds_are_the_books(shared_data: Path) -> None:
    rows = read_csv(shared_data / "house-prices" / TRAIN.name)
    prices = torch.tensor([[float(cell or "nan")] for cell in rows.column("SalePrice")])
    for fold in range(5):
        data = HousePrices(data_dir=str(shared_data), fold=fold)
        data.setup()
        held_out = slice(fold * 292, (fold + 1) * 292)
        torch.testing.assert_close(data.to_target_units(data.splits["val"][1]), prices[held_out])


def test_q26_columns_of_the_book(shared_data: Path) -> None:
    """330 columns over training and test rows; 331 where `None`, a kind of veneer, is no missing value."""
    columns: dict[int, int] = {}
    for missing_values in (MISSING_VALUES, [v for v in MISSING_VALUES if v != "None"]):
        train, test = (
            read_csv(shared_data / "house-prices" / file.name, missing_values=missing_values)
            for file in (TRAIN, COMPETITION)
        )
        names = [column for column in test.columns if column != "Id"]
        both = Table("both", {c: train.column(c) + test.column(c) for c in names}, train.lines + test.lines)
        columns[len(missing_values)] = len(encoder_for(both, names).names)
    assert list(columns.values()) == [330, 331]


def test_q26_columns_of_the_training_split(shared_data: Path) -> None:
    """Categories that only the other rows have get no column: they would tell of those rows."""
    data = HousePrices(data_dir=str(shared_data), fold=4)
    assert data.in_features == 319
    rows = read_csv(shared_data / "house-prices" / TRAIN.name)
    seen = rows.rows(range(4 * 292))
    assert data.encoder is not None
    for column, categories in data.encoder.categorical.items():
        assert set(categories) == {*seen.column(column), None}


def test_competition_rows_are_encoded_under_their_id(shared_data: Path) -> None:
    data = HousePrices(data_dir=str(shared_data))
    new = data.read_competition_rows()
    assert new.names == [str(i) for i in range(1461, 2920)]
    features = torch.cat([batch[0] for batch in new.loader])
    assert features.shape == (1459, data.in_features)
    assert features.isfinite().all()
    assert data.encoder is not None
    area = data.encoder.numeric["LotArea"]
    column = data.encoder.names.index("LotArea")
    first = features[0, column].item() * area.std + area.mean
    assert first == pytest.approx(11622, rel=1e-5)  # LotArea of house 1461


def test_ridge_on_logarithms_of_skewed_columns(shared_data: Path) -> None:
    """The tuned config's recipe; closed form, so that the figure is exact."""
    errors = fold_errors(shared_data, l2=20.0, log_skewed=0.5)
    assert sum(errors) / 5 == pytest.approx(0.01622, abs=2e-4)
    plain = fold_errors(shared_data, l2=20.0, log_skewed=None)
    assert sum(plain) / 5 == pytest.approx(0.02009, abs=2e-4)


def test_damaged_file_is_named_and_left(tmp_path: Path) -> None:
    path = tmp_path / "house-prices" / TRAIN.name
    path.parent.mkdir()
    path.write_text("Id,SalePrice\n")
    with pytest.raises(DataError, match=r"kaggle_house_pred_train\.csv has the wrong content"):
        HousePrices(data_dir=str(tmp_path)).prepare_data()
    assert path.read_text() == "Id,SalePrice\n"
