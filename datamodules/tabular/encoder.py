"""From columns of text to numbers (section 2.2), with statistics that travel in the checkpoint."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn import functional

from datamodules.interface.errors import DataError
from datamodules.tabular.table import Table, as_numbers

__all__ = ["NumericColumn", "TableEncoder", "is_numeric", "numbers", "skewness"]


class NumericColumn(NamedTuple):
    """What is known of a numeric column.

    Attributes:
        mean: Mean in the training split, after the logarithm where there is one.
        std: Standard deviation (of a sample, as in pandas), 1 where all values are equal.
        log: Whether x is replaced by sign(x) log(1 + |x|) first.
    """

    mean: float
    std: float
    log: bool


def numbers(
    table: Table,
    column: str,
    *,
    way_out: str = "mend it, or list the column in categorical_columns or the value in missing_values",
) -> Float64[Tensor, " rows"]:
    """A numeric column, NaN where a value is missing.

    Args:
        table: Where to look.
        column: Name of the column.
        way_out: What an error says the user can do.

    Raises:
        DataError: If a cell is no finite number.
    """
    cells = table.column(column)
    values = as_numbers(cells)
    for line, cell, value in zip(table.lines, cells, values, strict=True):
        if cell is not None and math.isnan(value):
            raise DataError(
                f"{table.name}: line {line}: column {column!r} is {cell!r}, but must be a number; {way_out}"
            )
    return torch.tensor(values, dtype=torch.float64)


def is_numeric(cells: Sequence[str | None]) -> bool:
    """Whether at least half of the cells that are not missing are numbers.

    A column of numbers with a few words in it is a mistake in the file, which :func:`numbers` then names; it
    should not quietly become a column of many categories.
    """
    known = as_numbers(cell for cell in cells if cell is not None)
    return 2 * sum(math.isnan(value) for value in known) <= len(known)


def skewness(values: Float64[Tensor, " rows"]) -> float:
    """Skewness of a sample (Fisher-Pearson, adjusted as in pandas); NaN is left out, 0 for fewer than 3."""
    known = values[~values.isnan()]
    n = len(known)
    centred = known - known.mean()
    variance = centred.square().mean()
    if n < 3 or variance == 0:
        return 0.0
    return float(centred.pow(3).mean() / variance.pow(1.5)) * math.sqrt(n * (n - 1)) / (n - 2)


class TableEncoder:
    """Standardises numeric columns and makes one column of zeros and ones for each category (section 5.7.4).

    A missing number becomes 0, the mean. A missing category has a column of its own, if asked for. A category
    that the training split lacks gives zeros in all columns of its column.

    Attributes:
        numeric: Numeric columns in their order, with their statistics.
        categorical: Categorical columns in their order, with their categories in sorted order; None, the
            last, stands for a missing value.
    """

    def __init__(self) -> None:
        self.numeric: dict[str, NumericColumn] = {}
        self.categorical: dict[str, list[str | None]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the encoded columns: ``LotArea``, ..., ``MSZoning_RL``, ..., ``MSZoning_nan``, ..."""
        dummies = [
            f"{column}_{'nan' if category is None else category}"
            for column, categories in self.categorical.items()
            for category in categories
        ]
        return [*self.numeric, *dummies]

    def fit(
        self,
        table: Table,
        *,
        numeric: Sequence[str],
        categorical: Sequence[str],
        missing_category: bool = True,
        log_skewed: float | None = None,
    ) -> None:
        """Learn statistics and categories from the training split, and from nothing else (erratum 17).

        Args:
            table: The training rows.
            numeric: Names of the numeric columns.
            categorical: Names of the categorical columns.
            missing_category: Whether a missing category has a column of its own.
            log_skewed: Take the logarithm of non-negative numeric columns whose skewness is above this; None
                takes none.

        Raises:
            DataError: If a cell of a numeric column is no number.
        """
        self.numeric, self.categorical = {}, {}
        for column in numeric:
            values = numbers(table, column)
            known = values[~values.isnan()]
            log = log_skewed is not None and bool((known >= 0).all()) and skewness(values) > log_skewed
            if log:
                known = known.log1p()
            std = float(known.std()) if len(known) > 1 else 0.0
            self.numeric[column] = NumericColumn(float(known.mean()) if len(known) else 0.0, std or 1.0, log)
        for column in categorical:
            categories: list[str | None] = []
            categories += sorted({cell for cell in table.column(column) if cell is not None})
            self.categorical[column] = [*categories, None] if missing_category else categories

    def encode(self, table: Table, *, scale: bool = True) -> Float64[Tensor, "rows columns"]:
        """Encode rows.

        Args:
            table: Rows with all the columns that the encoder was fitted on, in any order.
            scale: Whether numbers are standardised; otherwise they keep their unit, and a missing one is
                the mean.

        Raises:
            DataError: If a column is absent, or a cell of a numeric column is no number.
        """
        encoded: list[Tensor] = []
        for column, known in self.numeric.items():
            values = numbers(table, column)
            if known.log:
                values = values.sign() * values.abs().log1p()
            values = ((values - known.mean) / known.std).nan_to_num(0.0)
            encoded.append(values if scale else values * known.std + known.mean)
        blocks = [torch.stack(encoded, dim=1)] if encoded else []
        for column, categories in self.categorical.items():
            position = {category: i for i, category in enumerate(categories)}
            unknown = len(categories)
            indices = torch.tensor([position.get(cell, unknown) for cell in table.column(column)])
            blocks.append(functional.one_hot(indices, unknown + 1)[:, :unknown].double())
        return torch.cat(blocks, dim=1)

    def state_dict(self) -> dict[str, Any]:
        """All that was learnt, as plain values."""
        return {
            "numeric": {column: known._asdict() for column, known in self.numeric.items()},
            "categorical": {column: list(categories) for column, categories in self.categorical.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what was learnt elsewhere."""
        self.numeric = {column: NumericColumn(**known) for column, known in state["numeric"].items()}
        self.categorical = {column: list(categories) for column, categories in state["categorical"].items()}
