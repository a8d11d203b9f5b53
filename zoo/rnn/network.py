"""Recurrent networks that read tokens and say which comes next (sections 9.4, 9.6, 10.1 to 10.3)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from zoo._checks import check_choice, check_fraction, check_positive

__all__ = ["CELLS", "Cell", "OneHot", "RecurrentNetwork", "State", "make_rnn"]

State = tuple[Tensor, ...]
"""The hidden state of all layers (num_layers, batch, hidden_size), and an LSTM's memory cells beside it."""


def _rnn_step(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return (torch.rnn_tanh_cell(x, *state, *weights),)


def _lstm_step(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return torch.lstm_cell(x, state, *weights)


def _gru_step(x: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return (torch.gru_cell(x, *state, *weights),)


class Cell(NamedTuple):
    """A kind of recurrent network.

    Attributes:
        module: Torch's network.
        function: The same as a function of inputs, state, weights and settings.
        step: One step of one of its layers with the same weights.
    """

    module: Callable[..., nn.RNNBase]
    function: Callable[..., tuple[Tensor, ...]]
    step: Callable[[Tensor, State, Sequence[Tensor]], State]


CELLS = {
    "rnn": Cell(nn.RNN, torch.rnn_tanh, _rnn_step),
    "lstm": Cell(nn.LSTM, torch.lstm, _lstm_step),
    "gru": Cell(nn.GRU, torch.gru, _gru_step),
}
"""The kinds by name."""


def make_rnn(
    cell: str,
    in_features: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    dropout: float = 0.0,
    bidirectional: bool = False,
) -> nn.RNNBase:
    """Torch's network of this kind, on sequences (batch, num_steps, in_features).

    Args:
        cell: ``rnn`` (tanh), ``lstm`` or ``gru``.
        in_features: Numbers for each step.
        hidden_size: Hidden units of each layer.
        num_layers: Layers.
        dropout: Drop probability between layers, in [0, 1).
        bidirectional: Whether each layer reads backwards too.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_choice("cell", cell, CELLS)
    for name, value in (("in_features", in_features), ("hidden_size", hidden_size)):
        check_positive(name, value)
    check_positive("num_layers", num_layers)
    check_fraction("dropout", dropout)
    between = dropout if num_layers > 1 else 0.0  # there is no between in one layer, of which torch warns
    return CELLS[cell].module(
        in_features,
        hidden_size,
        num_layers,
        batch_first=True,
        dropout=between,
        bidirectional=bidirectional,
    )


class OneHot(nn.Module):
    """Ids as vectors with a single one (section 9.5.2.1).

    Args:
        vocab_size: Number of ids.
    """

    zero: Tensor

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        check_positive("vocab_size", vocab_size)
        self.vocab_size = vocab_size
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # knows the network's number format

    def forward(self, tokens: Int[Tensor, "batch num_steps"]) -> Float[Tensor, "batch num_steps vocab_size"]:
        """The vectors; ``F.one_hot`` makes integers, which takes six times as long."""
        zeros = self.zero.new_zeros(*tokens.shape, self.vocab_size)
        return zeros.scatter_(2, tokens.unsqueeze(2), 1.0)


class RecurrentNetwork(nn.Module):
    """One-hot vectors or embeddings, recurrent layers, and a linear layer with a logit for each token.

    Args:
        cell: ``rnn`` (tanh), ``lstm`` or ``gru``.
        vocab_size: Number of tokens.
        hidden_size: Hidden units of each layer (the book's ``num_hiddens``).
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer, the last one's included
            (Zaremba et al., 2014), so that it is of use with one layer too.
        embed_dim: Numbers in the embedding of a token; None for one-hot vectors.
        embed_dropout: Drop probability in [0, 1) of the numbers of an embedding; of tokens, if they are
            one-hot vectors.
        tie_embeddings: Whether the embeddings are the weights of the linear layer too (Press and Wolf, 2017);
            ``embed_dim`` must then be ``hidden_size``.
        weight_dropout: Drop probability in [0, 1) of the weights from a layer's state to its next one, drawn
            for each batch and the same at all its steps (Merity et al., 2018).
        randomized_truncation: Probability in (0, 1] that, in training, the gradient flows from a step to the
            one before it, see :meth:`forward`; None for the whole gradient.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        cell: str,
        vocab_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        embed_dim: int | None = None,
        embed_dropout: float = 0.0,
        tie_embeddings: bool = False,
        weight_dropout: float = 0.0,
        randomized_truncation: float | None = None,
    ) -> None:
        super().__init__()
        check_positive("vocab_size", vocab_size)
        if embed_dim is not None:
            check_positive("embed_dim", embed_dim)
        if tie_embeddings and embed_dim != hidden_size:
            raise ValueError(
                f"embed_dim is {embed_dim!r}, but must be {hidden_size}, the hidden_size, for tie_embeddings"
            )
        if randomized_truncation is not None and not 0 < randomized_truncation <= 1:
            raise ValueError(f"randomized_truncation is {randomized_truncation!r}, but must be in (0, 1]")
        check_fraction("embed_dropout", embed_dropout)
        check_fraction("weight_dropout", weight_dropout)
        self.weight_dropout = weight_dropout
        self.randomized_truncation = randomized_truncation
        self.embedding = OneHot(vocab_size) if embed_dim is None else nn.Embedding(vocab_size, embed_dim)
        self.embed_dropout = nn.Dropout(embed_dropout)
        self.rnn = make_rnn(
            cell, embed_dim or vocab_size, hidden_size, num_layers=num_layers, dropout=dropout
        )
        self._cell = CELLS[cell]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size)
        if tie_embeddings:
            assert isinstance(self.embedding, nn.Embedding)
            self.embedding.weight = self.head.weight  # drawn as the head's: the logits are small at first

    def forward(self, tokens: Int[Tensor, "batch num_steps"]) -> Float[Tensor, "batch num_steps vocab_size"]:
        """The logits of the token after each token, from a state of zeros.

        With randomized truncation (section 9.7.1.3; Tallec and Ollivier, 2017) the gradient from a step to
        the one before it is cut with probability 1 - p, and is divided by p where it is not, for each step of
        each sequence on its own. The gradient's mean is then the whole gradient, and the logits are as ever.
        """
        if self.training and (self.randomized_truncation is not None or self.weight_dropout > 0):
            return self.run(tokens, None)[0]
        return self.head(self.dropout(self.rnn(self._embed(tokens))[0]))  # type: ignore[no-any-return]  # modules' calls

    def run(
        self, tokens: Int[Tensor, "batch num_steps"], state: State | None
    ) -> tuple[Float[Tensor, "batch num_steps vocab_size"], State]:
        """The logits, and the state after the last token, from a state (None: zeros)."""
        output, state = self._recur(self._embed(tokens), state)
        return self.head(self.dropout(output)), state

    def advance(
        self, tokens: Int[Tensor, "batch num_steps"], state: State | None
    ) -> tuple[Float[Tensor, "batch vocab_size"], State]:
        """The logits of the token after these, and the state, from a state (None: zeros).

        In evaluation a single token goes through the cells, which takes half the time of torch's sequences.
        """
        if self.training or tokens.shape[1] > 1 or state is None:
            output, state = self._recur(self._embed(tokens), state)
            return self.head(self.dropout(output[:, -1])), state
        last, state = self._step_all(self.embedding(tokens)[:, 0], state, self._weights())
        return self.head(last), state

    def _embed(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embed_dropout(self.embedding(tokens))
        return x

    def _recur(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The last layer's outputs (batch, num_steps, hidden_size) and the state."""
        if self.training and self.randomized_truncation is not None:
            return self._recur_truncated(x, state, self.randomized_truncation)
        if self.training and self.weight_dropout > 0:
            return self._recur_dropping_weights(x, state)
        if isinstance(self.rnn, nn.LSTM):
            return self.rnn(x, state)  # type: ignore[no-any-return]  # a module's call
        output, hidden = self.rnn(x, None if state is None else state[0])
        return output, (hidden,)

    def _recur_dropping_weights(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The same with some weights left out."""
        rnn = self.rnn
        before = self._zeros(x) if state is None else state
        output, *after = self._cell.function(
            x,
            before if isinstance(rnn, nn.LSTM) else before[0],
            self._weights(),
            True,  # with biases
            rnn.num_layers,
            rnn.dropout,
            True,  # training
            False,  # one direction
            True,  # examples first
        )
        return output, tuple(after)

    def _zeros(self, x: Tensor) -> State:
        zeros = x.new_zeros(self.rnn.num_layers, len(x), self.rnn.hidden_size)
        return (zeros,) * (2 if isinstance(self.rnn, nn.LSTM) else 1)

    def _weights(self) -> list[Tensor]:
        """Four of each layer: from its input, from its state, and their biases; some dropped in training."""
        flat: Any = self.rnn._flat_weights  # what forward uses; all_weights looks for each by its name
        if not self.training or self.weight_dropout == 0:
            return flat  # type: ignore[no-any-return]  # torch does not declare it
        return [F.dropout(w, self.weight_dropout) if i % 4 == 1 else w for i, w in enumerate(flat)]

    def _recur_truncated(self, x: Tensor, state: State | None, p: float) -> tuple[Tensor, State]:
        """The same step by step, with the gradient between steps cut at random."""
        batch, steps, _ = x.shape
        state = self._zeros(x) if state is None else state
        weights = self._weights()
        flows = (torch.rand(steps, batch, 1, device=x.device) < p).to(x.dtype) / p
        outputs = []
        for x_t, flow in zip(x.unbind(1), flows, strict=True):
            # Values stay as they are: the difference is 0.
            state = tuple(part.detach() + flow * (part - part.detach()) for part in state)
            last, state = self._step_all(x_t, state, weights)
            outputs.append(last)
        return torch.stack(outputs, dim=1), state

    def _step_all(self, x: Tensor, state: State, weights: Sequence[Tensor]) -> tuple[Tensor, State]:
        """One step of all layers: the last one's output (batch, hidden_size) and the state."""
        after = []
        for i in range(self.rnn.num_layers):
            if i > 0 and self.training:
                x = F.dropout(x, self.dropout.p)
            after.append(self._cell.step(x, tuple([part[i] for part in state]), weights[4 * i : 4 * i + 4]))
            x = after[-1][0]
        if len(after) == 1:
            return x, tuple([part.unsqueeze(0) for part in after[0]])
        return x, tuple([torch.stack(parts) for parts in zip(*after, strict=True)])
