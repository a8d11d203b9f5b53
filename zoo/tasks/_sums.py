"""Metrics as sums on the device: nothing in a training step waits for the device."""

from typing import Any

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

__all__ = ["MetricSums", "wide"]


def wide(value: Tensor) -> Tensor:
    """The value in float64 (float32 on MPS, which has no float64), without its graph.

    In bfloat16 a sum over a batch would lose digits; in float16 it would overflow.
    """
    return value.detach().to(torch.float32 if value.device.type == "mps" else torch.float64)


class MetricSums:
    """Sums of named quantities over the examples of an epoch.

    The first quantity added must be the loss: the count of steps until its sum stops being finite is kept
    too.
    Sums are float64 (float32 on MPS), whatever precision the model runs in.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start an epoch."""
        self.names: tuple[str, ...] = ()
        self._examples: int | Tensor = 0
        self.steps = 0
        self._totals: Tensor | None = None
        self._finite_steps: Tensor | None = None

    @property
    def examples(self) -> int:
        """Examples so far; waits for the device if a batch's number is known only there."""
        return int(self._examples)

    def add(self, quantities: dict[str, Tensor], examples: int | Tensor) -> None:
        """Add sums over a batch of ``examples`` examples; each quantity is a scalar tensor on one device."""
        values = torch.stack([wide(value) for value in quantities.values()])
        if self._totals is None or self._finite_steps is None:
            self.names = tuple(quantities)
            self._totals = torch.zeros_like(values)
            self._finite_steps = torch.zeros((), dtype=torch.int64, device=values.device)
        elif self._totals.device != values.device:  # restored from a checkpoint
            self._totals = self._totals.to(values)
            self._finite_steps = self._finite_steps.to(values.device)
        self._totals += values
        loss = self._totals[0]
        self._finite_steps += loss - loss == 0  # false for nan and for inf, and for every step after one
        self._examples = self._examples + examples  # not in place: a tensor may be the batch's own
        self.steps += 1

    def totals(self) -> dict[str, float]:
        """The sums so far; waits for the device."""
        if self._totals is None:
            return {}
        return dict(zip(self.names, self._totals.tolist(), strict=True))

    def first_bad_step(self) -> int | None:
        """The first step (from 0) whose loss was not finite, or None; waits for the device."""
        if self._finite_steps is None:
            return None
        finite = int(self._finite_steps)
        return finite if finite < self.steps else None

    def over_processes(self, strategy: Strategy, device: torch.device) -> "MetricSums":
        """The sums over all processes, on each of them; steps remain this process's own, as all take as many.

        Every process must call this, with or without examples of its own: the names are those of process 0,
        which has an example wherever another one has.

        Args:
            strategy: The trainer's.
            device: Device of this process.
        """
        whole = MetricSums()
        whole.names = strategy.broadcast(self.names)
        whole.steps, whole._finite_steps = self.steps, self._finite_steps
        values = wide(torch.zeros(len(whole.names) + 1, device=device))
        if self._totals is not None:
            values[:-1] = self._totals
        values[-1] = self._examples
        values = strategy.reduce(values, reduce_op="sum")
        whole._totals = values[:-1] if whole.names else None
        whole._examples = int(values[-1])
        return whole

    def leave_to_another(self) -> None:
        """Forget totals and examples, which another process has taken over; the steps still count."""
        self._examples = 0
        if self._totals is not None:
            self._totals = torch.zeros_like(self._totals)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and CPU tensors, for the checkpoint."""
        return {
            "names": list(self.names),
            "examples": self.examples,
            "steps": self.steps,
            "totals": None if self._totals is None else self._totals.cpu().clone(),
            "finite_steps": None if self._finite_steps is None else self._finite_steps.cpu().clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.names = tuple(state["names"])
        self._examples = state["examples"]
        self.steps = state["steps"]
        self._totals = state["totals"]
        self._finite_steps = state["finite_steps"]
