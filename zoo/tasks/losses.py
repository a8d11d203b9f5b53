"""Losses by name, each the mean over the batch."""

import functools
from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "REGRESSION_LOSSES",
    "half_mean_squared_error",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "regression_loss",
    "smooth_l1",
]

Loss = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Mean of (prediction - target)^2, torch's form and that of the book's concise models."""
    return F.mse_loss(prediction, target)


def half_mean_squared_error(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Mean of (prediction - target)^2 / 2, the form of the book's models from scratch (section 3.1.1.2)."""
    return F.mse_loss(prediction, target) / 2


def mean_absolute_error(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Mean of |prediction - target|."""
    return F.l1_loss(prediction, target)


def huber(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], *, delta: float = 1.0
) -> Float[Tensor, ""]:
    """Squared (halved) up to delta, linear with slope delta beyond (Huber, 1964)."""
    return F.huber_loss(prediction, target, delta=delta)


def smooth_l1(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], *, delta: float = 1.0
) -> Float[Tensor, ""]:
    """The Huber loss divided by delta: slope 1 beyond delta (Girshick, 2015)."""
    return F.smooth_l1_loss(prediction, target, beta=delta)


REGRESSION_LOSSES = ("mse", "half_mse", "mae", "huber", "smooth_l1")


def regression_loss(name: str, delta: float) -> Loss:
    """The loss of that name; ``delta`` matters to ``huber`` and ``smooth_l1``."""
    table: dict[str, Loss] = {
        "mse": mean_squared_error,
        "half_mse": half_mean_squared_error,
        "mae": mean_absolute_error,
        "huber": functools.partial(huber, delta=delta),
        "smooth_l1": functools.partial(smooth_l1, delta=delta),
    }
    return table[name]
