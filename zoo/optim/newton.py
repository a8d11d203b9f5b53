"""Newton's method and preconditioning with the diagonal of the Hessian (section 12.3.3).

For small problems: the Hessian has as many entries as there are pairs of parameters.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from zoo._checks import check_at_least

__all__ = ["Newton", "newton_direction"]

MOST_PARAMETERS = 1000
"""A Hessian of more takes so many gradients that it must be a mistake."""
MOST_HALVINGS = 30
"""Of the line search: by then a step is a billionth of the first one."""
SUFFICIENT = 1e-4
"""Share of the descent that the slope promises, which the line search asks for (Armijo's rule)."""


def newton_direction(
    gradient: Float[Tensor, " d"],
    hessian: Float[Tensor, "d d"],
    *,
    diagonal: bool = False,
    absolute: bool = False,
) -> Float[Tensor, " d"]:
    """The gradient divided by the curvature: ``H^-1 g``.

    Args:
        gradient: Gradient g.
        hessian: Second derivatives H, symmetric.
        diagonal: Take only the diagonal of H (section 12.3.3.3): each coordinate gets a rate of its own, and
            nothing has to be solved.
        absolute: Take the absolute values of the curvatures (the eigenvalues of H, or with ``diagonal`` its
            diagonal). Else the way leads uphill where the curvature is negative.

    Raises:
        ValueError: If a curvature is 0, so that there is no such point.
    """
    if diagonal:
        curvatures, axes = hessian.diagonal(), None
    else:
        curvatures, axes = torch.linalg.eigh(hessian)
    largest = curvatures.abs().max()
    # Less is what rounding leaves of 0 in a Hessian from differences.
    rounding = 10 * torch.finfo(hessian.dtype).eps ** (2 / 3) * largest
    if not curvatures.abs().min() > rounding:
        raise ValueError("the Hessian is singular or not finite, so there is no Newton step")
    if absolute:
        curvatures = curvatures.abs()
    return gradient / curvatures if axes is None else axes @ ((axes.T @ gradient) / curvatures)


class Newton(Optimizer):
    """Newton's method: from each point to where the gradient would be 0 if the loss were quadratic.

    On a quadratic loss that is one step. Where the loss curves downwards it leads uphill; the section names
    three ways out, which are ``absolute``, a smaller ``lr`` and ``line_search``.

    The Hessian is taken from differences of gradients, so every training loop that passes a closure will do
    (Lightning's does). A step with d parameters computes the loss 2 d + 1 times, on the same batch. The loss
    must come out the same each time, so there can be no dropout, and gradients must not be clipped. About
    nine digits of a curvature are exact in float64, four in float32. A training loop that adds up losses adds
    up those of all 2 d + 1 points, which lie close together but are not the same.

    Args:
        params: Parameters, at most 1,000 numbers in all, in one group.
        lr: Share of the step that is taken, at least 0.
        diagonal: Take only the diagonal of the Hessian: preconditioning (section 12.3.3.3).
        absolute: Take the absolute values of the curvatures.
        line_search: Halve the step until the loss falls enough (Armijo's rule), at most 30 times; if it never
            does, the parameters stay as they are.

    Raises:
        ValueError: If an argument is out of its range, or there are several groups or too many parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1.0,
        diagonal: bool = False,
        absolute: bool = False,
        line_search: bool = False,
    ) -> None:
        check_at_least("lr", lr, 0)
        defaults = {"lr": lr, "diagonal": diagonal, "absolute": absolute, "line_search": line_search}
        super().__init__(params, defaults)
        if len(self.param_groups) > 1:
            raise ValueError(f"the number of groups is {len(self.param_groups)}, but must be 1 for Newton")
        self.parameters: list[Tensor] = self.param_groups[0]["params"]
        size = sum(p.numel() for p in self.parameters)
        if size > MOST_PARAMETERS:
            raise ValueError(
                f"the number of parameters is {size}, but must be at most {MOST_PARAMETERS} for Newton"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: Function that computes the gradients anew and returns the loss.

        Returns:
            What the closure returns, before the step.

        Raises:
            ValueError: If there is no closure, the Hessian is singular, or the line search is sent uphill.
        """
        if closure is None:
            raise ValueError("closure is None, but must compute loss and gradients anew for Newton")
        group = self.param_groups[0]
        start = [p.clone() for p in self.parameters]
        loss, gradient = self._evaluate(closure)
        direction = newton_direction(
            gradient, self._hessian(closure), diagonal=group["diagonal"], absolute=group["absolute"]
        )
        share = group["lr"]
        if not group["line_search"]:
            self._place(start, direction, share)
            return loss
        slope = float(gradient @ direction)
        if slope < 0:
            raise ValueError("the Newton step leads uphill; with absolute=True it leads downhill")
        # What rounding takes away does not count, or there would be no step near the minimum.
        allowance = torch.finfo(gradient.dtype).eps * abs(float(loss))
        for _ in range(MOST_HALVINGS):
            self._place(start, direction, share)
            if float(self._evaluate(closure)[0]) <= float(loss) - SUFFICIENT * share * slope + allowance:
                return loss
            share /= 2
        self._place(start, direction, 0)
        return loss

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, Tensor]:
        """Loss, and gradient as one vector, at the parameters as they are."""
        with torch.enable_grad():
            loss = closure()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        return loss, torch.cat([g.flatten() for g in gradients])

    def _hessian(self, closure: Callable[[], Any]) -> Tensor:
        """Central differences of the gradient, made symmetric."""
        columns = []
        for parameter in self.parameters:
            flat = parameter.view(-1)
            # The distance at which rounding and the third derivative do about equal harm.
            scale = torch.finfo(parameter.dtype).eps ** (1 / 3)
            for i in range(flat.numel()):
                value = flat[i].item()
                distance = scale * max(1.0, abs(value))
                ends = []
                for sign in (1, -1):
                    flat[i] = value + sign * distance
                    ends.append((self._evaluate(closure)[1], flat[i].item()))
                flat[i] = value
                columns.append((ends[0][0] - ends[1][0]) / (ends[0][1] - ends[1][1]))
        hessian = torch.stack(columns)
        return (hessian + hessian.T) / 2

    def _place(self, start: list[Tensor], direction: Tensor, share: float) -> None:
        """Put the parameters at ``start - share * direction``."""
        parts = torch.split(direction, [p.numel() for p in self.parameters])
        for parameter, origin, part in zip(self.parameters, start, parts, strict=True):
            parameter.copy_(origin - share * part.view_as(origin))
