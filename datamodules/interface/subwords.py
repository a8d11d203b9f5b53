"""Tokenizers whose tokens are parts of words: byte pair encoding and WordPiece."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from datamodules.interface.checks import check_at_least, check_choice
from datamodules.interface.tokenizer_base import NORMALIZATIONS, Tokenizer, normalize
from datamodules.interface.vocab import UNK, UNK_ID

__all__ = ["BPETokenizer", "VocabTooSmallError", "WordPieceTokenizer"]


class VocabTooSmallError(ValueError):
    """A vocabulary of subwords has no room for what it must begin with.

    Args:
        message: The message.
        smallest: The least number of entries that would do.
    """

    def __init__(self, message: str, smallest: int) -> None:
        super().__init__(message)
        self.smallest = smallest


class _SubwordTokenizer(Tokenizer):
    """Tokens that are merged out of smaller ones, the most frequent pairs first."""

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        normalization: str = "none",
        reserved_tokens: Sequence[str] = (),
        min_freq: int = 2,
        vocab_size: int | None = 8000,
    ) -> Tokenizer:
        """Learn the merges of a text; as in :meth:`Tokenizer.train`.

        Raises:
            ValueError: If an argument is out of its range.
            VocabTooSmallError: If ``vocab_size`` leaves no room for ``<unk>``, the reserved tokens and the
                single characters, which are 256 bytes for BPE.
        """
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_at_least("min_freq", min_freq, 1)
        if vocab_size is None:
            raise ValueError(f"vocab_size is None, but must be a number for the tokens {cls.kind}")
        specials = [UNK, *reserved_tokens]
        backend = cls.untrained()
        trainer = cls.trainer(vocab_size=vocab_size, min_frequency=min_freq, special_tokens=specials)
        backend.train_from_iterator((normalize(text, normalization) for text in texts), trainer)
        if len(backend.get_vocab()) > vocab_size:
            smallest = len(backend.get_vocab())
            raise VocabTooSmallError(
                f"vocab_size is {vocab_size}, but must be at least {smallest} for the tokens {cls.kind}, "
                "which begin with the single characters",
                smallest,
            )
        return cls(backend, normalization=normalization)

    @staticmethod
    @abstractmethod
    def untrained() -> tokenizers.Tokenizer:
        """Hugging Face's tokenizer before it has seen a text."""

    @staticmethod
    @abstractmethod
    def trainer(*, vocab_size: int, min_frequency: int, special_tokens: list[str]) -> Any:
        """What learns the merges."""

    def unknown(self, text: str) -> list[str]:
        """What in a text has no pieces (words, for WordPiece), each once, in order."""
        normal = self.normalize(text)
        encoding = self.backend.encode(normal, add_special_tokens=False)
        spans = [
            span
            for span, i in zip(encoding.offsets, encoding.ids, strict=True)
            if i == UNK_ID or i in self._in_no_text
        ]
        return list(dict.fromkeys(normal[start:end] for start, end in spans))


class BPETokenizer(_SubwordTokenizer):
    """Byte pair encoding of the text's bytes, as in GPT-2: no text is unknown, and decoding loses nothing.

    Only the reserved tokens of padded sequences, where a text has them, become ``<unk>``.
    """

    kind = "bpe"

    @staticmethod
    def untrained() -> tokenizers.Tokenizer:
        """Hugging Face's tokenizer before it has seen a text."""
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        return backend

    @staticmethod
    def trainer(*, vocab_size: int, min_frequency: int, special_tokens: list[str]) -> Any:
        """What learns the merges."""
        return trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=special_tokens,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )


class WordPieceTokenizer(_SubwordTokenizer):
    """WordPiece, as in BERT: pieces within a word begin with ``##``; merges are learned by count."""

    kind = "wordpiece"

    @staticmethod
    def untrained() -> tokenizers.Tokenizer:
        """Hugging Face's tokenizer before it has seen a text."""
        backend = tokenizers.Tokenizer(models.WordPiece(unk_token=UNK))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        return backend

    @staticmethod
    def trainer(*, vocab_size: int, min_frequency: int, special_tokens: list[str]) -> Any:
        """What learns the merges."""
        return trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=special_tokens,
            show_progress=False,
        )
