"""``metrics.csv``: the history of a run, one row for each step at which something was logged."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from callbacks._files import write_atomically

__all__ = ["MetricsCSV", "read_metrics"]

Row = dict[str, float]


def read_metrics(path: Path) -> list[Row]:
    """The rows of a ``metrics.csv``, each without its empty cells; an absent file has no rows."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def _as_text(rows: Iterable[Row], columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        cells = [row.get(name, "") for name in columns]
        # Epochs and steps are whole numbers; others keep every digit.
        writer.writerow(
            [int(c) if n in ("epoch", "step") and c != "" else c for n, c in zip(columns, cells, strict=True)]
        )
    return text.getvalue()


class MetricsCSV(Logger):
    """Logger that writes ``metrics.csv``: columns ``epoch``, ``step``, then metrics in the order of arrival.

    Values logged at the same step share a row. A file left by an earlier start is continued, never emptied
    (Lightning's CSVLogger deletes it, and with it the history of a resumed run).

    Args:
        save_dir: Folder of the run.
        flush_every: Rows kept in memory before they are written; an epoch's end writes them too.
    """

    def __init__(self, save_dir: str | Path, *, flush_every: int = 100) -> None:
        super().__init__()
        if not flush_every >= 1:
            raise ValueError(f"flush_every is {flush_every!r}, but must be at least 1")
        self.path = Path(save_dir) / "metrics.csv"
        self.flush_every = flush_every
        self._trainer: L.Trainer | None = None
        self._columns = ["epoch", "step"]
        self._written_columns: list[str] = []  # the file's header; empty while there is no file
        # Rows that the file lacks, or may lack in part: they belong behind the file's first `_end` bytes.
        self._rows: list[Row] = []
        self._end = 0
        self._opened = False

    @property
    def name(self) -> str:
        """Empty: the folder of the run is complete as it is."""
        return ""

    @property
    def version(self) -> str:
        """Empty, like the name."""
        return ""

    @property
    def save_dir(self) -> str:
        """Folder of the run."""
        return str(self.path.parent)

    def follow(self, trainer: L.Trainer) -> None:
        """Take epoch and step from the trainer from now on, and record only what is logged while it fits.

        The step is then the number of optimizer steps done (``global_step``), as in the names of checkpoints.
        Lightning itself passes the index of the last batch, one less, to its loggers.
        """
        self._trainer = trainer

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: hyperparameters are in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of this step.

        Args:
            metrics: Values by name; ``epoch`` fills its own column.
            step: Optimizer steps done; not used while a trainer is followed.
        """
        place: Row = {"step": step or 0}
        if self._trainer is not None:
            if self._trainer.state.fn != "fit":
                return
            place = {"epoch": self._trainer.current_epoch, "step": self._trainer.global_step}
        self._open()
        values = {name: float(value) for name, value in metrics.items() if name not in place}
        self._columns += [name for name in values if name not in self._columns]
        if not self._rows or self._rows[-1]["step"] != place["step"]:
            self._rows.append({})
        self._rows[-1] |= {**place, **values}
        if len(self._rows) > self.flush_every:
            self.flush()

    def save(self) -> None:
        """Write all rows; Lightning calls this after it has logged an epoch's metrics."""
        self.flush()

    def finalize(self, status: str) -> None:
        """Write all rows."""
        self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Write all rows; only new columns make this rewrite the file."""
        if not self._rows:
            return
        if self._written_columns != self._columns:
            self._rewrite(read_metrics(self.path)[: self._complete_rows()] + self._rows)
            return
        text = _as_text(self._rows, self._columns).encode()
        with self.path.open("r+b") as file:
            file.seek(self._end)
            file.write(text)
            file.truncate()
        self._keep_last_row(self._end + len(text))

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop what was logged after this step: a run that resumes from a checkpoint goes through it again.

        Args:
            step: Optimizer steps done in the checkpoint.
        """
        self._open()
        self.flush()
        rows = read_metrics(self.path)
        kept = [row for row in rows if row["step"] <= step]
        if len(kept) < len(rows):
            self._rewrite(kept)
        elif kept:  # the row of this very step may still grow
            self._rows = [kept[-1]]
            self._end = self.path.stat().st_size - len(_as_text(self._rows, self._columns).encode())

    def _open(self) -> None:
        """Learn what an earlier start has left."""
        if self._opened:
            return
        self._opened = True
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        self._end = content.rfind(b"\n") + 1  # a row cut off by a crash is overwritten
        with self.path.open("r+b") as file:
            file.truncate(self._end)
        if self._end:
            header = next(csv.reader([content.split(b"\n", 1)[0].decode()]))
            self._columns, self._written_columns = list(header), list(header)

    def _complete_rows(self) -> int:
        """How many rows of the file are final."""
        if not self._written_columns:
            return 0
        with self.path.open("rb") as file:
            return file.read(self._end).count(b"\n") - 1

    def _rewrite(self, rows: list[Row]) -> None:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(self._columns)
        text = (header.getvalue() + _as_text(rows, self._columns)).encode()
        write_atomically(self.path, text)
        self._written_columns = list(self._columns)
        self._rows = rows[-1:]
        self._keep_last_row(len(text))

    def _keep_last_row(self, size: int) -> None:
        """Keep the last row in memory, since more may be logged at its step."""
        self._rows = self._rows[-1:]
        self._end = size - len(_as_text(self._rows, self._columns).encode())
