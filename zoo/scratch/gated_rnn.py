"""LSTM and GRU from scratch (sections 10.1.2 and 10.2.4).

Deviations from the book: sequences are (batch, num_steps, features), as in the concise versions; the GRU has
torch's form too.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo._checks import check_positive
from zoo._registry import register
from zoo.optim.sgd import SGD
from zoo.scratch.recurrent import RecurrentLayer, ScratchLM, ScratchLMNetwork, State, drawn
from zoo.tasks import LRSchedulerCallable, OptimizerCallable

__all__ = ["GRULayer", "GRUScratch", "GatedLayer", "LSTMLayer", "LSTMScratch"]


class GatedLayer(RecurrentLayer):
    """Base of layers with gates, each with weights and biases of its own.

    Args:
        in_features: Numbers for each step d.
        hidden_size: Hidden units h.

    Attributes:
        W_x: Weights (d, h) of the inputs for each gate, from N(0, 0.01^2).
        W_h: Weights (h, h) of the state for each gate, likewise.
        b: Biases (h,) of each gate, zeros at first.
    """

    gates: str
    """The gates, a letter for each, in torch's order."""

    def __init__(self, in_features: int, hidden_size: int) -> None:
        super().__init__(in_features, hidden_size)
        self.W_x = nn.ParameterDict({gate: drawn(in_features, hidden_size) for gate in self.gates})
        self.W_h = nn.ParameterDict({gate: drawn(hidden_size, hidden_size) for gate in self.gates})
        self.b = nn.ParameterDict({gate: nn.Parameter(torch.zeros(hidden_size)) for gate in self.gates})

    def gate(self, gate: str, x: Tensor, hidden: Tensor) -> Tensor:
        """``X_t W_x + H_{t-1} W_h + b`` of a gate (batch, hidden_size)."""
        total: Tensor = x @ self.W_x[gate] + hidden @ self.W_h[gate] + self.b[gate]
        return total

    def copy_weights(self, twin: nn.RNNBase, name: str) -> None:
        """As in the base; torch stacks the gates."""
        parts = len(self.gates)
        inputs = getattr(twin, f"weight_ih_{name}").chunk(parts)
        states = getattr(twin, f"weight_hh_{name}").chunk(parts)
        biases = (getattr(twin, f"bias_ih_{name}") + getattr(twin, f"bias_hh_{name}")).chunk(parts)
        with torch.no_grad():
            for gate, w_x, w_h, b in zip(self.gates, inputs, states, biases, strict=True):
                self.W_x[gate].copy_(w_x.T)
                self.W_h[gate].copy_(w_h.T)
                self.b[gate].copy_(b)


class LSTMLayer(GatedLayer):
    """Long short-term memory: input gate i, forget gate f, input node g, output gate o (section 10.1.1).

    ``C_t = F_t * C_{t-1} + I_t * G_t`` and ``H_t = O_t * tanh(C_t)``; the state is (H, C). The book writes c
    for g.
    """

    gates = "ifgo"

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The output and the state (H, C)."""
        hidden, memory = (self.zeros(x), self.zeros(x)) if state is None else state
        i, f, o = (torch.sigmoid(self.gate(gate, x, hidden)) for gate in "ifo")
        memory = f * memory + i * torch.tanh(self.gate("g", x, hidden))
        hidden = o * torch.tanh(memory)
        return hidden, (hidden, memory)


class GRULayer(GatedLayer):
    """Gated recurrent units: reset gate r, update gate z, candidate n (section 10.2).

    ``H_t = Z_t * H_{t-1} + (1 - Z_t) * N_t``. The book resets the state before the product with the weights,
    ``(R_t * H_{t-1}) W_h``; torch resets the product, ``R_t * (H_{t-1} W_h)``. The two differ.

    Args:
        in_features: Numbers for each step d.
        hidden_size: Hidden units h.
        reset_after: Whether to reset the product, as torch does.
    """

    gates = "rzn"

    def __init__(self, in_features: int, hidden_size: int, *, reset_after: bool = False) -> None:
        super().__init__(in_features, hidden_size)
        self.reset_after = reset_after

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The new state, which is the output too."""
        hidden = self.zeros(x) if state is None else state
        r, z = (torch.sigmoid(self.gate(gate, x, hidden)) for gate in "rz")
        weight = self.W_h["n"]
        recurrent = r * (hidden @ weight) if self.reset_after else (r * hidden) @ weight
        candidate = torch.tanh(x @ self.W_x["n"] + recurrent + self.b["n"])
        hidden = z * hidden + (1 - z) * candidate
        return hidden, hidden

    def copy_weights(self, twin: nn.RNNBase, name: str) -> None:
        """As in the base.

        Raises:
            ValueError: If torch's bias of the candidate's product is not zero: here is none to be reset with
                the product.
        """
        if getattr(twin, f"bias_hh_{name}").chunk(3)[2].any():
            raise ValueError(
                f"the last third of bias_hh_{name} is not zero, but must be for a GRU from scratch"
            )
        super().copy_weights(twin, name)


@register(
    book=("M32",),
    task="language modelling",
    config="rnn/lstm_scratch_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 16},
    full={"vocab_size": 28},
)
class LSTMScratch(ScratchLM):
    """Language model of a long short-term memory from scratch (section 10.1.2).

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
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=4.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("vocab_size", vocab_size)
        super().__init__(
            network=ScratchLMNetwork([LSTMLayer(vocab_size, hidden_size)], vocab_size),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )


@register(
    book=("M34",),
    task="language modelling",
    config="rnn/gru_scratch_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 16},
    full={"vocab_size": 28},
)
class GRUScratch(ScratchLM):
    """Language model of gated recurrent units from scratch (section 10.2.4).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units (the book's ``num_hiddens``).
        reset_after: Whether the reset gate is applied after the product with the weights, as in torch, not
            before it, as in the book.
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        reset_after: bool = False,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=4.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("vocab_size", vocab_size)
        layer = GRULayer(vocab_size, hidden_size, reset_after=reset_after)
        super().__init__(
            network=ScratchLMNetwork([layer], vocab_size),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )
