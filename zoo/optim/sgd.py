"""Gradient descent and momentum from scratch (sections 12.4 to 12.6).

Whether it is gradient descent, minibatch or stochastic gradient descent depends on the batch alone.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from zoo.optim.base import BookOptimizer

__all__ = ["SGD", "Momentum"]


class SGD(BookOptimizer):
    """Each step takes ``lr`` times the gradient from every parameter (sections 3.4.3 and 12.5).

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.
        weight_decay: Weight of the penalty on the squared parameters, at least 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, params: Iterable[Any], *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """``x = x - lr * g``."""
        parameter -= group["lr"] * gradient


class Momentum(BookOptimizer):
    """A step along a velocity, in which gradients of the past count less and less (section 12.6).

    It is torch's ``SGD`` with ``momentum``. In a steady gradient the velocity grows to ``1 / (1 - momentum)``
    times that gradient; with ``ema`` to the gradient itself, so it is the same method with ``1 - momentum``
    times the learning rate. (torch's ``dampening`` differs: it leaves the first gradient whole.)

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.
        momentum: Share of the velocity that is kept (the book's beta), in [0, 1).
        weight_decay: Weight of the penalty on the squared parameters, at least 0.
        ema: The velocity is the moving average of the gradients, not their sum.

    Raises:
        ValueError: If an argument is out of its range.
    """

    BUFFERS = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        ema: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "ema": ema})

    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """``v = momentum * v + g`` or, with ``ema``, ``+ (1 - momentum) * g``; ``x = x - lr * v``."""
        momentum = group["momentum"]
        share = 1 - momentum if group["ema"] else 1
        velocity = momentum * state["momentum_buffer"] + share * gradient
        parameter -= group["lr"] * velocity
        state["momentum_buffer"] = velocity
