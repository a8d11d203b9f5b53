"""House prices: the book's inline table (section 2.2) and the Kaggle competition (section 5.7)."""

from pathlib import Path

from jaxtyping import Float64
from torch import Tensor

from datamodules._download import RemoteFile, get_file
from datamodules._registry import register
from datamodules.base import BatchSize, NewData, default_data_dir
from datamodules.tabular.csv_table import CSVTable
from datamodules.tabular.encoder import TableEncoder, numbers
from datamodules.tabular.table import Table, parse_csv, read_csv

__all__ = ["HousePrices", "HouseTiny"]

HOUSE_TINY = """NumRooms,RoofType,Price
NA,NA,127500
2,NA,106000
4,Slate,178100
NA,NA,140000
"""


@register(task="tabular regression", book=("D01",))
class HouseTiny(CSVTable):
    """The four houses of section 2.2, written inline: rooms, kind of roof, price in dollars.

    The book converts all rows at once; :meth:`book_tensors` gives what it prints. To train, the two rows with
    known rooms are the training split (their mean is that of the whole column), the first is for validation,
    the last for the test.

    Args:
        batch_size: Rows in a batch on each device, or ``full``.
        seed: Seed of the training order.
    """

    def __init__(self, *, batch_size: BatchSize = 32, seed: int = 0) -> None:
        super().__init__(
            file="house_tiny.csv",
            target="Price",
            numeric_columns=("NumRooms",),
            categorical_columns=("RoofType",),
            batch_size=batch_size,
            seed=seed,
        )

    def read_table(self) -> Table:
        """The four rows."""
        return parse_csv(HOUSE_TINY, name=self.file)

    def split_rows(self, num_rows: int) -> dict[str, list[int]]:
        """Rows 1 and 2 to train on, row 0 for validation, row 3 for the test."""
        return {"train": [1, 2], "val": [0], "test": [3]}

    def book_tensors(self) -> tuple[Float64[Tensor, "4 3"], Float64[Tensor, " 4"]]:
        """The tensors X and y of section 2.2.3.

        Returns:
            Rooms (the mean where missing), 1.0 for slate, 1.0 for no known roof (4, 3); prices in dollars
            (4,).
        """
        table = self.read_table()
        encoder = TableEncoder()
        encoder.fit(table, numeric=self.numeric_columns, categorical=self.categorical_columns)
        return encoder.encode(table, scale=False), numbers(table, self.target)


def _file(name: str, sha256: str) -> RemoteFile:
    return RemoteFile(
        name=name,
        sha256=sha256,
        urls=(
            f"http://d2l-data.s3-accelerate.amazonaws.com/{name}",
            # The last state of the Chinese edition's repository that held its data.
            f"https://raw.githubusercontent.com/d2l-ai/d2l-zh/f66f0829b472c4739fc7842b827c63e5eb39d69d/data/{name}",
        ),
    )


TRAIN = _file(
    "kaggle_house_pred_train.csv", "1e18addf81e5e4d347cc17ee6075bbe4a42b7fa26b9e5b063e8f692a5f929d41"
)
COMPETITION = _file(
    "kaggle_house_pred_test.csv", "8fdd3d829d4d986b58f845c9553b225e67dd8383624d90fb6ca1d4bed5798c1e"
)


@register(task="tabular regression", book=("D05",), config="linear/house_prices.yaml")
class HousePrices(CSVTable):
    """Ames house prices as in the Kaggle competition (section 5.7): 1,460 sales with 79 features.

    The target is the logarithm of the price. The competition's own 1,459 test rows have no price; they are
    for :meth:`read_competition_rows`. Deviation from the book, which takes means, deviations and categories
    over training and test rows together (330 columns): ours are those of the training split, so some rare
    categories have no column.

    Args:
        data_dir: Folder that has, or will have, the files in ``house-prices/``; None is ``$ZOO_DATA_DIR``,
            else ``data``.
        val_fraction: Share of the rows held out for validation, in (0, 1).
        test_fraction: Share of the rows held out for the test, in (0, 1).
        fold: Which of ``num_folds`` contiguous parts is the validation split, from 0 on (section 5.7.5); no
            fraction is used, and there is no test split. None splits at random.
        num_folds: Number of folds, at least 2; the book's K.
        log_skewed: Replace x by log(1 + x) in columns whose skewness is above this; None replaces none, as
            the book.
        batch_size: Rows in a batch on each device, or ``full``.
        seed: Seed of the split and of the training order.
    """

    def __init__(
        self,
        *,
        data_dir: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        fold: int | None = None,
        num_folds: int = 5,
        log_skewed: float | None = None,
        batch_size: BatchSize = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(
            file=TRAIN.name,
            target="SalePrice",
            id_column="Id",
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            fold=fold,
            num_folds=num_folds,
            log_target=True,
            log_skewed=log_skewed,
            batch_size=batch_size,
            seed=seed,
        )
        self.data_dir = data_dir

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return Path(self.data_dir or default_data_dir()) / "house-prices"

    def prepare_data(self) -> None:
        """Get both files."""
        for file in (TRAIN, COMPETITION):
            get_file(file, [self.folder / file.name])

    def read_table(self) -> Table:
        """The 1,460 rows with a price."""
        return read_csv(self.folder / TRAIN.name, missing_values=self.missing_values)

    def read_competition_rows(self) -> NewData:
        """The 1,459 rows to predict for a submission, named by their ``Id``."""
        return self.read_new_data(self.folder / COMPETITION.name)
