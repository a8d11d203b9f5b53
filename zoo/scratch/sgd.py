"""Minibatch stochastic gradient descent from scratch (section 3.4.3)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from zoo._checks import check_at_least

__all__ = ["SGD"]


class SGD(Optimizer):
    """Each step takes ``lr`` times the gradient from every parameter.

    Args:
        params: Parameters, or parameter groups.
        lr: Learning rate, at least 0.

    Raises:
        ValueError: If the learning rate is negative.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        check_at_least("lr", lr, 0)
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: Function that computes the gradients and returns the loss; None when they are there.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * parameter.grad
        return loss
