"""Torchvision's networks with weights and statistics that show what is swapped or left out."""

from typing import Any

import torch
import torchvision
from torch import nn


def torchvision_twin(variant: str, **arguments: Any) -> nn.Module:
    """Torchvision's network with random weights, biases and statistics, in evaluation mode.

    Weights are small enough for the outputs of deep networks to stay near 1. No two layers are alike.
    """
    # Torchvision computes the widths of a RegNet as tensors, which have no values on the meta device.
    with torch.device("cpu" if variant.startswith("regnet") else "meta"):
        twin: nn.Module = (
            torchvision.models.get_model(variant, init_weights=False, **arguments)
            if variant in ("googlenet",) or variant.startswith("vgg")
            else torchvision.models.get_model(variant, **arguments)
        )
    twin = twin.to_empty(device="cpu")
    for name, value in twin.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(3)
        elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.normal_(std=0.1)
        else:
            value.normal_(std=(1 / value[0].numel()) ** 0.5)
    return twin.eval()
