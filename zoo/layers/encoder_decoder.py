"""Encoders and decoders (section 10.6): what every model that maps sequences to sequences is made of."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["Decoder", "Encoder", "EncoderDecoder"]


class Encoder(nn.Module, ABC):
    """Reads the source sentences."""

    @abstractmethod
    def forward(
        self, source: Int[Tensor, "batch source_steps"], source_length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch source_steps features"], Any]:
        """Encode sentences.

        Args:
            source: Token ids, padded at the end with any ids.
            source_length: Tokens without padding, at least 1; what lies behind them changes nothing.

        Returns:
            A vector for each token, which means nothing behind the length; and what else a decoder needs,
            such as the last hidden states.
        """


class Decoder(nn.Module, ABC):
    """Writes the target sentences, a token at a time or many at once.

    Its state is all that it needs to go on: tensors in any structure, with a row for each sentence. A state
    is never changed in place, so that one state can be gone on from in several ways.
    """

    @abstractmethod
    def init_state(self, encoded: Any, source_length: Int[Tensor, " batch"]) -> Any:
        """The state before the first token.

        Args:
            encoded: What the encoder returned.
            source_length: Tokens of the source sentences without padding.
        """

    @abstractmethod
    def forward(
        self, tokens: Int[Tensor, "batch steps"], state: Any
    ) -> tuple[Float[Tensor, "batch steps vocab"], Any]:
        """Read on.

        Args:
            tokens: The next token ids of each row, ``<bos>`` the very first.
            state: The state before them.

        Returns:
            For each of them the logits of the token after it, which know nothing of later ones; and the state
            after all of them.
        """

    @abstractmethod
    def select(self, state: Any, rows: Int[Tensor, " chosen"]) -> Any:
        """The state of some rows, in this order; a row may be left out, or be chosen more than once."""


class EncoderDecoder(nn.Module):
    """An encoder and a decoder.

    Args:
        encoder: Reads the source sentences.
        decoder: Writes the target sentences.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def start(self, source: Int[Tensor, "batch source_steps"], source_length: Int[Tensor, " batch"]) -> Any:
        """The decoder's state before the first token."""
        return self.decoder.init_state(self.encoder(source, source_length), source_length)

    def forward(
        self,
        source: Int[Tensor, "batch source_steps"],
        source_length: Int[Tensor, " batch"],
        target: Int[Tensor, "batch steps"],
    ) -> Float[Tensor, "batch steps vocab"]:
        """For each target token, ``<bos>`` the first, the logits of the token after it."""
        logits: Tensor = self.decoder(target, self.start(source, source_length))[0]
        return logits
