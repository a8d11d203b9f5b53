import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch

import zoo
from datamodules import CSVTable, DataError
from datamodules.interface.batches import ClassificationBatch, RegressionBatch
from datamodules.tabular.encoder import TableEncoder, is_numeric, skewness
from datamodules.tabular.table import parse_csv

Write = Callable[..., str]

FLATS = """id,rooms,heating,age,rent
a,1,gas,10,400
b,2,oil,NA,650
c,NA,gas,30,500
d,4,,40,1100
e,3,gas,5,900
f,2,wood,60,600
g,5,oil,20,1300
h,1,gas,80,380
i,3,gas,15,850
j,2,oil,25,640
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str, name: str = "flats.csv") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


def table(file: str, **arguments: Any) -> CSVTable:
    return CSVTable(**{"file": file, "target": "rent", "id_column": "id", **arguments})


def read(data: CSVTable) -> dict[str, Any]:
    data.prepare_data()
    data.setup()
    return dict(data.splits)


# Splits


def test_each_row_is_in_one_split(write: Write) -> None:
    splits = read(table(write(FLATS), val_fraction=0.2, test_fraction=0.3))
    assert {name: len(split.target) for name, split in splits.items()} == {"train": 5, "val": 2, "test": 3}
    rents = torch.cat([split.target for split in splits.values()])
    assert sorted(rents.flatten().tolist()) == [380, 400, 500, 600, 640, 650, 850, 900, 1100, 1300]


def test_seed_decides_the_split(write: Write) -> None:
    file = write(FLATS)
    first, again, other = (read(table(file, seed=seed))["train"].target for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_test_file_is_only_tested_on(write: Write, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("rent,id,rooms,heating,age\n777,x,2,gas,12\n")
    splits = read(table(write(FLATS), test_file=str(tmp_path / "new.csv")))
    assert splits["test"].target.tolist() == [[777]]
    assert len(splits["train"].target) + len(splits["val"].target) == 10


def test_folds_are_contiguous_and_cover_each_row_once(write: Write) -> None:
    file = write(FLATS)
    held_out = []
    for fold in range(3):  # 10 rows in 3 folds: the book would leave the last row out of every fold
        splits = read(table(file, fold=fold, num_folds=3))
        held_out.append(splits["val"].target.flatten().tolist())
        assert len(splits["train"].target) + len(splits["val"].target) == 10
        assert not set(splits["train"].target.flatten().tolist()) & set(held_out[-1])
    assert held_out == [[400, 650, 500], [1100, 900, 600], [1300, 380, 850, 640]]


def test_a_fold_is_tested_only_on_a_test_file(write: Write) -> None:
    file = write(FLATS)
    data = table(file, fold=0)
    assert set(read(data)) == {"train", "val"}  # what choices are made on must not give the test's figure
    for loader in (data.test_dataloader, data.predict_dataloader):
        with pytest.raises(DataError) as caught:
            loader()
        assert str(caught.value) == (
            "a fold has no test split: leave fold out, or give test_file where the datamodule takes one"
        )
    new = write("rent,id,rooms,heating,age\n777,x,2,gas,12\n", "new.csv")
    tested = table(file, fold=0, test_file=new)
    read(tested)
    assert [batch[1].tolist() for batch in tested.test_dataloader()] == [[[777]]]


# Encoding


def test_erratum_17_statistics_are_those_of_the_training_split(write: Write) -> None:
    data = table(write(FLATS), fold=1, num_folds=5)  # rows c and d are held out
    splits = read(data)
    rooms = torch.tensor([1.0, 2, 3, 2, 5, 1, 3, 2], dtype=torch.float64)
    assert data.encoder is not None
    assert data.encoder.names == ["rooms", "age", "heating_gas", "heating_oil", "heating_wood", "heating_nan"]
    assert data.encoder.numeric["rooms"].mean == pytest.approx(rooms.mean().item())
    assert data.encoder.numeric["rooms"].std == pytest.approx(rooms.std().item())
    torch.testing.assert_close(
        splits["train"].features[:, 0], ((rooms - rooms.mean()) / rooms.std()).float(), atol=1e-6, rtol=0
    )
    expected = torch.tensor(
        [0.0, float((4 - rooms.mean()) / rooms.std())]
    )  # c has no rooms: the mean, that is 0
    torch.testing.assert_close(splits["val"].features[:, 0], expected, atol=1e-6, rtol=0)
    assert splits["val"].features[:, 2:].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_category_that_training_never_saw_is_all_zeros(write: Write) -> None:
    splits = read(table(write(FLATS), fold=2, num_folds=5))  # rows e and f; wood occurs in f alone
    assert splits["val"].features[:, 2:].tolist() == [[1, 0, 0], [0, 0, 0]]


def test_encoding_equals_pandas(shared_data: Path) -> None:
    """The book's own lines, on the same rows."""
    frame = pd.read_csv(shared_data / "house-prices/kaggle_house_pred_train.csv").drop(
        columns=["Id", "SalePrice"]
    )
    numeric = list(frame.select_dtypes("number").columns)
    scaled = frame[numeric].apply(lambda x: (x - x.mean()) / x.std()).fillna(0)
    categorical = [column for column in frame.columns if column not in numeric]
    expected = pd.concat([scaled, pd.get_dummies(frame[categorical], dummy_na=True)], axis=1).astype(
        "float64"
    )
    text = (shared_data / "house-prices/kaggle_house_pred_train.csv").read_text()
    rows = parse_csv(text, name="train")
    encoder = TableEncoder()
    assert [c for c in frame.columns if is_numeric(rows.column(c))] == numeric
    encoder.fit(rows, numeric=numeric, categorical=categorical)
    assert encoder.names == list(expected.columns)
    torch.testing.assert_close(encoder.encode(rows), torch.tensor(expected.to_numpy()))


