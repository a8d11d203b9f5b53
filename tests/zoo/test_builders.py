"""The builders' guide modules: counts, tied and fixed parameters, gradients, independence of the batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from tests.zoo.models import count
from zoo.builders import CenteredLayer, FixedHiddenNetwork, MyLinear


def test_parameter_counts_are_the_books() -> None:
    assert count(zoo.MLP(in_channels=20, image_size=1, hidden_sizes=[256])) == 20 * 256 + 256 + 256 * 10 + 10
    assert count(zoo.FixedHiddenMLP()) == 20 * 20 + 20
    assert sum(b.numel() for b in zoo.FixedHiddenMLP().buffers()) == 400
    assert count(zoo.NestMLP()) == 3952
    assert count(zoo.ChimeraMLP()) == 3952 + (16 * 20 + 20) + 420 == 4712
    assert count(zoo.SharedMLP()) == (4 * 8 + 8) + (8 * 8 + 8) + (8 + 1) == 121
    assert count(zoo.SharedMLP(shared_uses=0)) == (4 * 8 + 8) + (8 + 1) == 49
    assert count(zoo.MyLinearMLP()) == (64 * 8 + 8) + (8 + 1) == 529


def book_fixed_hidden(net: FixedHiddenNetwork, x: Tensor) -> Tensor:
    """The book's forward, loop and all, on one example."""
    x = net.linear(x)
    x = F.relu(x @ net.fixed_weight + 1)
    x = net.linear(x)
    while x.abs().sum() > 1:
        x = x / 2
    return x.sum()


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e4])
def test_fixed_hidden_equals_the_books_on_one_example(scale: float) -> None:
    net = FixedHiddenNetwork(20)
    x = scale * torch.randn(8, 20)
    expected = torch.stack([book_fixed_hidden(net, row[None]) for row in x])
    torch.testing.assert_close(net(x)[:, 0], expected, atol=1e-6, rtol=1e-6)
    gradient = torch.autograd.grad(net(x).sum(), net.linear.weight)[0]
    expected_gradient = torch.autograd.grad(expected.sum(), net.linear.weight)[0]
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("norm", "halved"), [(0.75, 0.75), (1.0, 1.0), (1.5, 0.75), (2.0, 1.0), (2.5, 0.625), (8.0, 1.0)]
)
def test_halving_stops_at_one(norm: float, halved: float) -> None:
    net = FixedHiddenNetwork(2)
    with torch.no_grad():
        net.linear.weight.zero_()
        net.linear.bias.copy_(torch.tensor([norm / 2, norm / 2]))
    assert net(torch.zeros(1, 2)).item() == halved


def test_fixed_hidden_examples_do_not_mix() -> None:
    """The book halves by the norm of the whole batch: there the first row would depend on the second."""
    net = FixedHiddenNetwork(20)
    x = torch.randn(2, 20)
    other = torch.cat([x[:1], 1000 * x[1:]])
    torch.testing.assert_close(net(x)[0], net(other)[0], atol=0, rtol=0)


def test_fixed_weight_is_saved_and_not_trained() -> None:
    model = zoo.FixedHiddenMLP()
    before = model.net.fixed_weight.clone()
    optimizer = model.configure_optimizers()
    model.measure(model.example_batch(4))[0].backward()
    optimizer.step()
    torch.testing.assert_close(model.net.fixed_weight, before, atol=0, rtol=0)
    assert "net.fixed_weight" in model.state_dict()
    assert before.min() >= 0
    assert before.max() <= 1


def test_shared_layer_is_one_tensor_with_the_sum_of_gradients() -> None:
    model = zoo.SharedMLP()
    assert sorted(model.state_dict()) == [
        f"net.{layer}.{kind}" for layer in ("first", "last", "shared") for kind in ("bias", "weight")
    ]
    net = model.net
    x = torch.rand(5, 4)
    with torch.no_grad():  # so that no unit is dead
        for parameter in model.parameters():
            parameter.abs_()
    # The same network with a copy of the layer for each use.
    uses = [nn.Linear(8, 8), nn.Linear(8, 8)]
    for use in uses:
        use.load_state_dict(net.shared.state_dict())
    hidden = F.relu(net.first(x))
    for use in uses:
        hidden = F.relu(use(hidden))
    expected = net.last(hidden)
    torch.testing.assert_close(net(x), expected)
    expected.sum().backward()
    gradients = [use.weight.grad for use in uses]
    net(x).sum().backward()
    torch.testing.assert_close(net.shared.weight.grad, gradients[0] + gradients[1])
    assert all(gradient.abs().min() > 0 for gradient in gradients)


def test_shared_layer_stays_tied_after_a_step_and_a_load() -> None:
    model = zoo.SharedMLP()
    again = zoo.SharedMLP()
    again.load_state_dict(model.state_dict())
    x = torch.rand(3, 4)
    torch.testing.assert_close(again(x), model(x))
    with torch.no_grad():
        again.net.shared.weight.add_(0.5)
        by_hand = F.relu(again.net.shared(F.relu(again.net.shared(F.relu(again.net.first(x))))))
    torch.testing.assert_close(again(x), again.net.last(by_hand))


def test_q27_my_linear_has_a_gradient() -> None:
    layer = MyLinear(5, 3)
    layer(torch.rand(4, 5)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_my_linear_is_a_linear_layer_with_relu() -> None:
    layer = MyLinear(5, 3)
    x = torch.randn(4, 5)
    torch.testing.assert_close(layer(x), F.relu(F.linear(x, layer.weight.T, layer.bias)))
    assert (layer(x) == 0).any()
    assert (MyLinear(5, 3, relu=False)(torch.randn(50, 5)) < 0).any()


def test_centered_layer_centres_each_example() -> None:
    layer = CenteredLayer()
    x = torch.randn(3, 7) + 10
    torch.testing.assert_close(layer(x).mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    assert count(layer) == 0
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))


@pytest.mark.parametrize("name", ["FixedHiddenMLP", "NestMLP", "ChimeraMLP", "SharedMLP", "MyLinearMLP"])
def test_zero_width_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="in_features is 0, but must be positive"):
        zoo.create(name, in_features=0)


def test_negative_number_of_uses_is_refused() -> None:
    with pytest.raises(ValueError, match="shared_uses is -1, but must be at least 0"):
        zoo.SharedMLP(shared_uses=-1)
