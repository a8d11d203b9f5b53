"""The tokenizer of a datamodule: made of its text with its arguments, or brought by a checkpoint."""

from collections.abc import Iterable, Sequence

from datamodules.interface.errors import DataError
from datamodules.interface.tokenizers import TOKENIZERS, Tokenizer, VocabTooSmallError, tokenizer_from_dict

__all__ = ["SUBWORDS", "saved_tokenizer", "train_tokenizer", "vocab_limit"]

SUBWORDS = 8000
"""Entries of a vocabulary of subwords for which no number was given."""


def vocab_limit(tokens: str, max_vocab: int | None) -> int | None:
    """Highest number of entries of a vocabulary: subwords have one in any case, :data:`SUBWORDS`."""
    return SUBWORDS if tokens in ("bpe", "wordpiece") and max_vocab is None else max_vocab


def train_tokenizer(
    texts: Iterable[str],
    *,
    tokens: str,
    normalization: str,
    min_freq: int,
    max_vocab: int | None,
    reserved_tokens: Sequence[str] = (),
) -> Tokenizer:
    """Make the vocabulary of a text.

    Args:
        texts: Pieces of the text.
        tokens: Kind of the tokens.
        normalization: What is done to the text first.
        min_freq: How often a token (for subwords: a merged pair) must occur.
        max_vocab: Highest number of entries, as a datamodule takes it.
        reserved_tokens: Tokens that follow ``<unk>``.

    Raises:
        DataError: If ``max_vocab`` leaves no room for the single characters that subwords begin with.
    """
    try:
        return TOKENIZERS[tokens].train(
            texts,
            normalization=normalization,
            reserved_tokens=reserved_tokens,
            min_freq=min_freq,
            vocab_size=vocab_limit(tokens, max_vocab),
        )
    except VocabTooSmallError as error:
        raise DataError(
            f"max_vocab is {max_vocab}, but must be at least {error.smallest} for tokens: {tokens}, which "
            "begin with the single characters of the text"
        ) from error


def saved_tokenizer(state: dict[str, str], *, tokens: str, normalization: str, source: str) -> Tokenizer:
    """The tokenizer that a checkpoint brings.

    Args:
        state: What :meth:`~datamodules.interface.tokenizers.Tokenizer.to_dict` saved.
        tokens: Kind of the tokens that the datamodule was asked for.
        normalization: Likewise.
        source: What to call the text in an error.

    Raises:
        DataError: If the tokenizer is of another kind.
    """
    tokenizer = tokenizer_from_dict(state)
    for name, ours, theirs in (
        ("tokens", tokens, tokenizer.kind),
        ("normalization", normalization, tokenizer.normalization),
    ):
        if ours != theirs:
            raise DataError(
                f"{source}: {name} is {ours!r}, but the checkpoint was trained with {theirs!r}; give "
                f"{name}: {theirs}"
            )
    return tokenizer
