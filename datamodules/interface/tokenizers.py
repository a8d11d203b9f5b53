"""Tokenizers: text to ids and back, over Hugging Face ``tokenizers``, behind one interface (section 9.2).

A tokenizer is saved as plain values with the checkpoint, so that a trained model reads and writes text with
no data at hand.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from datamodules.interface.checks import check_choice
from datamodules.interface.subwords import BPETokenizer, VocabTooSmallError, WordPieceTokenizer
from datamodules.interface.tokenizer_base import NORMALIZATIONS, Tokenizer, normalize
from datamodules.interface.vocab import UNK, Vocab, build_vocab_from_iterator

__all__ = [
    "NORMALIZATIONS",
    "TOKENIZERS",
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "VocabTooSmallError",
    "WordPieceTokenizer",
    "WordTokenizer",
    "normalize",
    "tokenizer_from_dict",
]


class _VocabTokenizer(Tokenizer):
    """Tokens that are found without knowing the vocabulary."""

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        normalization: str = "none",
        reserved_tokens: Sequence[str] = (),
        min_freq: int = 1,
        vocab_size: int | None = None,
    ) -> Tokenizer:
        """Make the vocabulary of a text; as in :meth:`Tokenizer.train`."""
        check_choice("normalization", normalization, NORMALIZATIONS)
        vocab = build_vocab_from_iterator(
            (cls.split(normalize(text, normalization)) for text in texts),
            min_freq=min_freq,
            reserved_tokens=reserved_tokens,
            max_tokens=vocab_size,
        )
        return cls.from_vocab(vocab, normalization=normalization)

    @classmethod
    def from_vocab(cls, vocab: Vocab, *, normalization: str = "none") -> Tokenizer:
        """The tokenizer with this vocabulary, whose first token is ``<unk>``."""
        backend = tokenizers.Tokenizer(models.WordLevel(vocab.get_stoi(), unk_token=UNK))
        cls.set_up(backend)
        return cls(backend, normalization=normalization)

    @staticmethod
    @abstractmethod
    def split(text: str) -> Iterable[str]:
        """The tokens of a normalised text, known or not."""

    @staticmethod
    @abstractmethod
    def set_up(backend: tokenizers.Tokenizer) -> None:
        """Let Hugging Face's tokenizer split and join as this one does."""

    def _ids(self, normal: str) -> list[int]:
        return self.vocab.lookup_indices(list(self.split(normal)))

    def unknown(self, text: str) -> list[str]:
        """What in a text is not in the vocabulary, each once, in order."""
        tokens = dict.fromkeys(self.split(self.normalize(text)))
        return [t for t in tokens if t not in self.vocab or self.vocab[t] in self._in_no_text]


class CharTokenizer(_VocabTokenizer):
    """A token is a character (a Unicode code point); reserved tokens stand in no text."""

    kind = "char"

    def __init__(self, backend: tokenizers.Tokenizer, *, normalization: str = "none") -> None:
        super().__init__(backend, normalization=normalization)
        characters = {ord(t): i for t, i in self.vocab.get_stoi().items() if len(t) == 1}
        self._table = np.zeros(max(characters, default=0) + 2, np.int64)  # its end is for all that lie above
        self._table[list(characters)] = list(characters.values())

    @staticmethod
    def split(text: str) -> Iterable[str]:
        """The characters."""
        return text

    @staticmethod
    def set_up(backend: tokenizers.Tokenizer) -> None:
        """Split everywhere, join without spaces."""
        backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Fuse()

    def encode_array(self, text: str) -> np.ndarray:
        """The ids of a long text (tokens,), int64; a table makes it fifty times as fast."""
        points = np.frombuffer(self.normalize(text).encode("utf-32-le", "surrogatepass"), np.uint32)
        return self._table[np.minimum(points, len(self._table) - 1)]


class WordTokenizer(_VocabTokenizer):
    """A token is what stands between white space."""

    kind = "word"

    @staticmethod
    def split(text: str) -> Iterable[str]:
        """The words."""
        return text.split()

    @staticmethod
    def set_up(backend: tokenizers.Tokenizer) -> None:
        """Split at white space; join with a space, as Hugging Face does without a decoder."""
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


TOKENIZERS: dict[str, type[Tokenizer]] = {
    cls.kind: cls for cls in (CharTokenizer, WordTokenizer, BPETokenizer, WordPieceTokenizer)
}
"""The kinds of tokens by name."""


def tokenizer_from_dict(state: dict[str, str]) -> Tokenizer:
    """The tokenizer that :meth:`Tokenizer.to_dict` saved.

    Raises:
        ValueError: If it is no such state.
    """
    check_choice("kind", state["kind"], TOKENIZERS)
    backend = tokenizers.Tokenizer.from_str(state["backend"])
    return TOKENIZERS[state["kind"]](backend, normalization=state["normalization"])
