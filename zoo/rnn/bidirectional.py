"""Tokens that are hidden and guessed from both sides: a bidirectional GRU (section 10.4).

Deviations from the book: its network is made, but never trained. As a language model it would see the very
token that it is to predict, so tokens are hidden and guessed here.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from datamodules.interface.batches import SequenceBatch
from zoo._checks import check_positive
from zoo._registry import register
from zoo.rnn.network import OneHot, make_rnn
from zoo.tasks import LanguageModel, LRSchedulerCallable, OptimizerCallable

__all__ = ["BiGRULM", "BidirectionalNetwork", "MaskedTokenModel"]


class BidirectionalNetwork(nn.Module):
    """One-hot vectors or embeddings, a bidirectional GRU, and a linear layer with a logit for each token.

    Args:
        vocab_size: Number of tokens.
        hidden_size: Hidden units of each layer in each direction.
        num_layers: Recurrent layers.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        embed_dim: Numbers in the embedding of a token; None for one-hot vectors.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        embed_dim: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("vocab_size", vocab_size)
        if embed_dim is not None:
            check_positive("embed_dim", embed_dim)
        self.embedding = OneHot(vocab_size) if embed_dim is None else nn.Embedding(vocab_size, embed_dim)
        self.rnn = make_rnn(
            "gru",
            embed_dim or vocab_size,
            hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden_size, vocab_size)

    def forward(
        self, tokens: Int[Tensor, "batch num_steps"], hidden: Bool[Tensor, "batch num_steps"] | None = None
    ) -> Float[Tensor, "batch num_steps vocab_size"]:
        """The logits of each token, from the tokens on both sides and from itself unless it is hidden.

        Args:
            tokens: Token ids.
            hidden: Which of them are hidden: the network sees zeros there; None for none.
        """
        x = self.embedding(tokens)
        if hidden is not None:
            x = x.masked_fill(hidden[:, :, None], 0.0)
        return self.head(self.dropout(self.rnn(x)[0]))  # type: ignore[no-any-return]  # modules' calls


class MaskedTokenModel(LanguageModel):
    """Base of models that guess hidden tokens from those on both sides.

    In every window the same share of the tokens is hidden, at random places; in validation and test, at the
    same places every time. Logs ``loss`` (cross-entropy of a hidden token), ``perplexity`` (exp of it) and
    ``acc``, all over the hidden tokens only.

    The network's ``forward`` takes token ids and which of them are hidden, both (batch, num_steps), and
    returns logits (batch, num_steps, vocab_size).

    Args:
        mask_prob: Share of the tokens that is hidden, in (0, 1]; at least one token of a window is.
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
    """

    training_arguments = LanguageModel.training_arguments | {"dropout", "mask_prob"}

    def __init__(
        self,
        *,
        mask_prob: float,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_scheduler_config: dict[str, Any] | None,
    ) -> None:
        if not 0 < mask_prob <= 1:
            raise ValueError(f"mask_prob is {mask_prob!r}, but must be in (0, 1]")
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.mask_prob = mask_prob
        self.example_input_array = torch.zeros(2, 32, dtype=torch.int64)

    def num_hidden(self, num_steps: int) -> int:
        """How many tokens of a window are hidden: a number that the device need not be asked for."""
        return max(1, round(self.mask_prob * num_steps))

    def hide(self, tokens: Int[Tensor, "batch num_steps"]) -> Int[Tensor, "batch num_hidden"]:
        """Where tokens are hidden, each place once in a row: at random in training, else always alike."""
        generator = None if self.training else torch.Generator(tokens.device).manual_seed(0)
        order = torch.rand(tokens.shape, generator=generator, device=tokens.device).argsort(dim=1)
        return order[:, : self.num_hidden(tokens.shape[1])]

    def guess(
        self, batch: SequenceBatch
    ) -> tuple[Float[Tensor, "batch num_hidden vocab_size"], Int[Tensor, "batch num_hidden"]]:
        """Logits of the hidden tokens, and the tokens."""
        places = self.hide(batch.tokens)
        hidden = torch.zeros_like(batch.tokens, dtype=torch.bool).scatter_(1, places, True)
        logits = self.net(batch.tokens, hidden)
        return logits.take_along_dim(places[:, :, None], dim=1), batch.tokens.gather(1, places)

    def measure(self, batch: SequenceBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """Mean cross-entropy of the hidden tokens, how many were guessed right, and their number."""
        logits, tokens = self.guess(batch)
        loss = self.loss(logits.flatten(0, 1), tokens.flatten())
        return loss, {"acc": (logits.argmax(dim=2) == tokens).sum()}, tokens.numel()

    def predict_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of the hidden tokens of each window (batch,)."""
        logits, tokens = self.guess(batch)
        return F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none").mean(dim=1)

    def generate(
        self,
        prompt: str,
        max_new_tokens: int = 50,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> str:
        """Refuse to go on with a text.

        Raises:
            ValueError: Always.
        """
        raise ValueError(self._cannot_generate)

    def generate_ids(
        self,
        tokens: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        excluded: Sequence[int] = (),
    ) -> Tensor:
        """Refuse to go on with ids.

        Raises:
            ValueError: Always.
        """
        raise ValueError(self._cannot_generate)

    @property
    def _cannot_generate(self) -> str:
        return (
            f"{type(self).__name__} cannot generate text: it is bidirectional and needs what comes after a "
            "token, which is not there yet; use GRULM, for example"
        )


@register(
    book=("M39",),
    task="masked language modelling",
    config="rnn/bi_gru_time_machine.yaml",
    tiny={"vocab_size": 11, "hidden_size": 16, "embed_dim": 16},
    full={"vocab_size": 28},
)
class BiGRULM(MaskedTokenModel):
    """Hidden tokens guessed by bidirectional gated recurrent units (section 10.4.2).

    Args:
        vocab_size: Number of tokens (the data's, on the command line).
        hidden_size: Hidden units of each layer in each direction (the book's ``num_hiddens``).
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        embed_dim: Numbers in the embedding of a token; None for one-hot vectors.
        mask_prob: Share of the tokens that is hidden, in (0, 1]; at least one token of a window is.
        optimizer: SGD with the rate of the book's GRU.
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
        mask_prob: float = 0.15,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=4.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            mask_prob=mask_prob,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )
        self.net = BidirectionalNetwork(
            vocab_size, hidden_size, num_layers=num_layers, dropout=dropout, embed_dim=embed_dim
        )
