"""Recurrent networks from scratch against torch's on the same weights, and against formulas."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from datamodules.interface.batches import SequenceBatch
from zoo.scratch.gated_rnn import GRULayer
from zoo.scratch.recurrent import RecurrentLayer, one_hot
from zoo.scratch.rnn import RNNLayer
from zoo.tasks import LanguageModel

V, H = 7, 5
SIZES = {"vocab_size": V, "hidden_size": H}


def two_way_rnn() -> LanguageModel:
    """The concise twin of the bidirectional network from scratch, which has no gates."""
    model = zoo.BiGRULM(**SIZES, mask_prob=0.3)
    model.net.rnn = nn.RNN(V, H, batch_first=True, bidirectional=True)
    return model


def torch_reset_gru() -> LanguageModel:
    return zoo.GRUScratch(**SIZES, reset_after=True)


PAIRS = {
    "M30-M31": (lambda: zoo.RNNScratch(**SIZES), lambda: zoo.RNNLM(**SIZES)),
    "M32-M33": (lambda: zoo.LSTMScratch(**SIZES), lambda: zoo.LSTMLM(**SIZES)),
    "M34-M35": (torch_reset_gru, lambda: zoo.GRULM(**SIZES)),
    "M36": (
        lambda: zoo.StackedRNNScratch(**SIZES, num_layers=3),
        lambda: zoo.RNNLM(**SIZES, num_layers=3),
    ),
    "M38": (lambda: zoo.BiRNNScratch(**SIZES, mask_prob=0.3), two_way_rnn),
}


def pair(name: str) -> tuple[Any, Any]:
    """A model from scratch, and its twin with the same weights, which are drawn large."""
    scratch, twin = (make() for make in PAIRS[name])
    for parameter in twin.parameters():
        nn.init.normal_(parameter, std=0.7)
    if isinstance(scratch, zoo.GRUScratch):
        with torch.no_grad():
            twin.net.rnn.bias_hh_l0[2 * H :] = 0
    scratch.net.copy_weights(twin.net.rnn, twin.net.head)
    return scratch.eval(), twin.eval()


def gradients(layer: RecurrentLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Of the weights of inputs, of the state, and of the biases, in torch's layout."""
    if isinstance(layer, RNNLayer):
        return layer.W_xh.grad.T, layer.W_hh.grad.T, layer.b_h.grad
    weights = [torch.cat([part[gate].grad.T for gate in layer.gates]) for part in (layer.W_x, layer.W_h)]
    return weights[0], weights[1], torch.cat([layer.b[gate].grad for gate in layer.gates])


@pytest.mark.parametrize("name", PAIRS)
def test_scratch_equals_concise_in_outputs_loss_and_gradients(name: str) -> None:
    scratch, twin = pair(name)
    batch = twin.example_batch(3)
    tokens = batch.tokens[:, :9]
    batch = SequenceBatch(tokens, batch.label[:, :9], batch.continues)
    torch.testing.assert_close(scratch(tokens), twin(tokens), atol=1e-5, rtol=0)
    loss, sums, examples = scratch.measure(batch)
    twin_loss, twin_sums, twin_examples = twin.measure(batch)
    torch.testing.assert_close(loss, twin_loss, atol=1e-5, rtol=0)
    assert (sums, examples) == (twin_sums, twin_examples)
    loss.backward()
    twin_loss.backward()
    net, rnn = scratch.net, twin.net.rnn
    layers = {f"l{i}": layer for i, layer in enumerate(net.rnns)} if hasattr(net, "rnns") else {}
    for suffix, layer in layers.items() or {"l0": net.f_rnn, "l0_reverse": net.b_rnn}.items():
        found = gradients(layer)
        expected = [getattr(rnn, f"{part}_{suffix}").grad for part in ("weight_ih", "weight_hh", "bias_ih")]
        torch.testing.assert_close(found, tuple(expected), atol=1e-5, rtol=0)
        assert all(part.abs().max() > 1e-4 for part in found)
    torch.testing.assert_close(net.W_hq.grad.T, twin.net.head.weight.grad, atol=1e-5, rtol=0)
    torch.testing.assert_close(net.b_q.grad, twin.net.head.bias.grad, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["M30-M31", "M32-M33", "M34-M35", "M36"])
