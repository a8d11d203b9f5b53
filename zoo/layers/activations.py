"""Activations by name."""

from collections.abc import Callable

from torch import nn

from zoo._checks import check_choice

__all__ = ["ACTIVATIONS", "activation"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "prelu": nn.PReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """A new activation module of that name; the book calls ``silu`` Swish (section 5.1).

    Raises:
        ValueError: If there is no such activation.
    """
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()
