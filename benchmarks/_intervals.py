"""Means of a few repetitions, with how far to trust them."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import t as students_t

__all__ = ["Interval", "mean_interval"]


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
    quantile = float(students_t.ppf(0.975, len(values) - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)
