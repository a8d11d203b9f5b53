"""Translation with two recurrent networks (section 10.7; Sutskever et al., 2014, and Cho et al., 2014).

Deviations from the book: padding changes nothing, since the encoder's state is the one after a sentence's
last token; the head is initialised as the recurrent layers are, which the book's code tries and misses.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from datamodules.interface.vocab import EOS_ID
from zoo._checks import check_at_least, check_choice, check_fraction, check_positive
from zoo._registry import register
from zoo.layers.encoder_decoder import Decoder, Encoder, EncoderDecoder
from zoo.layers.init import INITIALISERS, init_parameters, init_weight_
from zoo.tasks.base import LRSchedulerCallable, OptimizerCallable
from zoo.tasks.translation import Translator, example_inputs

__all__ = ["GRUDecoder", "GRUEncoder", "Seq2Seq"]


class GRUEncoder(Encoder):
    """An embedding and GRU layers, each run by itself so that its state after the last token can be taken.

    The layers run over the padding too. Packed sequences would skip it, but their lengths must be known
    outside the device, which would wait for it, and the network could not be exported.

    Args:
        vocab_size: Number of source tokens.
        embed_dim: Size of an embedding.
        hidden_size: Size of a hidden state; half of it for each direction.
        num_layers: Number of GRU layers.
        dropout: Drop probability in [0, 1) between layers.
        embed_dropout: Drop probability in [0, 1) of the embeddings' entries.
        bidirectional: Read sentences backwards too.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        embed_dim: int,
        hidden_size: int,
        num_layers: int,
        dropout: float = 0.0,
        embed_dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        if bidirectional and hidden_size % 2:
            raise ValueError(f"hidden_size is {hidden_size}, but must be even for two directions")
        size = hidden_size // 2 if bidirectional else hidden_size
        inputs = [embed_dim] + [hidden_size] * (num_layers - 1)
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        self.rnn = nn.ModuleList(nn.GRU(features, size) for features in inputs)
        self.reverse_rnn = nn.ModuleList(nn.GRU(features, size) for features in inputs if bidirectional)
        self.dropout = dropout
        self.embed_dropout = embed_dropout

    def forward(
        self, source: Int[Tensor, "batch source_steps"], source_length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch source_steps hidden_size"], Float[Tensor, "layers batch hidden_size"]]:
        """The top layer's hidden states, and each layer's state after it has read all of a sentence."""
        hidden = self.embedding(source.T)
        hidden = F.dropout(hidden, self.embed_dropout, self.training)
        steps = torch.arange(len(hidden), device=source.device)[:, None]
        # Turns each sentence round within its length and leaves the padding: doing it twice undoes it.
        turned = torch.where(steps < source_length, source_length - 1 - steps, steps)[:, :, None]
        last = (source_length - 1)[None, :, None]
        states = []
        for i, layer in enumerate(self.rnn):
            if i > 0:
                hidden = F.dropout(hidden, self.dropout, self.training)
            output = layer(hidden)[0]
            state = output.take_along_dim(last, dim=0)
            if self.reverse_rnn:
                reverse = self.reverse_rnn[i](hidden.take_along_dim(turned, dim=0))[0]
                state = torch.cat([state, reverse.take_along_dim(last, dim=0)], dim=2)
                output = torch.cat([output, reverse.take_along_dim(turned, dim=0)], dim=2)
            states.append(state)
            hidden = output
        return hidden.transpose(0, 1), torch.cat(states)


class GRUDecoder(Decoder):
    """An embedding, GRU layers that see the encoder's last state at each step, and a linear head.

    Its state is the layers' hidden states (layers, batch, hidden_size) and the context (batch, hidden_size).

    Args:
        vocab_size: Number of target tokens.
        embed_dim: Size of an embedding.
        hidden_size: Size of a hidden state, and of the encoder's.
        num_layers: Number of GRU layers, as many as the encoder's.
        dropout: Drop probability in [0, 1) between layers.
        embed_dropout: Drop probability in [0, 1) of the embeddings' entries, and of what the head sees.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        embed_dim: int,
        hidden_size: int,
        num_layers: int,
        dropout: float = 0.0,
        embed_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        # torch warns of a dropout between the layers of a single one.
        between = dropout if num_layers > 1 else 0.0
        self.rnn = nn.GRU(embed_dim + hidden_size, hidden_size, num_layers, dropout=between)
        self.dense = nn.Linear(hidden_size, vocab_size)
        self.embed_dropout = embed_dropout

    def init_state(
        self,
        encoded: tuple[
            Float[Tensor, "batch source_steps hidden_size"], Float[Tensor, "layers batch hidden_size"]
        ],
        source_length: Int[Tensor, " batch"],
    ) -> tuple[Tensor, Tensor]:
        """The encoder's states, and the top one of them as the context."""
        _, hidden = encoded
        return hidden, hidden[-1]

    def forward(
        self, tokens: Int[Tensor, "batch steps"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "batch steps vocab"], tuple[Tensor, Tensor]]:
        """Logits of the token after each, and the state after all."""
        hidden, context = state
        embedded = F.dropout(self.embedding(tokens.T), self.embed_dropout, self.training)
        inputs = torch.cat([embedded, context.expand(len(embedded), -1, -1)], dim=2)
        output, hidden = self.rnn(inputs, hidden)
        output = F.dropout(output, self.embed_dropout, self.training)
        return self.dense(output.transpose(0, 1)), (hidden, context)

    def select(self, state: tuple[Tensor, Tensor], rows: Int[Tensor, " chosen"]) -> tuple[Tensor, Tensor]:
        """The state of some rows."""
        hidden, context = state
        return hidden.index_select(1, rows), context.index_select(0, rows)


@register(
    book=("M40",),
    task="translation",
    config="rnn/seq2seq_eng_fra.yaml",
    tiny={"source_vocab_size": 11, "target_vocab_size": 13, "embed_dim": 8, "hidden_size": 12},
    full={"source_vocab_size": 194, "target_vocab_size": 214},
)
class Seq2Seq(Translator):
    """Encoder and decoder of GRU layers; the decoder always sees the last state (section 10.7).

    Args:
        source_vocab_size: Number of source tokens (the data's, on the command line).
        target_vocab_size: Number of target tokens (the data's, on the command line).
        embed_dim: Size of an embedding (the book's ``embed_size``).
        hidden_size: Size of a hidden state (the book's ``num_hiddens``).
        num_layers: Number of GRU layers of the encoder, and of the decoder.
        dropout: Drop probability in [0, 1) between layers.
        embed_dropout: Drop probability in [0, 1) of the embeddings' entries, and of what the head sees.
        bidirectional: Let the encoder read both ways, with half of its hidden state for each.
        init: Initialiser of all weights but the embeddings, which are N(0, 1); ``default`` is torch's.
        label_smoothing: Probability spread evenly over all tokens in the training loss, in [0, 1).
        teacher_forcing: Probability that the decoder reads the true token in training, in the first and in
            the last epoch, each in [0, 1]; else it reads the token that it finds likeliest.
        beam_size: Sentences kept while translating the test split and new lines, at least 1 (greedy).
        length_penalty: Exponent of the length that a beam's scores are divided by, in [0, 10].
        optimizer: The book's Adam.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = Translator.training_arguments | {"dropout", "embed_dropout"}

    net: EncoderDecoder

    def __init__(
        self,
        *,
        source_vocab_size: int,
        target_vocab_size: int,
        embed_dim: int = 256,
        hidden_size: int = 256,
        num_layers: int = 2,
        dropout: float = 0.2,
        embed_dropout: float = 0.0,
        bidirectional: bool = False,
        init: str = "xavier_uniform",
        label_smoothing: float = 0.0,
        teacher_forcing: Sequence[float] = (1.0, 1.0),
        beam_size: int = 1,
        length_penalty: float = 0.75,
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.005, fused=True),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_at_least("source_vocab_size", source_vocab_size, EOS_ID + 2)  # the reserved ones and a word
        check_at_least("target_vocab_size", target_vocab_size, EOS_ID + 2)
        check_positive("embed_dim", embed_dim)
        check_positive("hidden_size", hidden_size)
        check_at_least("num_layers", num_layers, 1)
        check_fraction("dropout", dropout)
        check_fraction("embed_dropout", embed_dropout)
        check_choice("init", init, ["default", *INITIALISERS])
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
            teacher_forcing=teacher_forcing,
            beam_size=beam_size,
            length_penalty=length_penalty,
        )
        encoder = GRUEncoder(
            source_vocab_size,
            embed_dim=embed_dim,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            embed_dropout=embed_dropout,
            bidirectional=bidirectional,
        )
        decoder = GRUDecoder(
            target_vocab_size,
            embed_dim=embed_dim,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            embed_dropout=embed_dropout,
        )
        self.net = EncoderDecoder(encoder, decoder)
        init_parameters(self.net, init)
        for layer in self.net.modules():
            if isinstance(layer, nn.GRU) and init != "default":
                for weight in layer.parameters():
                    if weight.ndim > 1:
                        init_weight_(weight, init)
        self.example_input_array = example_inputs()