def test_skewness_equals_pandas() -> None:
    values = torch.tensor([1.0, 1, 2, 9, float("nan"), 30], dtype=torch.float64)
    assert skewness(values) == pytest.approx(pd.Series(values.numpy()).skew())
    assert skewness(torch.ones(5, dtype=torch.float64)) == 0
    assert skewness(torch.ones(2, dtype=torch.float64)) == 0


def test_logarithm_of_skewed_columns_only(write: Write) -> None:
    data = table(
        write("a,b,rent\n0,1,1\n1,2,1\n1,3,1\n99,4,1\n7,9,1\n-8,2,1\n"), id_column=None, log_skewed=1.0
    )
    data.split_rows = lambda num_rows: {"train": [0, 1, 2, 3], "val": [4], "test": [5]}
    features = read(data)["val"].features
    a = torch.tensor([0.0, 1, 1, 99]).log1p()
    b = torch.tensor([1.0, 2, 3, 4])
    expected = [(math.log(8) - a.mean()) / a.std(), (9 - b.mean()) / b.std()]
    torch.testing.assert_close(features[0], torch.stack(expected), atol=1e-6, rtol=1e-6)
    below_zero = data.splits["test"][0][0, 0]  # the mirrored logarithm, where log(1 + x) has no value
    torch.testing.assert_close(below_zero, (-math.log(9) - a.mean()) / a.std(), atol=1e-6, rtol=1e-6)


def test_constant_and_empty_columns_become_zeros(write: Write) -> None:
    data = table(write("a,b,rent\n" + "3,NA,1\n" * 4), id_column=None)
    assert all(not split.features.any() for split in read(data).values())
    assert data.in_features == 2


def test_drop_rows(write: Write) -> None:
    splits = read(table(write(FLATS), missing="drop_rows"))
    rents = torch.cat([split.target for split in splits.values()]).flatten().tolist()
    assert sorted(rents) == [380, 400, 600, 640, 850, 900, 1300]  # without b, c, d
    assert splits["train"].features.shape[1] == 2 + 3  # no column for a missing kind of heating


def test_drop_columns_looks_at_the_training_split(write: Write) -> None:
    data = table(write(FLATS), missing="drop_columns", fold=1, num_folds=5)
    assert data.in_features == 1 + 3  # age misses b; rooms and heating miss only c and d, which are held out
    assert data.encoder is not None
    assert list(data.encoder.numeric) == ["rooms"]


def test_columns_can_be_dropped_and_declared(write: Write) -> None:
    data = table(write(FLATS), drop_columns=["age"], categorical_columns=["rooms"], fold=1, num_folds=5)
    data.setup()
    assert data.encoder is not None
    assert list(data.encoder.numeric) == []
    assert list(data.encoder.categorical) == ["rooms", "heating"]
    assert data.encoder.categorical["rooms"] == ["1", "2", "3", "5", None]


def test_own_missing_values(write: Write) -> None:
    data = table(write("a,rent\n?,1\nNA,1\nx,1\ny,1\n"), id_column=None, missing_values=["?"])
    data.split_rows = lambda num_rows: {"train": [0, 1, 2], "val": [3], "test": [3]}
    data.setup()
    assert data.encoder is not None
    assert data.encoder.categorical["a"] == ["NA", "x", None]


# Targets


def test_log_target_and_back(write: Write) -> None:
    data = table(write(FLATS), log_target=True, fold=0, num_folds=10)
    target = read(data)["val"].target
    assert target.dtype == torch.float32
    assert target.tolist() == [[pytest.approx(math.log(400))]]
    torch.testing.assert_close(data.to_target_units(target), torch.tensor([[400.0]]))
    assert table(write(FLATS)).to_target_units(target) is target


def test_classes_are_sorted_and_known_before_setup(write: Write) -> None:
    data = table(write(FLATS), target="heating", task="classification", missing_values=["NA"])
    assert data.class_names == ("", "gas", "oil", "wood")
    assert data.num_classes == 4
    batch = read(data)["train"]
    assert isinstance(batch, ClassificationBatch)
    assert batch.label.dtype == torch.int64
    numbers = table(write("a,rent\n1,10\n2,9\n3,10\n4,9\n"), task="classification", id_column=None)
    assert numbers.class_names == ("9", "10")


def test_a_table_offers_only_the_values_of_its_task(write: Write) -> None:
    regression = table(write(FLATS))
    assert (regression.in_features, regression.out_features) == (6, 1)
    assert regression.num_classes is None
    assert regression.class_names == ()
    classification = table(write(FLATS), target="heating", task="classification", missing_values=["NA"])
    assert classification.num_classes == 4
    assert classification.out_features is None


# New rows and checkpoints


def test_checkpoint_alone_encodes_new_rows(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(FLATS)
    data = table(file, fold=0)
    model = zoo.LinearRegression(in_features=data.in_features)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    batch = next(iter(data.read_new_data(Path(file)).loader))
    Path(file).unlink()

    state = torch.load(tmp_path / "model.ckpt", weights_only=True)["CSVTable"]
    fresh = table(file)
    fresh.load_state_dict(state)
    assert (fresh.in_features, fresh.out_features) == (data.in_features, 1)
    text = FLATS.replace("rent", "notes")  # no target, and a column that the model does not know
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + text.encode())))
    new = fresh.read_new_data(None)
    assert new.names == list("abcdefghij")
    again = next(iter(new.loader))
    assert isinstance(again, RegressionBatch)
    torch.testing.assert_close(again.features, batch[0], rtol=0, atol=0)
    assert not again.target.any()


def test_state_loaded_after_setup_encodes_the_splits_anew(write: Write) -> None:
    file = write(FLATS)
    first, second = table(file, fold=0), table(file, fold=1)
    read(first)
    before = read(second)["val"].features
    second.load_state_dict(first.state_dict())
    after = read(second)["val"].features
    assert second.encoder is not None
    assert second.encoder.state_dict() == first.encoder.state_dict()
    assert not torch.equal(after, before)


def test_rows_without_id_are_numbered(write: Write) -> None:
    data = table(write(FLATS), id_column=None, drop_columns=["id"])
    assert data.read_new_data(Path(write(FLATS))).names == [str(i) for i in range(1, 11)]


def test_new_rows_with_missing_values_after_drop_rows(write: Write) -> None:
    data = table(write(FLATS), missing="drop_rows")
    with pytest.raises(DataError, match=r"flats\.csv: line 4: column 'rooms' is missing"):
        data.read_new_data(Path(write(FLATS)))


# Bad input

BAD_FILES = {
    "empty": ("", r"flats\.csv: is empty"),
    "header only": ("id,rooms,rent\n", r"flats\.csv: holds only the row of column names"),
    "no target": ("id,rooms,Rent\na,1,2\n", r"flats\.csv: has no column 'rent'; did you mean Rent\?"),
    "no features": ("id,rent\na,1\n", r"flats\.csv: has no feature columns beside id, rent"),
    "twice": ("id,a,a,rent\nx,1,1,1\n", r"column 'a' is named 2 times"),
    "short row": (FLATS + "k,2\n", r"flats\.csv: line 12 has 2 cells, but must have 5"),
    "long row": (FLATS + "k,2,gas,1,2,3\n", r"flats\.csv: line 12 has 6 cells, but must have 5"),
    "text": (
        FLATS + "k,two,gas,1,2\n",
        r"line 12: column 'rooms' is 'two', but must be a number; mend it, or",
    ),
    "infinite": (FLATS + "k,inf,gas,1,2\n", r"line 12: column 'rooms' is 'inf', but must be a number"),
    "text target": (FLATS + "k,2,gas,1,much\n", r"line 12: column 'rent' is 'much', but must be a number"),
    "missing target": (FLATS + "k,2,gas,1,\n", r"line 12: column 'rent', the target, is missing; fill it in"),
    "too few rows": ("id,rooms,rent\na,1,2\nb,1,2\n", r"its 2 usable rows leave none for the train split"),
    "quote": ('id,rooms,rent\na,"1,2\n', r"flats\.csv: line 2 is not CSV"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_named_in_one_line(write: Write, kind: str) -> None:
    text, message = BAD_FILES[kind]
    with pytest.raises(DataError, match=message) as caught:
        read(table(write(text)))
    assert "\n" not in str(caught.value)


def test_line_numbers_count_lines_within_quotes(write: Write) -> None:
    text = 'id,rooms,rent\n"a\nb",1,2\nc,1\n'
    with pytest.raises(DataError, match="line 4 has 2 cells"):
        read(table(write(text)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: there is no such file"):
        read(table(str(tmp_path / "absent.csv")))


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "picture.csv").write_bytes(b"id,rooms\n\x89PNG\r\n")
    with pytest.raises(DataError, match=r"picture\.csv: line 2 is not UTF-8 text"):
        read(table(str(tmp_path / "picture.csv")))


def test_unseen_class(write: Write, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,rooms,heating,age,rent\nx,2,coal,12,500\n")
    data = table(
        write(FLATS),
        target="heating",
        task="classification",
        missing_values=["NA"],
        test_file=str(tmp_path / "new.csv"),
    )
    message = r"new\.csv: line 2: column 'heating' is 'coal', but must be one of the classes , gas, oil, wood"
    with pytest.raises(DataError, match=message):
        read(data)


def test_target_that_has_no_logarithm(write: Write) -> None:
    with pytest.raises(
        DataError, match=r"line 12: column 'rent' is 0\.0, but must be positive for log_target"
    ):
        read(table(write(FLATS + "k,2,gas,1,0\n"), log_target=True))


def test_new_rows_lack_a_column(write: Write) -> None:
    data = table(write(FLATS))
    read(data)
    path = write("id,Rooms,heating,age\na,1,gas,10\n", "new.csv")
    with pytest.raises(DataError, match=r"new\.csv: has no column 'rooms'; did you mean Rooms\?"):
        data.read_new_data(Path(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "regresion"}, "task is 'regresion', but must be one of .*did you mean regression"),
        ({"missing": "keep"}, "missing is 'keep', but must be one of"),
        ({"val_fraction": 0.0}, "val_fraction is 0.0, but must be positive"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0, but must be in"),
        (
            {"val_fraction": 0.5, "test_fraction": 0.5},
            "val_fraction [+] test_fraction is 1.0, but must be below 1",
        ),
        ({"num_folds": 1}, "num_folds is 1, but must be at least 2"),
        ({"fold": 5}, "fold is 5, but must be in"),
        ({"numeric_columns": ["a"], "categorical_columns": ["a"]}, "must not share"),
        ({"task": "classification", "log_target": True}, "log_target is True, but must be False"),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.compile(message)):
        table("flats.csv", **arguments)
