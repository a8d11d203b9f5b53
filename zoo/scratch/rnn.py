"""Recurrent networks from scratch: one layer, several, both directions (sections 9.5, 10.3.1 and 10.4.1).

Deviations from the book: sequences are (batch, num_steps, features), as in the concise versions; the state
that comes out of a network goes into it again, for any number of sequences.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from zoo._checks import check_positive
from zoo._registry import register
from zoo.optim.sgd import SGD
from zoo.rnn.bidirectional import MaskedTokenModel
from zoo.scratch.functions import cross_entropy
from zoo.scratch.recurrent import RecurrentLayer, ScratchLM, ScratchLMNetwork, State, drawn, one_hot
from zoo.tasks import LRSchedulerCallable, OptimizerCallable

__all__ = ["BiRNNScratch", "BiRNNScratchNetwork", "RNNLayer", "RNNScratch", "StackedRNNScratch"]


class RNNLayer(RecurrentLayer):
    """``H_t = tanh(X_t W_xh + H_{t-1} W_hh + b_h)`` (section 9.4.2).

    Args:
        in_features: Numbers for each step d.
        hidden_size: Hidden units h.

    Attributes:
        W_xh: Weights (d, h) of the inputs, from N(0, 0.01^2).
        W_hh: Weights (h, h) of the state, likewise.
        b_h: Biases (h,), zeros at first.
    """

    def __init__(self, in_features: int, hidden_size: int) -> None:
        super().__init__(in_features, hidden_size)
        self.W_xh = drawn(in_features, hidden_size)
        self.W_hh = drawn(hidden_size, hidden_size)
        self.b_h = nn.Parameter(torch.zeros(hidden_size))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The new state, which is the output too."""
        hidden = self.zeros(x) if state is None else state
        hidden = torch.tanh(x @ self.W_xh + hidden @ self.W_hh + self.b_h)
        return hidden, hidden

    def copy_weights(self, twin: nn.RNNBase, name: str) -> None:
        """As in the base."""
        with torch.no_grad():
            self.W_xh.copy_(getattr(twin, f"weight_ih_{name}").T)
            self.W_hh.copy_(getattr(twin, f"weight_hh_{name}").T)
            self.b_h.copy_(getattr(twin, f"bias_ih_{name}") + getattr(twin, f"bias_hh_{name}"))


@register(
    book=("M30",),
    task="language modelling",
    config="rnn/rnn_scratch_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 32},
    full={"vocab_size": 28},
)
class RNNScratch(ScratchLM):
    """Language model of a recurrent network with tanh, from scratch (section 9.5).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units (the book's ``num_hiddens``).
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=1.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("vocab_size", vocab_size)
        super().__init__(
            network=ScratchLMNetwork([RNNLayer(vocab_size, hidden_size)], vocab_size),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )


@register(
    book=("M36",),
    task="language modelling",
    config="rnn/stacked_rnn_scratch_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 24},
    full={"vocab_size": 28},
)
class StackedRNNScratch(ScratchLM):
    """Language model of recurrent layers with tanh, each on the outputs of the one below (section 10.3.1).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units of each layer (the book's ``num_hiddens``).
        num_layers: Recurrent layers.
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        num_layers: int = 2,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=2.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("vocab_size", vocab_size)
        check_positive("num_layers", num_layers)
        widths = [vocab_size] + [hidden_size] * (num_layers - 1)
        super().__init__(
            network=ScratchLMNetwork([RNNLayer(width, hidden_size) for width in widths], vocab_size),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )


class BiRNNScratchNetwork(nn.Module):
    """A recurrent layer forwards, one backwards, and a linear layer on the outputs of both (section 10.4.1).

    Args:
        vocab_size: Number of tokens.
        hidden_size: Hidden units in each direction.

    Attributes:
        f_rnn: The layer that reads forwards.
        b_rnn: The layer that reads backwards.
        W_hq: Weights (2 * hidden_size, vocab_size) of the linear layer.
        b_q: Its biases (vocab_size,).
    """

    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        check_positive("vocab_size", vocab_size)
        self.vocab_size = vocab_size
        self.f_rnn = RNNLayer(vocab_size, hidden_size)
        self.b_rnn = RNNLayer(vocab_size, hidden_size)
        self.W_hq = drawn(2 * hidden_size, vocab_size)
        self.b_q = nn.Parameter(torch.zeros(vocab_size))

    def forward(
        self, tokens: Int[Tensor, "batch num_steps"], hidden: Bool[Tensor, "batch num_steps"] | None = None
    ) -> Float[Tensor, "batch num_steps vocab_size"]:
        """The logits of each token, from the tokens on both sides and from itself unless it is hidden.

        Args:
            tokens: Token ids.
            hidden: Which of them are hidden: the network sees zeros there; None for none.
        """
        x = one_hot(tokens, self.vocab_size).to(self.W_hq.dtype)
        if hidden is not None:
            x = torch.where(hidden[:, :, None], 0.0, x)
        forwards, backwards = self.f_rnn(x)[0], self.b_rnn(x.flip(1))[0].flip(1)
        return torch.cat([forwards, backwards], dim=2) @ self.W_hq + self.b_q

    def copy_weights(self, twin: nn.RNNBase, head: nn.Linear) -> None:
        """Take the weights of the concise version: its recurrent network, and its linear layer."""
        self.f_rnn.copy_weights(twin, "l0")
        self.b_rnn.copy_weights(twin, "l0_reverse")
        with torch.no_grad():
            self.W_hq.copy_(head.weight.T)
            self.b_q.copy_(head.bias)


@register(
    book=("M38",),
    task="masked language modelling",
    config=None,
    tiny={"vocab_size": 11, "hidden_size": 16},
    full={"vocab_size": 28},
)
class BiRNNScratch(MaskedTokenModel):
    """Hidden tokens guessed by a bidirectional recurrent network from scratch (section 10.4.1).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units in each direction (the book's ``num_hiddens``).
        mask_prob: Share of the tokens that is hidden, in (0, 1]; at least one token of a window is.
        optimizer: SGD from scratch with the rate of the book's recurrent network.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        mask_prob: float = 0.15,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=1.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            mask_prob=mask_prob,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )
        self.net = BiRNNScratchNetwork(vocab_size, hidden_size)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, label)
