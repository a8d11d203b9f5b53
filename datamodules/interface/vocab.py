"""The vocabulary: tokens and their ids, with the method names of torchtext's ``Vocab`` (section 9.2.3)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from datamodules.interface.checks import check_at_least

__all__ = [
    "BOS",
    "BOS_ID",
    "EOS",
    "EOS_ID",
    "PAD",
    "PADDED_RESERVED",
    "PAD_ID",
    "UNK",
    "UNK_ID",
    "Vocab",
    "build_vocab_from_iterator",
]

UNK, PAD, BOS, EOS = "<unk>", "<pad>", "<bos>", "<eos>"
PADDED_RESERVED = (PAD, BOS, EOS)
"""Reserved tokens of a vocabulary whose sequences are padded; their ids are these, wherever they exist."""
UNK_ID, PAD_ID, BOS_ID, EOS_ID = range(4)


class Vocab:
    """Tokens and their ids; what moved over from torchtext finds its methods here.

    Args:
        tokens: The tokens in the order of their ids, each once.
        default_index: Id of tokens that are not there; None makes them an error.

    Raises:
        ValueError: If a token occurs twice, or ``default_index`` is no id.
    """

    def __init__(self, tokens: Iterable[str], *, default_index: int | None = None) -> None:
        self._itos = list(tokens)
        self._stoi = {token: index for index, token in enumerate(self._itos)}
        if len(self._stoi) < len(self._itos):
            double = next(token for token, count in Counter(self._itos).items() if count > 1)
            raise ValueError(f"tokens has {double!r} twice, but must have each token once")
        self._default_index: int | None = None
        self.set_default_index(default_index)

    def __len__(self) -> int:
        return len(self._itos)

    def __contains__(self, token: object) -> bool:
        return token in self._stoi

    def __iter__(self) -> Iterator[str]:
        return iter(self._itos)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vocab)
            and self._itos == other._itos
            and self._default_index == other._default_index
        )

    def __repr__(self) -> str:
        return f"Vocab({len(self)} tokens)"

    def __getitem__(self, token: str) -> int:
        index = self._stoi.get(token, self._default_index)
        if index is None:
            raise KeyError(
                f"{token!r} is not among the {len(self)} tokens, and there is no default index; see "
                "set_default_index()"
            )
        return index

    def __call__(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens; the same as :meth:`lookup_indices`."""
        return self.lookup_indices(tokens)

    def lookup_indices(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens.

        Raises:
            KeyError: If one is not there and there is no default index.
        """
        return [self[token] for token in tokens]

    def lookup_token(self, index: int) -> str:
        """The token of an id.

        Raises:
            IndexError: If it is not in [0, len).
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index is {index}, but must be in [0, {len(self)})")
        return self._itos[index]

    def lookup_tokens(self, indices: Sequence[int]) -> list[str]:
        """The tokens of ids; the book's ``to_tokens``."""
        return [self.lookup_token(int(index)) for index in indices]

    def get_itos(self) -> list[str]:
        """The tokens in the order of their ids."""
        return list(self._itos)

    def get_stoi(self) -> dict[str, int]:
        """The id of each token."""
        return dict(self._stoi)

    def get_default_index(self) -> int | None:
        """Id of tokens that are not there; None if they are an error."""
        return self._default_index

    def set_default_index(self, index: int | None) -> None:
        """Choose the id of tokens that are not there; None makes them an error.

        Raises:
            ValueError: If it is no id.
        """
        if index is not None and not 0 <= index < len(self):
            raise ValueError(f"default_index is {index}, but must be in [0, {len(self)})")
        self._default_index = index

    def append_token(self, token: str) -> None:
        """Add a token with the next id.

        Raises:
            ValueError: If it is there already.
        """
        self.insert_token(token, len(self))

    def insert_token(self, token: str, index: int) -> None:
        """Add a token with this id; those from there on move up by one, the default index with its token.

        Raises:
            ValueError: If the token is there already, or the id is not in [0, len].
        """
        if token in self._stoi:
            raise ValueError(f"{token!r} is a token already, with index {self._stoi[token]}")
        if not 0 <= index <= len(self):
            raise ValueError(f"index is {index}, but must be in [0, {len(self)}]")
        self._itos.insert(index, token)
        self._stoi = {token: i for i, token in enumerate(self._itos)}
        if self._default_index is not None and self._default_index >= index:
            self._default_index += 1


def build_vocab_from_iterator(
    iterator: Iterable[Iterable[str]],
    *,
    min_freq: int = 1,
    reserved_tokens: Sequence[str] = (),
    max_tokens: int | None = None,
) -> Vocab:
    """A vocabulary of the tokens that occur often enough.

    ``<unk>`` has id 0 and stands for every token that is not there; reserved tokens follow in their order,
    then the others, the most frequent first and of equals the alphabetically first.

    Args:
        iterator: Sequences of tokens.
        min_freq: How often a token must occur, at least 1.
        reserved_tokens: Tokens that are there in any case, such as :data:`PADDED_RESERVED`.
        max_tokens: Highest number of entries, ``<unk>`` and the reserved ones included; None for no limit.

    Raises:
        ValueError: If ``min_freq`` is below 1, or ``max_tokens`` leaves no room for the first entries.
    """
    check_at_least("min_freq", min_freq, 1)
    first = [UNK, *reserved_tokens]
    if max_tokens is not None:
        check_at_least("max_tokens", max_tokens, len(first))
    counter: Counter[str] = Counter()
    for tokens in iterator:
        counter.update(tokens)
    for token in first:
        counter.pop(token, None)
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    tokens = [*first, *(token for token, count in ordered if count >= min_freq)]
    return Vocab(tokens[:max_tokens], default_index=0)
