"""What all tokenizers have in common: text to ids and back, over Hugging Face ``tokenizers``."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import tokenizers

from datamodules.interface.checks import check_choice
from datamodules.interface.vocab import PADDED_RESERVED, UNK_ID, Vocab

__all__ = ["NORMALIZATIONS", "Tokenizer", "normalize"]

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
    """What all tokenizers have in common; see :data:`~datamodules.interface.tokenizers.TOKENIZERS`.

    ``<pad>``, ``<bos>`` and ``<eos>`` of a vocabulary for padded sequences mean no part of a text. Where they
    are written in one they are read as ``<unk>``, so that no text can end a sentence or hide from the loss.

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
        self.vocab = Vocab(sorted(stoi, key=stoi.__getitem__), default_index=UNK_ID)
        padded = range(1, 1 + len(PADDED_RESERVED))
        reserved = tuple(self.vocab.get_itos()[1 : padded.stop]) == PADDED_RESERVED
        self._in_no_text = padded if reserved else range(0)  # ids

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
        """The ids of a text's tokens; none of ``<pad>``, ``<bos>`` and ``<eos>`` where there is padding."""
        ids, hidden = self._ids(self.normalize(text)), self._in_no_text
        return [UNK_ID if i in hidden else i for i in ids] if hidden else ids

    def _ids(self, normal: str) -> list[int]:
        """The ids of what stands in a normalised text, whatever it means."""
        return list(self.backend.encode(normal, add_special_tokens=False).ids)

    def encode_array(self, text: str) -> np.ndarray:
        """The ids of a long text (tokens,), int64."""
        return np.array(self.encode(text), np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, reserved tokens and all."""
        return str(self.backend.decode([int(i) for i in ids], skip_special_tokens=False))

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """What in a text is not in the vocabulary, each once, in order."""

    def to_dict(self) -> dict[str, str]:
        """Plain values, from which :func:`tokenizer_from_dict` makes an equal one."""
        return {
            "kind": self.kind,
            "normalization": self.normalization,
            "backend": self.backend.to_str(),
        }
