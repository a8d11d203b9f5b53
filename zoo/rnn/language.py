"""Language models of recurrent networks: RNN, LSTM, GRU, deep GRU (sections 9.6 and 10.1 to 10.3).

Deviations from the book: embeddings instead of one-hot vectors, tied embeddings, dropout, and a state that is
carried from batch to batch are options; none is on by default.
"""

from typing import Any

import torch

from zoo._registry import register
from zoo.rnn.network import RecurrentNetwork
from zoo.rnn.recurrent import RecurrentLM
from zoo.tasks import LRSchedulerCallable, OptimizerCallable

__all__ = ["GRULM", "LSTMLM", "RNNLM", "DeepGRULM"]


@register(
    book=("M31",),
    task="language modelling",
    config="rnn/rnn_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 32, "embed_dim": 32},
    full={"vocab_size": 28},
)
class RNNLM(RecurrentLM):
    """Language model of a recurrent network with tanh (section 9.6).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units of each layer (the book's ``num_hiddens``).
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        embed_dim: Numbers in the embedding of a token; None for one-hot vectors.
        embed_dropout: Drop probability in [0, 1) of the numbers of an embedding; of tokens, if they are
            one-hot vectors.
        tie_embeddings: Whether the embeddings are the weights of the last layer too; ``embed_dim`` must then
            be ``hidden_size``.
        weight_dropout: Drop probability in [0, 1) of the weights from a layer's state to its next state.
        carry_state: Whether the hidden state is carried from window to window; needs ``partition:
            sequential`` (section 9.7.1.2).
        randomized_truncation: Probability in (0, 1] that the gradient flows from a step to the one before it
            (section 9.7.1.3); None for the whole gradient.
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        embed_dim: int | None = None,
        embed_dropout: float = 0.0,
        tie_embeddings: bool = False,
        weight_dropout: float = 0.0,
        carry_state: bool = False,
        randomized_truncation: float | None = None,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=1.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            network=RecurrentNetwork(
                "rnn",
                vocab_size,
                hidden_size,
                num_layers=num_layers,
                dropout=dropout,
                embed_dim=embed_dim,
                embed_dropout=embed_dropout,
                tie_embeddings=tie_embeddings,
                weight_dropout=weight_dropout,
                randomized_truncation=randomized_truncation,
            ),
            carry_state=carry_state,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )


@register(
    book=("M33",),
    task="language modelling",
    config="rnn/lstm_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 16, "num_layers": 2, "embed_dim": 16},
    full={"vocab_size": 28},
)
class LSTMLM(RecurrentLM):
    """Language model of a long short-term memory (section 10.1).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units of each layer (the book's ``num_hiddens``).
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        embed_dim: Numbers in the embedding of a token; None for one-hot vectors.
        embed_dropout: Drop probability in [0, 1) of the numbers of an embedding; of tokens, if they are
            one-hot vectors.
        tie_embeddings: Whether the embeddings are the weights of the last layer too; ``embed_dim`` must then
            be ``hidden_size``.
        weight_dropout: Drop probability in [0, 1) of the weights from a layer's state to its next state.
        carry_state: Whether the hidden state is carried from window to window; needs ``partition:
            sequential`` (section 9.7.1.2).
        randomized_truncation: Probability in (0, 1] that the gradient flows from a step to the one before it
            (section 9.7.1.3); None for the whole gradient.
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        embed_dim: int | None = None,
        embed_dropout: float = 0.0,
        tie_embeddings: bool = False,
        weight_dropout: float = 0.0,
        carry_state: bool = False,
        randomized_truncation: float | None = None,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=4.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            network=RecurrentNetwork(
                "lstm",
                vocab_size,
                hidden_size,
                num_layers=num_layers,
                dropout=dropout,
                embed_dim=embed_dim,
                embed_dropout=embed_dropout,
                tie_embeddings=tie_embeddings,
                weight_dropout=weight_dropout,
                randomized_truncation=randomized_truncation,
            ),
            carry_state=carry_state,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )


@register(
    book=("M35",),
    task="language modelling",
    config="rnn/gru_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 16, "embed_dim": 16},
    full={"vocab_size": 28},
)
class GRULM(RecurrentLM):
    """Language model of gated recurrent units (section 10.2).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units of each layer (the book's ``num_hiddens``).
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        embed_dim: Numbers in the embedding of a token; None for one-hot vectors.
        embed_dropout: Drop probability in [0, 1) of the numbers of an embedding; of tokens, if they are
            one-hot vectors.
        tie_embeddings: Whether the embeddings are the weights of the last layer too; ``embed_dim`` must then
            be ``hidden_size``.
        weight_dropout: Drop probability in [0, 1) of the weights from a layer's state to its next state.
        carry_state: Whether the hidden state is carried from window to window; needs ``partition:
            sequential`` (section 9.7.1.2).
        randomized_truncation: Probability in (0, 1] that the gradient flows from a step to the one before it
            (section 9.7.1.3); None for the whole gradient.
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        embed_dim: int | None = None,
        embed_dropout: float = 0.0,
        tie_embeddings: bool = False,
        weight_dropout: float = 0.0,
        carry_state: bool = False,
        randomized_truncation: float | None = None,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=4.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            network=RecurrentNetwork(
                "gru",
                vocab_size,
                hidden_size,
                num_layers=num_layers,
                dropout=dropout,
                embed_dim=embed_dim,
                embed_dropout=embed_dropout,
                tie_embeddings=tie_embeddings,
                weight_dropout=weight_dropout,
                randomized_truncation=randomized_truncation,
            ),
            carry_state=carry_state,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )


@register(
    book=("M37",),
    task="language modelling",
    config="rnn/deep_gru_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 16, "embed_dim": 16},
    full={"vocab_size": 28},
)
class DeepGRULM(RecurrentLM):
    """Language model of gated recurrent units in several layers (section 10.3).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units of each layer (the book's ``num_hiddens``).
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        embed_dim: Numbers in the embedding of a token; None for one-hot vectors.
        embed_dropout: Drop probability in [0, 1) of the numbers of an embedding; of tokens, if they are
            one-hot vectors.
        tie_embeddings: Whether the embeddings are the weights of the last layer too; ``embed_dim`` must then
            be ``hidden_size``.
        weight_dropout: Drop probability in [0, 1) of the weights from a layer's state to its next state.
        carry_state: Whether the hidden state is carried from window to window; needs ``partition:
            sequential`` (section 9.7.1.2).
        randomized_truncation: Probability in (0, 1] that the gradient flows from a step to the one before it
            (section 9.7.1.3); None for the whole gradient.
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int = 32,
        num_layers: int = 2,
        dropout: float = 0.0,
        embed_dim: int | None = None,
        embed_dropout: float = 0.0,
        tie_embeddings: bool = False,
        weight_dropout: float = 0.0,
        carry_state: bool = False,
        randomized_truncation: float | None = None,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=2.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            network=RecurrentNetwork(
                "gru",
                vocab_size,
                hidden_size,
                num_layers=num_layers,
                dropout=dropout,
                embed_dim=embed_dim,
                embed_dropout=embed_dropout,
                tie_embeddings=tie_embeddings,
                weight_dropout=weight_dropout,
                randomized_truncation=randomized_truncation,
            ),
            carry_state=carry_state,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )
