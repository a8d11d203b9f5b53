"""The user's own table: a CSV file with one row for each example."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from datamodules._registry import register
from datamodules.base import BatchSize, Loader, NewData, ZooDataModule
from datamodules.interface.batches import Batch, ClassificationBatch, RegressionBatch
from datamodules.interface.checks import check_at_least, check_choice, check_held_out
from datamodules.interface.errors import DataError
from datamodules.loaders import TensorLoader
from datamodules.tabular.encoder import TableEncoder, is_numeric, numbers
from datamodules.tabular.table import MISSING_VALUES, Table, as_numbers, read_csv

__all__ = ["CSVTable"]


@register(task="tabular regression or classification")
class CSVTable(ZooDataModule):
    """A CSV file with column names in its first row: numbers, categories and missing values (section 2.2).

    Numbers are standardised and categories become columns of zeros and ones. The statistics are those of the
    training split alone; they are part of the checkpoint, which so can encode new rows. Rows are dealt to the
    three splits at random, unless a fold is given.

    Args:
        file: The CSV file, UTF-8, comma-separated.
        target: Name of the column to predict.
        task: ``regression`` or ``classification``.
        id_column: Column that names the rows in predictions and is no feature; None numbers them from 1.
        drop_columns: Columns to leave out.
        numeric_columns: Columns to read as numbers. Columns in neither list are numeric when at least half of
            their cells in the training split are numbers.
        categorical_columns: Columns to read as categories, for instance codes written as numbers.
        missing_values: Cells that stand for a missing value; the default is pandas' list.
        missing: What to do about missing features: ``impute`` (a number becomes the mean, a category gets a
            column of its own), ``drop_rows``, or ``drop_columns`` that miss any in the training split.
        test_file: CSV file with the test rows, target included; None holds them out of ``file``.
        val_fraction: Share of the rows held out for validation, in (0, 1).
        test_fraction: Share of the rows held out for the test, in (0, 1); not used with a ``test_file``.
        fold: For cross-validation: which of ``num_folds`` contiguous parts of ``file`` is the validation
            split, from 0 on, as in the book (section 5.7.5). No fraction is used. There is no test split
            unless there is a ``test_file``, since choices are made on every fold. None splits at random.
        num_folds: Number of folds, at least 2.
        log_target: Predict the natural logarithm of the target; see :meth:`to_target_units`.
        log_skewed: Replace x by log(1 + x) in non-negative numeric columns whose skewness is above this; None
            replaces none.
        batch_size: Rows in a batch on each device, or ``full``.
        seed: Seed of the split and of the training order.

    Attributes:
        encoder: Statistics and categories of the training split, once known.
    """

    def __init__(
        self,
        *,
        file: str,
        target: str,
        task: str = "regression",
        id_column: str | None = None,
        drop_columns: Sequence[str] = (),
        numeric_columns: Sequence[str] = (),
        categorical_columns: Sequence[str] = (),
        missing_values: Sequence[str] = MISSING_VALUES,
        missing: str = "impute",
        test_file: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        fold: int | None = None,
        num_folds: int = 5,
        log_target: bool = False,
        log_skewed: float | None = None,
        batch_size: BatchSize = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_choice("task", task, ("regression", "classification"))
        check_choice("missing", missing, ("impute", "drop_rows", "drop_columns"))
        check_held_out(val_fraction, test_fraction)
        check_at_least("num_folds", num_folds, 2)
        if fold is not None and not 0 <= fold < num_folds:
            raise ValueError(f"fold is {fold!r}, but must be in [0, {num_folds}), below num_folds")
        both = set(numeric_columns) & set(categorical_columns)
        if both:
            raise ValueError(
                f"numeric_columns is {list(numeric_columns)!r}, but must not share {sorted(both)} with "
                "categorical_columns"
            )
        if log_target and task == "classification":
            raise ValueError("log_target is True, but must be False for classification")
        self.file = file
        self.target = target
        self.task = task
        self.id_column = id_column
        self.drop_columns = tuple(drop_columns)
        self.numeric_columns = tuple(numeric_columns)
        self.categorical_columns = tuple(categorical_columns)
        self.missing_values = tuple(missing_values)
        self.missing = missing
        self.test_file = test_file
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.fold = fold
        self.num_folds = num_folds
        self.log_target = log_target
        self.log_skewed = log_skewed
        self.encoder: TableEncoder | None = None
        self._class_names: tuple[str, ...] = ()

    # What a model needs to know

    def _known_encoder(self) -> TableEncoder:
        """The encoder, from a checkpoint or else fitted now."""
        if self.encoder is None:
            self.prepare_data()
            self.setup()
        assert self.encoder is not None
        return self.encoder

    @property
    def in_features(self) -> int:
        """Number of encoded columns."""
        return len(self._known_encoder().names)

    @property
    def out_features(self) -> int | None:
        """1 for regression, None for classification."""
        return 1 if self.task == "regression" else None

    @property
    def num_classes(self) -> int | None:
        """Number of classes in the file, None for regression."""
        return len(self.class_names) if self.task == "classification" else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in sorted order (by value if all are numbers); empty for regression."""
        if self.task == "classification":
            self._known_encoder()
        return self._class_names

    @class_names.setter
    def class_names(self, names: tuple[str, ...]) -> None:
        self._class_names = names

    def to_target_units(self, prediction: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """A regression model's output in the units of the file's target column."""
        return prediction.exp() if self.log_target else prediction

    # Reading

    def read_table(self) -> Table:
        """The labelled rows."""
        return read_csv(Path(self.file), missing_values=self.missing_values)

    def split_rows(self, num_rows: int) -> dict[str, list[int]]:
        """Which rows each split has; ``test`` is absent with a fold, and empty with a ``test_file``."""
        if self.fold is not None:
            start, stop = (k * num_rows // self.num_folds for k in (self.fold, self.fold + 1))
            train = [i for i in range(num_rows) if not start <= i < stop]
            return {"train": train, "val": list(range(start, stop))}
        order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(self.seed)).tolist()
        num_test = 0 if self.test_file is not None else max(1, round(num_rows * self.test_fraction))
        num_val = max(1, round(num_rows * self.val_fraction))
        val, test = order[num_test : num_test + num_val], order[:num_test]
        return {"train": order[num_test + num_val :], "val": val, "test": test}

    def read_splits(self) -> dict[str, Batch]:
        """Read, split and encode; the encoder learns from the training rows, or comes from a checkpoint."""
        table = self._usable(self.read_table())
        tables = {split: table.rows(rows) for split, rows in self.split_rows(len(table.lines)).items()}
        if self.test_file is not None:
            test = read_csv(Path(self.test_file), missing_values=self.missing_values)
            tables["test"] = self._usable(test)
        for split, part in tables.items():
            if not part.lines:
                raise DataError(
                    f"{part.name}: its {len(table.lines)} usable rows leave none for the {split} split; "
                    "add rows, or change fractions or num_folds"
                )
        if self.encoder is None:
            self._fit(tables["train"])
            classes = {cell for cell in table.column(self.target) if cell is not None}
            self.class_names = _sorted_classes(classes) if self.task == "classification" else ()
        return {split: self._batch(part, labelled=True) for split, part in tables.items()}

    def _loader(self, split: str, *, shuffle: bool) -> Loader:
        if split == "test" and split not in self.splits:
            raise DataError(
                "a fold has no test split: leave fold out, or give test_file where the datamodule takes one"
            )
        return super()._loader(split, shuffle=shuffle)

    def read_new_data(self, source: Path | None) -> NewData:
        """Rows of a CSV file or of standard input: the feature columns in any order, no target is needed.

        Raises:
            DataError: If a column is absent or a cell cannot be used.
        """
        table = read_csv(source, missing_values=self.missing_values)
        encoder = self._known_encoder()
        if self.missing == "drop_rows":
            for column in [*encoder.numeric, *encoder.categorical]:
                if None in table.column(column):
                    line = table.lines[table.column(column).index(None)]
                    raise DataError(
                        f"{table.name}: line {line}: column {column!r} is missing, but the model was trained "
                        "without such rows (missing: drop_rows); fill it in or remove the row"
                    )
        batch = self._batch(table, labelled=False)
        has_ids = self.id_column is not None and self.id_column in table.columns
        ids = table.column(str(self.id_column)) if has_ids else [None] * len(table.lines)
        names = [str(i) if name is None else name for i, name in enumerate(ids, start=1)]
        return NewData(names, TensorLoader(batch, self.batch_sampler(len(names), shuffle=False)))

    def _features(self, table: Table) -> list[str]:
        """Names of the feature columns before missing ones are dropped."""
        for column in (self.target, *self.drop_columns, *self.numeric_columns, *self.categorical_columns):
            table.column(column)
        others = {self.target, *self.drop_columns}
        if self.id_column is not None:
            table.column(self.id_column)
            others.add(self.id_column)
        features = [column for column in table.columns if column not in others]
        if not features:
            raise DataError(f"{table.name}: has no feature columns beside {', '.join(sorted(others))}")
        return features

    def _usable(self, table: Table) -> Table:
        """The rows to work with: all, or those without missing features."""
        features = self._features(table)
        if self.missing != "drop_rows":
            return table
        complete = zip(*(table.columns[column] for column in features), strict=True)
        return table.rows([i for i, cells in enumerate(complete) if None not in cells])

    def _fit(self, train: Table) -> None:
        features = self._features(train)
        if self.missing == "drop_columns":
            features = [column for column in features if None not in train.columns[column]]
            if not features:
                raise DataError(
                    f"{train.name}: each column misses values, so `missing: drop_columns` leaves none"
                )
        numeric = [
            column
            for column in features
            if column in self.numeric_columns
            or (column not in self.categorical_columns and is_numeric(train.columns[column]))
        ]
        self.encoder = TableEncoder()
        self.encoder.fit(
            train,
            numeric=numeric,
            categorical=[column for column in features if column not in numeric],
            missing_category=self.missing == "impute",
            log_skewed=self.log_skewed,
        )

    def _batch(self, table: Table, *, labelled: bool) -> RegressionBatch | ClassificationBatch:
        """Rows as numbers; targets are zeros when they are not wanted."""
        features = self._known_encoder().encode(table).float()
        if self.task == "classification":
            labels = self._labels(table) if labelled else torch.zeros(len(features), dtype=torch.int64)
            return ClassificationBatch(features, labels)
        target = self._targets(table) if labelled else torch.zeros(len(features), 1)
        return RegressionBatch(features, target)

    def _target_cells(self, table: Table) -> list[str]:
        cells: list[str] = []
        for line, cell in zip(table.lines, table.column(self.target), strict=True):
            if cell is None:
                raise DataError(
                    f"{table.name}: line {line}: column {self.target!r}, the target, is missing; fill it in "
                    "or remove the row"
                )
            cells.append(cell)
        return cells

    def _labels(self, table: Table) -> Tensor:
        position = {name: i for i, name in enumerate(self.class_names)}
        labels: list[int] = []
        for line, cell in zip(table.lines, self._target_cells(table), strict=True):
            if cell not in position:
                raise DataError(
                    f"{table.name}: line {line}: column {self.target!r} is {cell!r}, but must be one of the "
                    f"classes {', '.join(self.class_names)}; mend it, or train anew with this class"
                )
            labels.append(position[cell])
        return torch.tensor(labels)

    def _targets(self, table: Table) -> Tensor:
        self._target_cells(table)  # a missing one has an error of its own
        target = numbers(table, self.target, way_out="mend it, or set task to classification")
        if self.log_target:
            for line, value in zip(table.lines, target.tolist(), strict=True):
                if value <= 0:
                    raise DataError(
                        f"{table.name}: line {line}: column {self.target!r} is {value!r}, but must be "
                        "positive for log_target; mend it, or leave log_target out"
                    )
            target = target.log()
        return target.float()[:, None]

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch; statistics, categories and classes, as plain values."""
        return {**super().state_dict(), **self._table_state()}

    def _table_state(self) -> dict[str, Any]:
        if self.encoder is None:
            return {}
        return {"encoder": self.encoder.state_dict(), "class_names": list(self._class_names)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the epoch, and encode as the checkpoint's model expects; splits are read anew."""
        table_state = {key: state_dict[key] for key in ("encoder", "class_names") if key in state_dict}
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in table_state})
        if not table_state or table_state == self._table_state():
            return
        self.encoder = TableEncoder()
        self.encoder.load_state_dict(table_state["encoder"])
        self.class_names = tuple(table_state["class_names"])
        if self.splits:
            self.splits = {}
            self.setup()


def _sorted_classes(classes: set[str]) -> tuple[str, ...]:
    in_order = sorted(classes)
    values = as_numbers(in_order)
    if any(math.isnan(value) for value in values):
        return tuple(in_order)
    return tuple(name for _, name in sorted(zip(values, in_order, strict=True)))
