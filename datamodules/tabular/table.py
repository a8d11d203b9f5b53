"""Reading CSV into columns of text, with the line of each row kept for error messages.

Python's own ``csv`` is used on purpose: pandas guesses types and missing values by rules that change between
its versions (the book's house prices have 331 columns under one and 330 under another), and fills short rows
silently.
"""

import csv
import io
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.interface.errors import DataError
from datamodules.interface.registry import near_names

__all__ = ["MISSING_VALUES", "Table", "as_numbers", "parse_csv", "read_csv"]

MISSING_VALUES = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>")
"""Cells that stand for a missing value, as in pandas 2 and later."""


class Table(NamedTuple):
    """Columns of text.

    Attributes:
        name: What to call the table in an error: its file, or ``standard input``.
        columns: Cells of each column by its name; None where a value is missing.
        lines: Line of each row in the file, counted from 1.
    """

    name: str
    columns: dict[str, list[str | None]]
    lines: list[int]

    def rows(self, indices: Sequence[int]) -> "Table":
        """The table of some of the rows, in the order of the indices."""
        columns = {name: [cells[i] for i in indices] for name, cells in self.columns.items()}
        return Table(self.name, columns, [self.lines[i] for i in indices])

    def column(self, name: str) -> list[str | None]:
        """The cells of one column.

        Raises:
            DataError: If there is no such column.
        """
        if name not in self.columns:
            hint = near_names(name, list(self.columns)) or f"; its columns are {', '.join(self.columns)}"
            raise DataError(f"{self.name}: has no column {name!r}{hint}")
        return self.columns[name]


def as_numbers(cells: Iterable[str | None]) -> list[float]:
    """The numbers that cells write; NaN for a missing value and for what is no finite number."""
    cells = list(cells)
    known: dict[str | None, float] = {None: math.nan}
    for cell in {cell for cell in cells if cell is not None}:  # cells repeat, and text is slow to refuse
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        # float() also takes inf, and 1_000 as Python spells it.
        known[cell] = value if math.isfinite(value) and "_" not in cell else math.nan
    return [known[cell] for cell in cells]


def parse_csv(text: str, *, name: str, missing_values: Sequence[str] = MISSING_VALUES) -> Table:
    """Parse comma-separated text whose first row names the columns; blanks around a cell do not count.

    Args:
        text: The file's content.
        name: What to call it in an error.
        missing_values: Cells that stand for a missing value.

    Raises:
        DataError: If it is empty, has no rows, repeats a column, or a row has too few or too many cells.
    """
    missing = set(missing_values)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{name}: line {reader.line_num} is not CSV ({error}); mend it") from error
    if not rows:
        raise DataError(f"{name}: is empty, but must hold a row of column names and rows of values")
    header = rows[0]
    if len(rows) == 1:
        raise DataError(f"{name}: holds only the row of column names; add rows of values")
    for column in header:
        if header.count(column) > 1:
            raise DataError(
                f"{name}: column {column!r} is named {header.count(column)} times; rename all but one"
            )
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{name}: line {line} has {len(row)} cells, but must have {len(header)} as the first row; "
                "quote cells that hold a comma"
            )
    columns: dict[str, list[str | None]] = {
        column: [None if row[i] in missing else row[i] for row in rows[1:]] for i, column in enumerate(header)
    }
    return Table(name, columns, lines[1:])


def read_csv(source: Path | None, *, missing_values: Sequence[str] = MISSING_VALUES) -> Table:
    """Read a CSV file in UTF-8, or standard input when ``source`` is None; see :func:`parse_csv`.

    Raises:
        DataError: If it cannot be read or parsed.
    """
    name = "standard input" if source is None else str(source)
    try:
        data = sys.stdin.buffer.read() if source is None else source.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{name}: there is no such file; check the path") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{name}: line {line} is not UTF-8 text; save the file as CSV in UTF-8") from error
    return parse_csv(text, name=name, missing_values=missing_values)
