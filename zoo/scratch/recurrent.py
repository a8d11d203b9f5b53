"""What the recurrent language models from scratch share (section 9.5)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zoo._checks import check_positive
from zoo.scratch.functions import cross_entropy
from zoo.tasks import LanguageModel, LRSchedulerCallable, OptimizerCallable

__all__ = ["RecurrentLayer", "ScratchLM", "ScratchLMNetwork", "State", "drawn", "one_hot"]

State = Any
"""H, or (H, C) of an LSTM: tensors (batch, hidden_size)."""


def drawn(*shape: int) -> nn.Parameter:
    """A parameter from N(0, 0.01^2), as are all weights of the book's recurrent networks from scratch."""
    return nn.Parameter(0.01 * torch.randn(*shape))


def one_hot(
    tokens: Int[Tensor, "batch num_steps"], vocab_size: int
) -> Int[Tensor, "batch num_steps vocab_size"]:
    """Ids as vectors with a single one, int64 (section 9.5.2.1)."""
    return (tokens[:, :, None] == torch.arange(vocab_size, device=tokens.device)).long()


class RecurrentLayer(nn.Module, ABC):
    """A recurrent layer from scratch.

    Args:
        in_features: Numbers for each step d.
        hidden_size: Hidden units h (the book's ``num_hiddens``).
    """

    def __init__(self, in_features: int, hidden_size: int) -> None:
        super().__init__()
        check_positive("in_features", in_features)
        check_positive("hidden_size", hidden_size)
        self.hidden_size = hidden_size

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The output (batch, hidden_size) and the state after one step.

        Args:
            x: The step's inputs (batch, in_features).
            state: The state before it; None for zeros.
        """

    @abstractmethod
    def copy_weights(self, twin: nn.RNNBase, name: str) -> None:
        """Take the weights of a layer of torch's network.

        Torch has two biases for each gate, of which the sum is taken.

        Args:
            twin: The network.
            name: What the names of the layer's weights end in, such as ``l0``, or ``l0_reverse``.
        """

    def forward(
        self, x: Float[Tensor, "batch num_steps in_features"], state: State = None
    ) -> tuple[Float[Tensor, "batch num_steps hidden_size"], State]:
        """The outputs of all steps, and the state after the last one.

        Args:
            x: The inputs.
            state: The state before the first step; None for zeros.
        """
        outputs = []
        for x_t in x.unbind(1):
            output, state = self.step(x_t, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1), state

    def zeros(self, x: Tensor) -> Tensor:
        """A state of zeros for the inputs of one step."""
        return x.new_zeros(len(x), self.hidden_size)


class ScratchLMNetwork(nn.Module):
    """One-hot vectors, recurrent layers from scratch, and a linear layer from scratch.

    Args:
        layers: The recurrent layers, from the inputs up.
        vocab_size: Number of tokens.

    Attributes:
        W_hq: Weights (hidden_size, vocab_size) of the linear layer.
        b_q: Its biases (vocab_size,).
    """

    def __init__(self, layers: Sequence[RecurrentLayer], vocab_size: int) -> None:
        super().__init__()
        self.rnns = nn.ModuleList(layers)
        self.vocab_size = vocab_size
        self.W_hq = drawn(layers[-1].hidden_size, vocab_size)
        self.b_q = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens: Int[Tensor, "batch num_steps"]) -> Float[Tensor, "batch num_steps vocab_size"]:
        """The logits of the token after each token, from a state of zeros."""
        return self.run(tokens, None)[0]

    def run(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The logits (batch, num_steps, vocab_size) and the state, one for each layer, from a state."""
        outputs = one_hot(tokens, self.vocab_size).to(self.W_hq.dtype)
        states = []
        for i, rnn in enumerate(self.rnns):
            outputs, last = rnn(outputs, None if state is None else state[i])
            states.append(last)
        return outputs @ self.W_hq + self.b_q, states

    def advance(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The logits of the token after these (batch, vocab_size), and the state, from a state."""
        logits, state = self.run(tokens, state)
        return logits[:, -1], state

    def copy_weights(self, twin: nn.RNNBase, head: nn.Linear) -> None:
        """Take the weights of the concise version: its recurrent network, and its linear layer."""
        for i, rnn in enumerate(self.rnns):
            assert isinstance(rnn, RecurrentLayer)
            rnn.copy_weights(twin, f"l{i}")
        with torch.no_grad():
            self.W_hq.copy_(head.weight.T)
            self.b_q.copy_(head.bias)


class ScratchLM(LanguageModel):
    """Base of the recurrent language models from scratch; weights from N(0, 0.01^2), biases zero.

    Args:
        network: The network.
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
    """

    net: ScratchLMNetwork

    def __init__(
        self,
        *,
        network: ScratchLMNetwork,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_scheduler_config: dict[str, Any] | None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = network
        self.example_input_array = torch.zeros(2, 32, dtype=torch.int64)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, label)
