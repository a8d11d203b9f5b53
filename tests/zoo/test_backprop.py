"""Gradients by hand against autograd, in float64."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.scratch.backprop import ACTIVATIONS, SLOPES, BackpropMLP


def network(
    sizes: tuple[int, ...], activation: str = "relu", l2: float = 0.0
) -> tuple[BackpropMLP, list[Tensor], list[Tensor]]:
    weights = [
        torch.randn(d, q, dtype=torch.float64, requires_grad=True) for d, q in itertools.pairwise(sizes)
    ]
    biases = [torch.randn(q, dtype=torch.float64, requires_grad=True) for q in sizes[1:]]
    return BackpropMLP(weights, biases, activation=activation, l2=l2), weights, biases


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("sizes", [(5, 3), (5, 7, 3), (5, 7, 6, 3)])
def test_gradients_equal_autograd(activation: str, l2: float, sizes: tuple[int, ...]) -> None:
    net, weights, biases = network(sizes, activation, l2)
    x, label = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 2])
    net.forward(x)
    loss = net.loss(label)
    expected = torch.autograd.grad(loss, [*weights, *biases])
    with torch.no_grad():
        net.forward(x)
        weight_gradients, bias_gradients = net.backward(label)
    for gradient, reference in zip([*weight_gradients, *bias_gradients], expected, strict=True):
        torch.testing.assert_close(gradient, reference, atol=1e-12, rtol=0)


def test_loss_is_cross_entropy_plus_half_the_squared_norms() -> None:
    net, weights, _ = network((5, 4, 3), l2=0.2)
    logits = net.forward(torch.randn(2, 5, dtype=torch.float64))
    label = torch.tensor([1, 0])
    expected = nn.functional.cross_entropy(logits, label) + 0.1 * sum(w.square().sum() for w in weights)
    torch.testing.assert_close(net.loss(label), expected, atol=1e-12, rtol=0)


def test_constant_weights_give_all_hidden_units_the_same_gradient() -> None:
    weights = [torch.full((5, 4), 0.5, dtype=torch.float64), torch.full((4, 3), 0.5, dtype=torch.float64)]
    biases = [torch.zeros(4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    x, label = torch.rand(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 0, 0])

    def spread(weights: list[Tensor]) -> float:
        net = BackpropMLP(weights, biases, activation="tanh")
        net.forward(x)
        gradients, bias_gradients = net.backward(label)
        per_unit = torch.cat([gradients[0], bias_gradients[0][None], gradients[1].T])
        return float((per_unit - per_unit[:, :1]).abs().max())

    assert spread(weights) < 1e-15
    weights[0][0, 0] += 0.1
    assert spread(weights) > 1e-4


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_slopes_are_functions_of_the_output(activation: str) -> None:
    x = torch.linspace(-3, 3, 50, dtype=torch.float64, requires_grad=True)
    output = ACTIVATIONS[activation](x)
    (slope,) = torch.autograd.grad(output.sum(), x)
    torch.testing.assert_close(SLOPES[activation](output.detach()), slope, atol=1e-12, rtol=0)


def test_slope_of_the_sigmoid_at_its_output_is_another() -> None:
    """The common mistake: sigmoid'(a) where a is the output already."""
    a = torch.sigmoid(torch.tensor(1.0))
    assert SLOPES["sigmoid"](a).item() == pytest.approx(0.196612, abs=1e-6)
    assert SLOPES["sigmoid"](torch.sigmoid(a)).item() == pytest.approx(0.219, abs=1e-3)


def test_backward_takes_twice_the_work_of_forward() -> None:
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    x = torch.randn(16, 32, requires_grad=True)  # an input without gradient saves its product
    with FlopCounterMode(display=False) as forward:
        output = net(x)
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    assert backward.get_total_flops() / forward.get_total_flops() == 2.0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="activation is 'rely', but must be one of relu, sigmoid, tanh"):
        BackpropMLP([], [], activation="rely")
    with pytest.raises(ValueError, match="l2 is -1, but must be at least 0"):
        BackpropMLP([], [], l2=-1)
