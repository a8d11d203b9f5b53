"""Initialisers by name (sections 5.4 and 6.3)."""

import functools
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_choice

__all__ = [
    "INITIALISERS",
    "bilinear_",
    "init_convolutions",
    "init_parameters",
    "init_weight_",
    "sparse_uniform_",
]

Initialiser = Callable[[Tensor], Tensor]


def sparse_uniform_(weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Uniform in (-10, 10), then zero where the magnitude is below 5 (section 6.3.2, custom)."""
    with torch.no_grad():
        nn.init.uniform_(weight, -10, 10)
        weight *= weight.abs() >= 5
    return weight


def bilinear_(
    weight: Float[Tensor, "in_channels out_channels height width"],
) -> Float[Tensor, "in_channels out_channels height width"]:
    """Bilinear upsampling, channel by channel, for a transposed convolution (section 14.11.3).

    Raises:
        ValueError: If the kernel is not square.
    """
    in_channels, out_channels, height, width = weight.shape
    if height != width:
        raise ValueError(f"bilinear kernel is {height}x{width}, but must be square")
    factor = (height + 1) // 2
    centre = factor - 1 if height % 2 == 1 else factor - 0.5
    profile = 1 - (torch.arange(height, dtype=weight.dtype) - centre).abs() / factor
    with torch.no_grad():
        weight.zero_()
        channels = torch.arange(min(in_channels, out_channels))
        weight[channels, channels] = (profile[:, None] * profile[None, :]).to(weight)
    return weight


INITIALISERS: dict[str, Initialiser] = {
    "zeros": nn.init.zeros_,
    "ones": nn.init.ones_,
    "constant": functools.partial(nn.init.constant_, val=1.0),
    "normal": functools.partial(nn.init.normal_, std=0.01),
    "uniform": functools.partial(nn.init.uniform_, a=-0.1, b=0.1),
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": functools.partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "kaiming_normal": functools.partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "sparse_uniform": sparse_uniform_,
    "bilinear": bilinear_,
}


def init_weight_(weight: Tensor, name: str) -> Tensor:
    """Fill a weight in place with the initialiser of that name.

    Args:
        weight: Weight of at least two dimensions.
        name: A key of :data:`INITIALISERS`; ``normal`` is N(0, 0.01^2), the book's choice.

    Raises:
        ValueError: If there is no such initialiser.
    """
    check_choice("init", name, INITIALISERS)
    return INITIALISERS[name](weight)


def init_parameters(net: nn.Module, name: str, *, zero_bias: bool = False) -> None:
    """Initialise every linear and convolutional weight of a network.

    Args:
        net: The network.
        name: A key of :data:`INITIALISERS`, or ``default``, which leaves torch's own initialisation.
        zero_bias: Set the biases to zero too; else they keep torch's own initialisation, as the book's do.

    Raises:
        ValueError: If there is no such initialiser.
    """
    check_choice("init", name, ["default", *INITIALISERS])
    if name == "default":
        return
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            init_weight_(module.weight, name)
            if zero_bias and module.bias is not None:
                nn.init.zeros_(module.bias)


def init_convolutions(net: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Initialise the convolutions of a deep rectified network as He et al. (2015, arXiv:1502.01852) do.

    Weights are normal with variance 2 / fan, biases 0. Other layers are left alone.

    Args:
        net: The network.
        mode: ``fan_out`` keeps the variance of the gradients, ``fan_in`` that of the activations.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
