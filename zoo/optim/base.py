"""What the optimizers of chapter 12 have in common: the loop over parameters, their state, the checks."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from zoo._checks import check_at_least, check_fraction, check_positive

__all__ = ["BookOptimizer"]


class BookOptimizer(Optimizer):
    """Base of the optimizers from scratch: a subclass gives its formula for one parameter, :meth:`update`.

    Hyperparameters have torch's names and the state has torch's keys. A group of parameters may have its own
    hyperparameters, which are checked like the others.

    Args:
        params: Parameters, or parameter groups.
        defaults: The hyperparameters of the groups that do not have their own.

    Raises:
        ValueError: If a hyperparameter is out of its range.
    """

    BUFFERS: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors that are kept from step to step, each in the shape of its parameter, from 0 on."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.check(defaults)
        super().__init__(params, defaults)

    @abstractmethod
    def update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """Change one parameter, and its state, in place.

        Args:
            parameter: The parameter, of any shape.
            gradient: Its gradient, with the weight decay added; of the same shape.
            state: ``step``, the number of this step counted from 1, and the tensors of :attr:`BUFFERS`.
            group: The hyperparameters.
        """

    def check(self, group: dict[str, Any]) -> None:
        """Check the hyperparameters of a group, by the names that the optimizers share.

        Raises:
            ValueError: If one is out of its range.
        """
        for name in group.keys() & {"lr", "weight_decay"}:
            check_at_least(name, group[name], 0)
        for name in group.keys() & {"momentum", "alpha", "rho"}:
            check_fraction(name, group[name])
        if "eps" in group:
            check_positive("eps", group["eps"])
        if "betas" in group:
            betas = group["betas"]
            if len(betas) != 2:
                raise ValueError(f"betas is {betas!r}, but must be two numbers")
            for i, beta in enumerate(betas):
                check_fraction(f"betas[{i}]", beta)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with its own hyperparameters or the defaults.

        Args:
            param_group: ``params``, and hyperparameters by name.

        Raises:
            ValueError: If a hyperparameter is out of its range.
        """
        self.check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: Function that computes the gradients and returns the loss; None when they are there.

        Returns:
            What the closure returns.

        Raises:
            ValueError: If a gradient is sparse or complex.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse or parameter.grad.is_complex():
                    raise ValueError(f"{type(self).__name__} takes only gradients that are dense and real")
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state.update({name: torch.zeros_like(parameter) for name in self.BUFFERS})
                state["step"] += 1
                self.update(parameter, self.gradient(parameter, group), state, group)
        return loss

    def gradient(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """The gradient of the loss and of the penalty ``weight_decay / 2 * ||parameter||^2``.

        Args:
            parameter: The parameter; it has a gradient.
            group: The hyperparameters.
        """
        assert parameter.grad is not None
        weight_decay: float = group["weight_decay"]
        return parameter.grad + weight_decay * parameter if weight_decay else parameter.grad
