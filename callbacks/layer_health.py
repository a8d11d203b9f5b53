"""Health of the layers while they learn: dead and saturated units, norms of gradients (section 5.4)."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

__all__ = ["LayerHealth"]

SATURATED = 0.01
"""Distance from a limit of its range, as a share of the range, at which a unit counts as saturated."""
LIMITS: dict[type[nn.Module], tuple[float, float]] = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0)}


class LayerHealth(L.Callback):
    """Logs, for each layer of ``net``, why it may learn slowly.

    - ``health/<layer>/dead``: share of a ReLU's units that are zero for the whole batch. A unit is a channel
      of a convolution (at every position), otherwise an entry of the last dimension.
    - ``health/<layer>/saturated``: share of a sigmoid's or tanh's outputs within 1% of the range from its
      limits, where the gradient vanishes.
    - ``health/<layer>/grad_norm``: Euclidean norm of the gradient of the layer's own parameters, before
      clipping.

    Activations must be modules (``nn.ReLU``), not function calls. Between the steps at which it looks,
    nothing is hooked.

    Args:
        every_n_steps: Optimizer steps from one look to the next.

    Raises:
        ValueError: If ``every_n_steps`` is below 1; or, when training starts, if the network is compiled: it
            would not call the hooks.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        if not every_n_steps >= 1:
            raise ValueError(f"every_n_steps is {every_n_steps!r}, but must be at least 1")
        self.every_n_steps = every_n_steps
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._alive: dict[str, Tensor] = {}
        self._saturated: dict[str, list[Tensor]] = {}
        self._norms: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a compiled network."""
        if any(module._compiled_call_impl is not None for module in pl_module.modules()):
            raise ValueError(
                "compile is True, but must be False for LayerHealth: a compiled network calls no hooks"
            )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Hook the activations, if it is time to look."""
        if trainer.global_step % self.every_n_steps:
            return
        self._alive, self._saturated, self._norms = {}, {}, {}
        for name, module in _layers(pl_module):
            if isinstance(module, nn.ReLU):
                self._hooks.append(module.register_forward_hook(self._look_at_relu(name)))
            elif type(module) in LIMITS:
                self._hooks.append(
                    module.register_forward_hook(self._look_at_range(name, *LIMITS[type(module)]))
                )

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Measure the gradients, if it is time to look."""
        if trainer.global_step % self.every_n_steps:
            return
        for name, module in _layers(pl_module):
            gradients = [p.grad for p in module.parameters(recurse=False) if p.grad is not None]
            if gradients:
                self._norms[name] = torch.stack([g.detach().float().norm() for g in gradients]).norm()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what was seen."""
        if not self._hooks and not self._norms:
            return
        self._unhook()
        values = {f"health/{n}/dead": float((~alive).float().mean()) for n, alive in self._alive.items()}
        for name, shares in self._saturated.items():
            values[f"health/{name}/saturated"] = float(torch.stack(shares).mean())
        values |= {f"health/{n}/grad_norm": float(norm) for n, norm in self._norms.items()}
        self._alive, self._saturated, self._norms = {}, {}, {}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the network as it was."""
        self._unhook()

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _look_at_relu(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
            # A layer may be called several times in a step: a unit alive once is alive.
            unit_dim = 1 if output.ndim >= 4 else output.ndim - 1
            alive = (output.detach() > 0).movedim(unit_dim, 0).flatten(1).any(dim=1)
            self._alive[name] = self._alive[name] | alive if name in self._alive else alive

        return look

    def _look_at_range(self, name: str, low: float, high: float) -> Callable[[nn.Module, Any, Tensor], None]:
        def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
            margin = SATURATED * (high - low)
            saturated = (output.detach() < low + margin) | (output.detach() > high - margin)
            self._saturated.setdefault(name, []).append(saturated.float().mean())

        return look


def _layers(pl_module: L.LightningModule) -> list[tuple[str, nn.Module]]:
    """Modules of the network by name, without the leading ``net.``."""
    return [(name.removeprefix("net."), module) for name, module in pl_module.named_modules() if name]
