"""Learning rates of their own for every coordinate, from scratch: Adagrad, RMSprop, Adadelta (12.7 to 12.9).

The book and some texts add ``eps`` to the square before the root is taken, torch adds it to the root. Both
keep the divisor above 0; torch's is the default here, ``eps_inside_root`` the other.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from zoo.optim.base import BookOptimizer

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


def root(square: Tensor, eps: float, inside: bool) -> Tensor:
    """``sqrt(square + eps)`` or ``sqrt(square) + eps``."""
    return torch.sqrt(square + eps) if inside else torch.sqrt(square) + eps


class Adagrad(BookOptimizer):
    """The gradient is divided by the root of the sum of all its squares so far (section 12.7).

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.
        eps: What keeps the divisor above 0; positive. The book has 1e-6, inside the root.
        weight_decay: Weight of the penalty on the squared parameters, at least 0.
        eps_inside_root: Add ``eps`` to the sum of squares, not to its root.

    Raises:
        ValueError: If an argument is out of its range.
    """

    BUFFERS = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.01,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        eps_inside_root: bool = False,
    ) -> None:
        defaults = {"lr": lr, "eps": eps, "weight_decay": weight_decay, "eps_inside_root": eps_inside_root}
        super().__init__(params, defaults)

    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """``s = s + g^2``; ``x = x - lr * g / sqrt(s)``."""
        s = state["sum"] + gradient**2
        parameter -= group["lr"] * gradient / root(s, group["eps"], group["eps_inside_root"])
        state["sum"] = s


class RMSprop(BookOptimizer):
    """The gradient is divided by the root of the moving average of its squares (section 12.8).

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.
        alpha: Share of the average that is kept (the book's gamma, .9 there), in [0, 1).
        eps: What keeps the divisor above 0; positive. The book has 1e-6, inside the root.
        weight_decay: Weight of the penalty on the squared parameters, at least 0.
        eps_inside_root: Add ``eps`` to the average, not to its root.

    Raises:
        ValueError: If an argument is out of its range.
    """

    BUFFERS = ("square_avg",)

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        eps_inside_root: bool = False,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "eps_inside_root": eps_inside_root})

    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """``s = alpha * s + (1 - alpha) * g^2``; ``x = x - lr * g / sqrt(s)``."""
        alpha = group["alpha"]
        s = alpha * state["square_avg"] + (1 - alpha) * gradient**2
        parameter -= group["lr"] * gradient / root(s, group["eps"], group["eps_inside_root"])
        state["square_avg"] = s


class Adadelta(BookOptimizer):
    """The size of a step is that of the past steps, relative to that of the past gradients (section 12.9).

    It needs no learning rate; ``lr`` is there to scale the step. With ``rho`` .9 a square counts half after
    6.6 steps. ``eps`` is inside both roots, in torch too; it is what the first step grows from.

    Args:
        params: Parameters, or parameter groups.
        lr: Factor of the step, at least 0.
        rho: Share of both averages that is kept, in [0, 1).
        eps: What keeps both roots above 0; positive. The book has 1e-5.
        weight_decay: Weight of the penalty on the squared parameters, at least 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    BUFFERS = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})

    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """``s = rho * s + (1 - rho) * g^2``; ``x = x - lr * d``; ``delta = rho * delta + (1 - rho) * d^2``.

        ``d = sqrt(delta + eps) / sqrt(s + eps) * g``, with the ``delta`` of the step before.
        """
        rho, eps = group["rho"], group["eps"]
        s = rho * state["square_avg"] + (1 - rho) * gradient**2
        rescaled = torch.sqrt(state["acc_delta"] + eps) / torch.sqrt(s + eps) * gradient
        parameter -= group["lr"] * rescaled
        state["square_avg"] = s
        state["acc_delta"] = rho * state["acc_delta"] + (1 - rho) * rescaled**2
