"""Activations by name, against their formulas."""

import math

import pytest
import torch
from torch import Tensor

from zoo.layers.activations import ACTIVATIONS, activation

X = torch.linspace(-4, 4, 801, dtype=torch.float64)


def slope(name: str, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(activation(name)(x).sum(), x)
    return gradient


def test_the_list_is_canonical() -> None:
    assert list(ACTIVATIONS) == [
        "relu",
        "sigmoid",
        "tanh",
        "prelu",
        "leaky_relu",
        "gelu",
        "gelu_tanh",
        "silu",
        "identity",
    ]


def test_formulas() -> None:
    phi = (1 + torch.erf(X / math.sqrt(2))) / 2
    inner = math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)
    expected = {
        "relu": X.clamp(min=0),
        "sigmoid": 1 / (1 + torch.exp(-X)),
        "tanh": (torch.exp(X) - torch.exp(-X)) / (torch.exp(X) + torch.exp(-X)),
        "prelu": X.clamp(min=0) + 0.25 * X.clamp(max=0),
        "leaky_relu": X.clamp(min=0) + 0.01 * X.clamp(max=0),
        "gelu": X * phi,
        "gelu_tanh": X / 2 * (1 + torch.tanh(inner)),
        "silu": X / (1 + torch.exp(-X)),
        "identity": X,
    }
    assert list(expected) == list(ACTIVATIONS)
    for name, values in expected.items():
        torch.testing.assert_close(activation(name).double()(X), values, atol=1e-12, rtol=0)


def test_tanh_is_a_stretched_sigmoid() -> None:
    torch.testing.assert_close(
        activation("tanh")(X), 2 * activation("sigmoid")(2 * X) - 1, atol=1e-12, rtol=0
    )


def test_largest_slopes() -> None:
    assert slope("sigmoid", X).max().item() == pytest.approx(0.25, abs=1e-12)
    assert slope("tanh", X).max().item() == pytest.approx(1, abs=1e-12)
    assert slope("tanh", torch.tensor([4.0], dtype=torch.float64)).item() == pytest.approx(0.001341, abs=5e-7)


def test_relu_has_slope_zero_at_zero() -> None:
    assert slope("relu", torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 0, 1]


def test_fully_connected_layer_with_relu_by_hand() -> None:
    """relu(.5 * .8 + .3 * .2 + .1) = .56."""
    x, w = torch.tensor([0.5, 0.3]), torch.tensor([0.8, 0.2])
    assert activation("relu")(w @ x + 0.1).item() == pytest.approx(0.56)


def test_prelu_is_a_parameter_of_its_own() -> None:
    a, b = activation("prelu"), activation("prelu")
    assert sum(p.numel() for p in a.parameters()) == 1
    assert next(a.parameters()) is not next(b.parameters())


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"activation is 'rellu', but must be one of .*; did you mean relu"):
        activation("rellu")
