"""A sine wave with noise, to be continued from its last values (section 9.1)."""

import torch
from jaxtyping import Float
from torch import Tensor

from datamodules._registry import register
from datamodules.base import BatchSize, ZooDataModule
from datamodules.interface.batches import Batch, RegressionBatch
from datamodules.interface.checks import check_at_least

__all__ = ["SineWave", "windows"]


def windows(series: Float[Tensor, " time"], tau: int) -> RegressionBatch:
    """Each ``tau`` values in a row, and the value after them (section 9.1.2).

    Args:
        series: The values, more than ``tau`` of them.
        tau: Length of a window, at least 1.

    Returns:
        Features (time - tau, tau) and targets (time - tau, 1), copies of the values.
    """
    rows = series.unfold(0, tau + 1, 1)
    return RegressionBatch(rows[:, :-1].clone(), rows[:, -1:].clone())


@register(
    task="regression",
    book=("D07",),
    config="rnn/autoregressive_sine.yaml",
    tiny={"num_points": 24, "num_train": 6, "num_val": 3, "batch_size": 4},
)
class SineWave(ZooDataModule):
    """``x = sin(0.01 t) + noise`` at t = 1, 2, ..., to be told from its last values (section 9.1.2).

    The splits follow each other in time, ``tau`` windows apart, so that no value of the series is in two of
    them: with the defaults windows 0 to 599 are for training, 604 to 799 for validation and 804 to 995 for
    the test. The book validates on the 396 windows after the first 600, whose first four begin with values
    that were trained on, and has no test split.

    Args:
        num_points: Length of the series T.
        tau: How many values tell the next, at least 1.
        noise: Standard deviation of the noise, in units of x, at least 0.
        num_train: Training windows, at least 1.
        num_val: Validation windows, at least 1; what is left is for the test.
        batch_size: Windows in a batch on each device, or ``full``.
        seed: Seed of the noise and of the training order.

    Attributes:
        in_features: ``tau``.
        out_features: 1.
        train_end: Number of values at the beginning of the series that training knows.

    Raises:
        ValueError: If an argument is out of range, or nothing is left for the test.
    """

    out_features = 1

    def __init__(
        self,
        *,
        num_points: int = 1000,
        tau: int = 4,
        noise: float = 0.2,
        num_train: int = 600,
        num_val: int = 196,
        batch_size: BatchSize = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        check_at_least("tau", tau, 1)
        check_at_least("noise", noise, 0)
        check_at_least("num_train", num_train, 1)
        check_at_least("num_val", num_val, 1)
        # Each split has tau values more than windows, and the test at least one window.
        least = num_train + num_val + 1 + 3 * tau
        if num_points < least:
            raise ValueError(
                f"num_points is {num_points}, but must be at least {least}: num_train + num_val + 1 windows "
                "in three splits, each of which has tau values more than windows"
            )
        self.num_points = num_points
        self.tau = tau
        self.noise = noise
        self.num_train = num_train
        self.num_val = num_val
        self.in_features = tau
        self.train_end = num_train + tau

    @property
    def series(self) -> Float[Tensor, " time"]:
        """The whole series, float32; index 0 is t = 1."""
        generator = torch.Generator().manual_seed(self.seed)
        time = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        return torch.sin(0.01 * time) + self.noise * torch.randn(self.num_points, generator=generator)

    def read_splits(self) -> dict[str, Batch]:
        """Draw the series and cut it."""
        parts = self.series.tensor_split([self.train_end, self.train_end + self.num_val + self.tau])
        return {name: windows(x, self.tau) for name, x in zip(("train", "val", "test"), parts, strict=True)}
