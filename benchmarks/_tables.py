"""Tables of results, and means of a few repetitions with how far to trust them."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit

__all__ = ["Interval", "mean_interval", "table"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


class Interval(NamedTuple):
    """A mean, and between which values the true one lies with 95% confidence."""

    mean: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        """The mean, and the interval in brackets."""
        return f"{self.mean:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean and its 95% interval by Student's t, of two values or more."""
    mean = statistics.fmean(values)
    quantile = float(stdtrit(len(values) - 1, 0.975))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)
