"""A class or numbers for a sequence: the last output of torch's networks, and a linear layer."""

import pytest
import torch
from torch import nn

import zoo

NETWORKS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("cell", NETWORKS)
def test_output_is_a_linear_layer_on_the_last_layers_last_state(cell: str) -> None:
    model = zoo.SequenceClassifier(in_features=3, num_classes=4, cell=cell, hidden_size=5, num_layers=2)
    reference = NETWORKS[cell](3, 5, 2)
    reference.load_state_dict(model.net.rnn.state_dict())
    x = torch.randn(6, 7, 3)
    _, state = reference(x.transpose(0, 1))
    hidden = state[0] if cell == "lstm" else state
    expected = nn.functional.linear(hidden[-1], model.net.head.weight, model.net.head.bias)
    torch.testing.assert_close(model(x), expected, atol=1e-6, rtol=1e-6)


def test_regression_has_the_same_network() -> None:
    classifier = zoo.SequenceClassifier(in_features=3, num_classes=2, hidden_size=5)
    regressor = zoo.SequenceRegressor(in_features=3, out_features=2, hidden_size=5)
    regressor.load_state_dict(classifier.state_dict())
    x = torch.randn(6, 7, 3)
    assert torch.equal(regressor(x), classifier(x))


def test_every_step_counts_and_so_does_their_order() -> None:
    model = zoo.SequenceRegressor(in_features=2, hidden_size=5)
    x = torch.randn(1, 6, 2)
    for step in range(6):
        changed = x.clone()
        changed[:, step] += 1
        assert not torch.allclose(model(changed), model(x), atol=1e-7, rtol=0)
    assert not torch.allclose(model(x.flip(1)), model(x))


def test_sequences_of_any_length_are_taken() -> None:
    model = zoo.SequenceRegressor(in_features=2, hidden_size=5)
    assert model(torch.randn(3, 1, 2)).shape == model(torch.randn(3, 50, 2)).shape == (3, 1)


def test_dropout_is_of_use_with_one_layer_too() -> None:
    model = zoo.SequenceClassifier(in_features=2, num_classes=3, dropout=0.5)
    x = torch.randn(3, 4, 2)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_other_cells_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^cell is 'elman', but must be one of rnn, lstm, gru$"):
        zoo.SequenceRegressor(in_features=2, cell="elman")
