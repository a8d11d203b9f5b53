"""Noise of airfoils in a wind tunnel (section 12.5.3), on which chapter 12 compares optimizers."""

import math
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from datamodules._download import RemoteFile, get_file
from datamodules._registry import register
from datamodules.base import BatchSize, ZooDataModule, default_data_dir
from datamodules.interface.batches import Batch, RegressionBatch
from datamodules.interface.checks import check_choice, check_held_out
from datamodules.interface.errors import DataError

__all__ = ["AirfoilNoise"]

FILE = RemoteFile(
    name="airfoil_self_noise.dat",
    sha256="74c75fd71783f1e6b71f8a622b993dc592897a97cd689c5090a07147a1b097b3",
    urls=(
        "http://d2l-data.s3-accelerate.amazonaws.com/airfoil_self_noise.dat",
        # The last state of the Chinese edition's repository that held its data.
        "https://raw.githubusercontent.com/d2l-ai/d2l-zh/f66f0829b472c4739fc7842b827c63e5eb39d69d/data/airfoil_self_noise.dat",
    ),
)
COLUMNS = 6
BOOK_TRAIN = 1500


@register(
    task="tabular regression",
    book=("D11",),
    config="optim/sgd_airfoil.yaml",
    tiny={"batch_size": 4},
)
class AirfoilNoise(ZooDataModule):
    """NASA's airfoil self-noise: 1,503 measurements with five features (section 12.5.3).

    Columns are the frequency in Hz, the angle of attack in degrees, the chord's length in m, the free-stream
    velocity in m/s and the displacement thickness of the boundary layer on the suction side in m; the target
    is the scaled sound pressure level in dB. All six are standardised, the target too.

    Neighbouring rows of the file are of one series of measurements, so validation and test rows are drawn at
    random from all over it. The book trains on the first 1,500 rows, standardises by all rows and measures
    the loss on the training rows; ``split: book`` does that, and leaves it one row for validation and two for
    the test, from which nothing can be told.

    Args:
        data_dir: Folder that has, or will have, the file in ``airfoil/``; None is ``$ZOO_DATA_DIR``, else
            ``data``.
        split: ``random``, with means and deviations of the training rows, or ``book``.
        val_fraction: Share of the rows held out for validation, in (0, 1); not used by ``book``.
        test_fraction: Share of the rows held out for the test, in (0, 1); not used by ``book``.
        batch_size: Rows in a batch on each device, or ``full``.
        seed: Seed of the split and of the training order.

    Attributes:
        in_features: 5.
        out_features: 1.
    """

    in_features = COLUMNS - 1
    out_features = 1

    def __init__(
        self,
        *,
        data_dir: str | None = None,
        split: str = "random",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        batch_size: BatchSize = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_choice("split", split, ("random", "book"))
        check_held_out(val_fraction, test_fraction)
        self.data_dir = data_dir
        self.split = split
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction

    @property
    def file(self) -> Path:
        """Where the file lies."""
        return Path(self.data_dir or default_data_dir()) / "airfoil" / FILE.name

    def prepare_data(self) -> None:
        """Get the file."""
        get_file(FILE, [self.file])

    def read_splits(self) -> dict[str, Batch]:
        """Read, split and standardise."""
        rows = _read(self.file)
        parts = self._split_rows(len(rows))
        for name, part in parts.items():
            if not len(part):
                raise DataError(f"{self.file}: its {len(rows)} rows leave none for the {name} split")
        known = rows if self.split == "book" else rows[parts["train"]]
        # With 1/n, as in the book; a column that never changes becomes zeros.
        std, mean = torch.std_mean(known, dim=0, correction=0)
        rows = ((rows - mean) / torch.where(std > 0, std, 1.0)).float()
        return {name: RegressionBatch(rows[part, :-1], rows[part, -1:]) for name, part in parts.items()}

    def _split_rows(self, size: int) -> dict[str, Tensor]:
        if self.split == "book":
            order = torch.arange(size)
            return {
                "train": order[:BOOK_TRAIN],
                "val": order[BOOK_TRAIN : BOOK_TRAIN + 1],
                "test": order[BOOK_TRAIN + 1 :],
            }
        order = torch.randperm(size, generator=torch.Generator().manual_seed(self.seed))
        num_test = max(1, round(size * self.test_fraction))
        num_val = max(1, round(size * self.val_fraction))
        test, val, train = order.tensor_split([num_test, num_test + num_val])
        return {"train": train, "val": val, "test": test}


def _read(path: Path) -> Float64[Tensor, "rows 6"]:
    """The file's numbers: rows of six, separated by tabs, without a header."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check data_dir") from error
    rows = []
    for i, line in enumerate(lines, start=1):
        try:
            row = [float(cell) for cell in line.split("\t")]
        except ValueError:
            row = []
        if len(row) != COLUMNS or not all(map(math.isfinite, row)):
            raise DataError(f"{path}: line {i} is {line!r}, but must be {COLUMNS} numbers with tabs between")
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, COLUMNS)
