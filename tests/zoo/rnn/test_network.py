"""The recurrent network: its one step against torch's whole sequences, its state, truncation of gradients."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.rnn.network import OneHot, RecurrentNetwork

CELLS = ["rnn", "lstm", "gru"]
V = 7


def network(cell: str, **arguments: Any) -> RecurrentNetwork:
    return RecurrentNetwork(cell, V, 5, **{"num_layers": 2, **arguments})


def tokens(batch: int, steps: int) -> Tensor:
    return torch.randint(V, (batch, steps))


def test_one_hot_equals_torchs() -> None:
    ids = tokens(3, 4)
    layer = OneHot(V)
    assert torch.equal(layer(ids), F.one_hot(ids, V).float())
    assert layer.to(torch.bfloat16)(ids).dtype == torch.bfloat16
    assert not layer.state_dict()


@pytest.mark.parametrize("cell", CELLS)
def test_network_is_torchs_with_a_linear_layer_on_it(cell: str) -> None:
    net = network(cell)
    reference = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](V, 5, 2)
    reference.load_state_dict(net.rnn.state_dict())
    ids = tokens(3, 6)
    output, _ = reference(F.one_hot(ids.T, V).float())
    expected = output.transpose(0, 1) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(ids), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("embed_dim", [None, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_token_by_token_equals_the_whole_sequence(cell: str, embed_dim: int | None) -> None:
    net = network(cell, embed_dim=embed_dim).eval()
    ids = tokens(3, 6)
    expected, last = net.run(ids, None)
    logits, state = net.advance(ids[:, :2], None)
    found = [logits]
    for t in range(2, 6):
        logits, state = net.advance(ids[:, t : t + 1], state)
        found.append(logits)
    torch.testing.assert_close(torch.stack(found, 1), expected[:, 1:], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(state, tuple(last), atol=1e-6, rtol=1e-6)
    logits, _ = net.advance(ids[:, 4:], net.run(ids[:, :4], None)[1])
    torch.testing.assert_close(logits, expected[:, -1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_single_token_goes_through_the_cells(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(cell).eval()
    _, state = net.advance(tokens(1, 3), None)

    def refuse(*_: Any) -> None:
        raise AssertionError("slow path")

    monkeypatch.setattr(net.rnn, "forward", refuse)
    net.advance(tokens(1, 1), state)


@pytest.mark.parametrize("cell", CELLS)
def test_later_tokens_never_change_earlier_logits(cell: str) -> None:
    net = network(cell, embed_dim=3)
    ids = tokens(2, 8)
    other = ids.clone()
    other[:, 5:] = (other[:, 5:] + 1) % V
    assert torch.equal(net(ids)[:, :5], net(other)[:, :5])
    assert not torch.isclose(net(ids)[:, 5:], net(other)[:, 5:]).all(dim=2).any()


@pytest.mark.parametrize("cell", CELLS)
def test_earlier_tokens_change_later_logits(cell: str) -> None:
    net = network(cell)
    ids = tokens(1, 8)
    other = ids.clone()
    other[0, 0] = (other[0, 0] + 1) % V
    assert (net(ids) != net(other)).any(dim=2).all()


def test_tied_embeddings_are_one_parameter_after_loading_too() -> None:
    net = RecurrentNetwork("gru", V, 5, embed_dim=5, tie_embeddings=True)
    assert len(list(net.parameters())) == 1 + 4 + 1
    again = RecurrentNetwork("gru", V, 5, embed_dim=5, tie_embeddings=True)
    again.load_state_dict(net.state_dict())
    assert again.embedding.weight is again.head.weight
    ids = tokens(2, 3)
    assert torch.equal(again(ids), net(ids))
    net(ids).square().sum().backward()
    used = net.head.weight.grad
    # The embedding's part of the gradient is in it: tokens that are not read have none of that.
    loose = RecurrentNetwork("gru", V, 5, embed_dim=5)
    loose.load_state_dict(net.state_dict())
    loose(ids).square().sum().backward()
    torch.testing.assert_close(used, loose.head.weight.grad + loose.embedding.weight.grad)


@pytest.mark.parametrize(("embed_dim", "given"), [(None, "None"), (4, "4")])
def test_tied_embeddings_of_another_width_are_refused(embed_dim: int | None, given: str) -> None:
    with pytest.raises(ValueError, match=f"^embed_dim is {given}, but must be 5, the hidden_size"):
        RecurrentNetwork("rnn", V, 5, embed_dim=embed_dim, tie_embeddings=True)


def test_other_cells_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^cell is 'gur', but must be one of rnn, lstm, gru; did you mean"):
        network("gur")


@pytest.mark.parametrize("p", [0, 1.5, -0.1])
def test_truncation_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"^randomized_truncation is .*, but must be in \(0, 1\]"):
        network("rnn", randomized_truncation=p)


def test_dropout_is_on_each_layer_in_training_and_nowhere_in_evaluation() -> None:
    ids = tokens(2, 4)
    for layers in (1, 2):
        net = network("gru", num_layers=layers, dropout=0.5)
        assert not torch.equal(net(ids), net(ids))
        net.eval()
        assert torch.equal(net(ids), net(ids))
    assert net.rnn.dropout == 0.5


@pytest.mark.parametrize("truncation", [None, 0.5])
@pytest.mark.parametrize("cell", CELLS)
def test_what_the_head_sees_is_dropped_in_training_alone(cell: str, truncation: float | None) -> None:
    net = network(cell, num_layers=1, dropout=0.25, randomized_truncation=truncation)
    seen: list[Tensor] = []
    net.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    ids = tokens(100, 3)

    def read() -> None:
        net(ids), net.run(ids, None), net.advance(ids, None)

    read()
    net.eval()
    read()
    for dropped, whole in zip(seen[:3], seen[3:], strict=True):
        kept = dropped != 0
        torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)
        assert kept.float().mean().item() == pytest.approx(0.75, abs=0.1)
        assert (whole != 0).all()


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_what_the_second_layer_sees_is_dropped_in_training_alone(truncation: float | None) -> None:
    net = network("rnn", dropout=0.25, randomized_truncation=truncation).double()
    ids = tokens(200, 1)
    weight, bias = net.rnn.weight_ih_l1, net.rnn.bias_ih_l1 + net.rnn.bias_hh_l1
    for training in (True, False):
        (hidden,) = net.train(training).run(ids, None)[1]
        # From zeros the second layer's state is tanh(weight @ seen + bias).
        seen = torch.linalg.solve(weight, (hidden[1].atanh() - bias).T).T
        expected = hidden[0] / 0.75 if training else hidden[0]
        dropped = seen.abs() < 1e-8
        torch.testing.assert_close(seen, expected.masked_fill(dropped, 0), atol=1e-8, rtol=1e-6)
        share = dropped.double().mean().item()
        assert share == (pytest.approx(0.25, abs=0.08) if training else 0)


@pytest.mark.parametrize("embed_dim", [None, 400])
def test_embeddings_are_dropped_in_training_alone(embed_dim: int | None) -> None:
    net = network("lstm", embed_dim=embed_dim, embed_dropout=0.25)
    seen: list[Tensor] = []
    net.rnn.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    ids = tokens(20, 30)
    net(ids), net.run(ids, None), net.advance(ids, None)
    embedded = net.embedding(ids)
    for x in seen:
        kept = x != 0
        torch.testing.assert_close(x[kept], embedded[kept] / 0.75)
        assert kept.sum() / (embedded != 0).sum() == pytest.approx(0.75, abs=0.1)
    net.eval()
    net(ids), net.run(ids, None), net.advance(ids, None)
    assert len(seen) == 6
    assert all(torch.equal(x, embedded) for x in seen[3:])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("truncation", [None, 1.0])
def test_weights_between_steps_are_dropped_in_training_alone(cell: str, truncation: float | None) -> None:
    ids = tokens(3, 5)
    net = network(cell, num_layers=2, weight_dropout=0.25, randomized_truncation=truncation)
    plain = network(cell, num_layers=2)
    kept_shares = []
    for seed in range(20):
        torch.manual_seed(seed)
        output = net(ids) if seed % 2 else net.run(ids, None)[0]
        torch.manual_seed(seed)
        plain.load_state_dict(net.state_dict())
        for name, weight in plain.rnn.named_parameters():
            if name.startswith("weight_hh"):
                dropped = torch.nn.functional.dropout(weight, 0.25)
                kept_shares.append((dropped != 0).float().mean())
                weight.data = dropped
        if truncation is None:
            torch.testing.assert_close(output, plain(ids))
        else:  # what is truncated is drawn too
            assert not torch.allclose(output, net.eval()(ids))
            net.train()
    assert sum(kept_shares) / len(kept_shares) == pytest.approx(0.75, abs=0.05)
    net.eval(), plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(ids), plain.eval()(ids))
    torch.testing.assert_close(net.advance(ids, None)[0], plain.advance(ids, None)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_dropping_weights_goes_on_from_a_state_and_has_gradients(cell: str) -> None:
    ids = tokens(3, 6)
    net = network(cell, num_layers=2, weight_dropout=0.5)
    torch.manual_seed(0)
    _, state = net.run(ids[:, :3], None)
    torch.manual_seed(0)
    second, _ = net.run(ids[:, 3:], state)
    torch.manual_seed(0)
    whole, _ = net.run(ids, None)
    torch.testing.assert_close(second, whole[:, 3:])
    whole.sum().backward()
    gradient = net.rnn.weight_hh_l0.grad
    assert 0 < (gradient == 0).float().mean() < 1  # a weight that was left out has none


# Randomised truncation


def gradients(net: RecurrentNetwork, ids: Tensor, loss_weights: Tensor) -> list[Tensor]:
    net.zero_grad()
    (net(ids) * loss_weights).sum().backward()
    return [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("cell", CELLS)
def test_randomized_truncation_is_unbiased(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over all patterns, each weighed with its probability, is the whole gradient."""
    p, steps = 0.3, 4
    net = network(cell, randomized_truncation=p).double().train()
    ids, loss_weights = tokens(1, steps), torch.randn(1, steps, V, dtype=torch.float64)
    net.eval()
    whole, values = gradients(net, ids, loss_weights), net(ids)
    net.train()
    mean = [torch.zeros_like(part) for part in whole]
    seen = []
    for pattern in itertools.product([True, False], repeat=steps):
        drawn = torch.tensor([0.0 if flows else 0.9 for flows in pattern]).reshape(steps, 1, 1)
        monkeypatch.setattr(torch, "rand", lambda *_, drawn=drawn, **__: drawn)
        torch.testing.assert_close(net(ids), values, atol=1e-12, rtol=0)
        parts = gradients(net, ids, loss_weights)
        seen.append(parts)
        probability = p ** sum(pattern) * (1 - p) ** (steps - sum(pattern))
        for total, part in zip(mean, parts, strict=True):
            total += probability * part
    torch.testing.assert_close(mean, whole, atol=1e-12, rtol=1e-10)
    assert not torch.allclose(seen[0][0], seen[-1][0])


@pytest.mark.parametrize("cell", CELLS)
def test_truncation_with_probability_one_is_the_whole_gradient(cell: str) -> None:
    net = network(cell, randomized_truncation=1.0).double()
    ids, loss_weights = tokens(3, 5), torch.randn(3, 5, V, dtype=torch.float64)
    cut = gradients(net, ids, loss_weights)
    net.randomized_truncation = None
    torch.testing.assert_close(cut, gradients(net, ids, loss_weights), atol=1e-12, rtol=1e-10)


def test_truncation_is_drawn_for_each_sequence_and_only_in_training() -> None:
    net = network("rnn", randomized_truncation=0.5)
    ids, loss_weights = tokens(1, 6).expand(64, 6), torch.randn(1, 6, V).expand(64, 6, V)
    embedded = net.embedding(ids).requires_grad_()

    def input_gradients() -> Tensor:
        output, _ = net._recur(embedded, None)
        return torch.autograd.grad((net.head(output) * loss_weights).sum(), embedded)[0]

    # Of what flows back to the first step there is a share of about half, twice as large.
    assert len(input_gradients()[:, 0].unique(dim=0)) > 4
    net.eval()
    assert torch.allclose(input_gradients()[0], input_gradients()[1], atol=1e-6)
