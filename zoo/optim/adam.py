"""Adam, AdamW and Yogi from scratch (section 12.10)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from zoo.optim.base import BookOptimizer

__all__ = ["Adam", "AdamW", "Yogi"]


class Adam(BookOptimizer):
    """Momentum and RMSprop together; both averages are corrected for their start at 0 (section 12.10.1).

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.
        betas: Shares of the averages of gradients and of squares that are kept, each in [0, 1).
        eps: What keeps the divisor above 0, added to the root; positive. The book has 1e-6.
        weight_decay: Weight of the penalty on the squared parameters, at least 0. Its gradient is divided
            like the loss's; :class:`AdamW` is the other way.

    Raises:
        ValueError: If an argument is out of its range.
    """

    BUFFERS = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """``v = beta1 * v + (1 - beta1) * g``; ``x = x - lr * v_hat / (sqrt(s_hat) + eps)``.

        ``v_hat = v / (1 - beta1^t)`` and ``s_hat = s / (1 - beta2^t)`` at step ``t``, counted from 1.
        """
        beta1, beta2 = group["betas"]
        v = beta1 * state["exp_avg"] + (1 - beta1) * gradient
        s = self.next_square(state["exp_avg_sq"], gradient, beta2)
        v_hat = v / (1 - beta1 ** state["step"])
        s_hat = s / (1 - beta2 ** state["step"])
        parameter -= group["lr"] * v_hat / (torch.sqrt(s_hat) + group["eps"])
        state["exp_avg"], state["exp_avg_sq"] = v, s

    def next_square(self, s: Tensor, gradient: Tensor, beta2: float) -> Tensor:
        """``beta2 * s + (1 - beta2) * g^2``, which is ``s + (1 - beta2) * (g^2 - s)``."""
        return beta2 * s + (1 - beta2) * gradient**2


class AdamW(Adam):
    """Adam whose weight decay does not go through the averages: parameters shrink by ``lr * weight_decay``.

    From Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019).

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.
        betas: Shares of the averages of gradients and of squares that are kept, each in [0, 1).
        eps: What keeps the divisor above 0, added to the root; positive.
        weight_decay: Share of a parameter that a step at learning rate 1 would take away, at least 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def gradient(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient of the loss alone."""
        assert parameter.grad is not None
        return parameter.grad

    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """``x = x - lr * (v_hat / (sqrt(s_hat) + eps) + weight_decay * x)``, with Adam's ``v`` and ``s``."""
        parameter *= 1 - group["lr"] * group["weight_decay"]
        super().update(parameter, gradient, state, group)


class Yogi(Adam):
    """Adam whose average of squares moves by the gradient's square, however far off it is (section 12.10.3).

    So a large gradient is not forgotten at once. From Zaheer et al., "Adaptive Methods for Nonconvex
    Optimization" (2018). Like the book's, the average starts at 0, and ``eps`` is large.

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.
        betas: Shares of the averages of gradients and of squares that are kept, each in [0, 1).
        eps: What keeps the divisor above 0, added to the root; positive.
        weight_decay: Weight of the penalty on the squared parameters, at least 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def next_square(self, s: Tensor, gradient: Tensor, beta2: float) -> Tensor:
        """``s + (1 - beta2) * g^2 * sign(g^2 - s)``."""
        return s + (1 - beta2) * gradient**2 * torch.sign(gradient**2 - s)
