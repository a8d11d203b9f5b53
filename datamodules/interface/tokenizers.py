"""Tokenizers: text to ids and back, over Hugging Face ``tokenizers``, behind one interface (section 9.2).

A tokenizer is saved as plain values with the checkpoint, so that a trained model reads and writes text with
no data at hand.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from datamodules.interface.checks import check_at_least, check_choice
from datamodules.interface.vocab import UNK, Vocab, build_vocab_from_iterator

__all__ = [
    "NORMALIZATIONS",
    "TOKENIZERS",
    "BPETokenizer",
    "CharTokenizer",
    "Tokenizer",
    "WordPieceTokenizer",
    "WordTokenizer",
    "normalize",
    "tokenizer_from_dict",
]

NORMALIZATIONS = {
    "none": "the text as it is",
    "lower": "lower case",
    "letters": "lower case a to z, and one space for whatever lies between (section 9.2.1)",
    "words": "lower case, no-break spaces as spaces, and a space before each of , . ! ? (section 10.5.2)",
}


def normalize(text: str, normalization: str) -> str:
    """The text as its tokens see it; ``normalization`` is one of :data:`NORMALIZATIONS`.

    The text before and the text after a line's end are normalised alike together and apart, but for the
    spaces of ``letters`` where they meet.
    """
    if normalization == "letters":
        return re.sub("[^A-Za-z]+", " ", text).lower()
    if normalization == "words":
        text = text.replace("\u202f", " ").replace("\xa0", " ").lower()
        return re.sub(r"(?<=[^ ])([,.!?])", r" \1", text)
    return text.lower() if normalization == "lower" else text


class Tokenizer(ABC):
    """What all tokenizers have in common; see :data:`TOKENIZERS` for the kinds.

    Args:
        backend: The tokenizer of Hugging Face, whose ids are those of the vocabulary.
        normalization: What is done to a text first, one of :data:`NORMALIZATIONS`.

    Attributes:
        kind: The name of the kind.
        vocab: The vocabulary: ``<unk>`` has id 0.
        backend: The tokenizer of Hugging Face; ``backend.save(path)`` writes its ``tokenizer.json``.
    """

    kind: ClassVar[str]

    def __init__(self, backend: tokenizers.Tokenizer, *, normalization: str = "none") -> None:
        check_choice("normalization", normalization, NORMALIZATIONS)
        self.backend = backend
        self.normalization = normalization
        stoi = backend.get_vocab(with_added_tokens=True)
        self.vocab = Vocab(sorted(stoi, key=stoi.__getitem__), default_index=0)

    @classmethod
    @abstractmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        normalization: str = "none",
        reserved_tokens: Sequence[str] = (),
        min_freq: int = 1,
        vocab_size: int | None = None,
    ) -> "Tokenizer":
        """Make the vocabulary of a text.

        Args:
            texts: Pieces of the text, such as its lines.
            normalization: What is done to a text first, one of :data:`NORMALIZATIONS`.
            reserved_tokens: Tokens that follow ``<unk>`` in the vocabulary, whether they occur or not.
            min_freq: How often a token (for BPE and WordPiece: a merged pair) must occur, at least 1.
            vocab_size: Highest number of entries; None for no limit, which BPE and WordPiece do not have.

        Raises:
            ValueError: If an argument is out of its range.
        """

    def __len__(self) -> int:
        return len(self.vocab)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.to_dict() == other.to_dict()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens, normalization={self.normalization!r})"

    def normalize(self, text: str) -> str:
        """The text as its tokens see it."""
        return normalize(text, self.normalization)

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text; what is not in the vocabulary is ``<unk>``."""
        return self.vocab.lookup_tokens(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """The ids of a text's tokens."""
        return list(self.backend.encode(self.normalize(text), add_special_tokens=False).ids)

    def encode_array(self, text: str) -> np.ndarray:
        """The ids of a long text (tokens,), int64."""
        return np.array(self.encode(text), np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, reserved tokens and all."""
        return str(self.backend.decode([int(i) for i in ids], skip_special_tokens=False))

    def unknown(self, text: str) -> list[str]:
        """What in a text is not in the vocabulary, each once, in order; BPE knows everything."""
        return []

    def to_dict(self) -> dict[str, str]:
        """Plain values, from which :func:`tokenizer_from_dict` makes an equal one."""
        return {
            "kind": self.kind,
            "normalization": self.normalization,
            "backend": self.backend.to_str(),
        }


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

    def encode(self, text: str) -> list[int]:
        """The ids of a text's tokens."""
        return self.vocab.lookup_indices(list(self.split(self.normalize(text))))

    def unknown(self, text: str) -> list[str]:
        """What in a text is not in the vocabulary, each once, in order."""
        return [t for t in dict.fromkeys(self.split(self.normalize(text))) if t not in self.vocab]


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
        """Learn the merges of a text; as in :meth:`Tokenizer.train`."""
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_at_least("min_freq", min_freq, 1)
        if vocab_size is None:
            raise ValueError(f"vocab_size is None, but must be a number for the tokens {cls.kind}")
        specials = [UNK, *reserved_tokens]
        backend = cls.untrained()
        trainer = cls.trainer(vocab_size=vocab_size, min_frequency=min_freq, special_tokens=specials)
        backend.train_from_iterator((normalize(text, normalization) for text in texts), trainer)
        if len(backend.get_vocab()) > vocab_size:
            raise ValueError(
                f"vocab_size is {vocab_size}, but must be at least {len(backend.get_vocab())} for the tokens "
                f"{cls.kind}, which begin with the single characters"
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


class BPETokenizer(_SubwordTokenizer):
    """Byte pair encoding of the text's bytes, as in GPT-2: no text is unknown, and decoding loses nothing."""

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

    def unknown(self, text: str) -> list[str]:
        """The words of a text that have no pieces, each once, in order."""
        normal = self.normalize(text)
        encoding = self.backend.encode(normal, add_special_tokens=False)
        spans = [span for span, token in zip(encoding.offsets, encoding.ids, strict=True) if token == 0]
        return list(dict.fromkeys(normal[start:end] for start, end in spans))


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