def test_scratch_state_goes_on_for_several_sequences(name: str) -> None:
    """The book's stacked network (10.3.1) can take its state for a single sequence only."""
    scratch, _ = pair(name)
    tokens = scratch.example_batch(3).tokens[:, :8]
    whole = scratch.net(tokens)
    first, state = scratch.net.run(tokens[:, :5], None)
    second, _ = scratch.net.run(tokens[:, 5:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-6, rtol=1e-6)
    logits, _ = scratch.net.advance(tokens[:, 5:], state)
    torch.testing.assert_close(logits, whole[:, -1], atol=1e-6, rtol=1e-6)


def test_the_two_forms_of_the_gru_differ_by_where_they_reset() -> None:
    torch.manual_seed(1)
    before, after = (GRULayer(3, H, reset_after=flag) for flag in (False, True))
    for parameter in before.parameters():
        nn.init.normal_(parameter)
    after.load_state_dict(before.state_dict())
    x, hidden = torch.randn(2, 3), torch.randn(2, H)
    r, z, n_x = (x @ before.W_x[gate] + before.b[gate] for gate in "rzn")
    r, z = torch.sigmoid(r + hidden @ before.W_h["r"]), torch.sigmoid(z + hidden @ before.W_h["z"])
    candidate = torch.tanh(n_x + (r * hidden) @ before.W_h["n"])
    expected = z * hidden + (1 - z) * candidate
    torch.testing.assert_close(before.step(x, hidden)[0], expected, atol=1e-6, rtol=1e-6)
    assert (before.step(x, hidden)[0] - after.step(x, hidden)[0]).abs().max() > 0.1
    zeros = torch.zeros(2, H)
    torch.testing.assert_close(before.step(x, zeros), after.step(x, None))


def test_copying_a_gru_whose_bias_would_be_reset_is_refused() -> None:
    twin = zoo.GRULM(**SIZES)
    with pytest.raises(ValueError, match=r"^the last third of bias_hh_l0 is not zero"):
        torch_reset_gru().net.copy_weights(twin.net.rnn, twin.net.head)


@pytest.mark.parametrize(
    "name", ["RNNScratch", "LSTMScratch", "GRUScratch", "StackedRNNScratch", "BiRNNScratch"]
)
def test_weights_are_drawn_with_a_deviation_of_a_hundredth_and_biases_are_zero(name: str) -> None:
    model = zoo.create(name, vocab_size=40, hidden_size=100)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(0.01, rel=0.1)
            assert abs(parameter.mean().item()) < 0.001
        else:
            assert not parameter.any()


def test_one_hot_has_a_one_at_the_token() -> None:
    found = one_hot(torch.tensor([[2, 0]]), 3)
    assert found.tolist() == [[[0, 0, 1], [1, 0, 0]]]


def test_exact_formulas_of_backpropagation_through_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 9.7.2: dL/dh_t = sum over i from t to T of (W_hh^T)^(i-t) W_qh^T dL/do_i, without tanh."""
    monkeypatch.setattr(torch, "tanh", lambda x: x)
    steps, d, q = 5, 3, 2
    layer = RNNLayer(d, H).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.7)
    nn.init.zeros_(layer.b_h)
    x, target = torch.randn(1, steps, d).double(), torch.randn(steps, q).double()
    w_qh = torch.randn(q, H).double()
    hidden, _ = layer(x)
    output = hidden[0] @ w_qh.T
    ((output - target).square().sum() / 2 / steps).backward()
    d_output = ((output - target) / steps).detach()
    w_hh = layer.W_hh.detach().T  # the book's formulas have columns for examples
    d_hidden = [
        sum(torch.linalg.matrix_power(w_hh.T, i - t) @ w_qh.T @ d_output[i] for i in range(t, steps))
        for t in range(steps)
    ]
    before = [torch.zeros(H).double(), *hidden[0, :-1].detach()]
    d_hx = sum(torch.outer(d_hidden[t], x[0, t]) for t in range(steps))
    d_hh = sum(torch.outer(d_hidden[t], before[t]) for t in range(steps))
    torch.testing.assert_close(layer.W_xh.grad.T, d_hx, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(layer.W_hh.grad.T, d_hh, atol=1e-12, rtol=1e-10)
