"""``--channels_last``: convolutions on memory that holds the channels of a pixel side by side."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from zoo_cli.errors import CommandError

__all__ = ["SameLayout", "use_channels_last"]


def use_channels_last(model: LightningModule, where: str) -> None:
    """Let a network and the images that reach it have their channels last in memory, in place.

    Shapes, values and the names in checkpoints stay as they are; many processors compute convolutions faster.

    Args:
        model: Model whose ``net`` takes images (batch, channels, height, width).
        where: Where the setting was given.

    Raises:
        CommandError: If the network takes something else.
    """
    example = model.example_input_array
    if not isinstance(example, Tensor) or example.ndim != 4:
        shape = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise CommandError(
            f"{where}: channels_last is True, but must be False for {type(model).__name__}: it takes inputs "
            f"like {shape}, not images (batch, channels, height, width)"
        )
    net = model.get_submodule("net")
    net.to(memory_format=torch.channels_last)
    net.register_forward_pre_hook(_reorder)


def _reorder(net: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # Not contiguous(), which takes images with one channel for both and leaves them.
    return (inputs[0].to(memory_format=torch.channels_last), *inputs[1:])


class SameLayout(Callback):
    """Gives what an optimizer remembers of a parameter the parameter's own layout in memory.

    The two differ when a run goes on with another ``--channels_last`` than it was started with, and torch's
    fused optimizers go through the memory of both in step, whatever it means.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reorder, once the checkpoint is restored."""
        for optimizer in trainer.optimizers:
            for parameter, state in optimizer.state.items():
                _follow(parameter, state)


def _follow(parameter: Tensor, state: dict[str, Any]) -> None:
    for name, value in state.items():
        if (
            isinstance(value, Tensor)
            and value.shape == parameter.shape
            and value.stride() != parameter.stride()
        ):
            state[name] = torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)
