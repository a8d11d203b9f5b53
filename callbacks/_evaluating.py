"""A network in evaluation at the end of its training, with its best weights, and then as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch

__all__ = ["best_weights", "validating"]


@contextmanager
def best_weights(trainer: L.Trainer, pl_module: L.LightningModule) -> Iterator[str]:
    """Put the best checkpoint's weights into the module for a while; yields what to call them."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if not best or getattr(trainer.checkpoint_callback, "monitor", None) is None:
        yield "weights after the last step"
        return
    checkpoint = torch.load(best, map_location="cpu", weights_only=True)
    own = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}
    pl_module.load_state_dict(checkpoint["state_dict"])
    try:
        yield f"best checkpoint (epoch {checkpoint['epoch'] + 1})"
    finally:
        pl_module.load_state_dict(own)


@contextmanager
def validating(trainer: L.Trainer, pl_module: L.LightningModule) -> Iterator[None]:
    """Evaluation mode for the module and for the trainer, so that no datamodule augments the images."""
    modes = {module: module.training for module in pl_module.modules()}
    pl_module.eval()
    trainer.validating = True
    try:
        yield
    finally:
        trainer.training = True
        for module, training in modes.items():  # not train(): some layers may be frozen in evaluation mode
            module.training = training
