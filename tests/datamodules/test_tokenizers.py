"""Tokenizers: ids and back, what is unknown, and that they come back as they were saved."""

import json
import string
from typing import Any

import numpy as np
import pytest

from datamodules.interface.vocab import PADDED_RESERVED
from datamodules.text import (
    TOKENIZERS,
    CharTokenizer,
    Tokenizer,
    WordTokenizer,
    normalize,
    tokenizer_from_dict,
)

TEXT = [
    "The time machine, by H. G. Wells.\n",
    "The time traveller smiled; the time machine did not.\n",
    "Times are timely, the machines are not. \u00c9t\u00e9 \U0001f600!\n",
] * 4


def make(kind: str, **settings: Any) -> Tokenizer:
    size = 400 if kind in ("bpe", "wordpiece") else None
    return TOKENIZERS[kind].train(TEXT, **{"vocab_size": size, **settings})


# Normalisation


def test_letters_are_the_books() -> None:
    assert (
        normalize("The Time Machine,\n by H. G. Wells [1898]", "letters") == "the time machine by h g wells "
    )


def test_words_are_the_books() -> None:
    assert normalize("Va\u202f! Oui, \xa0non.Si !,", "words") == "va ! oui ,  non .si ! ,"


def test_lower_and_none() -> None:
    assert normalize("\u00c9T\u00c9!", "lower") == "\u00e9t\u00e9!"
    assert normalize("\u00c9T\u00c9!", "none") == "\u00c9T\u00c9!"


# Every kind


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_ids_are_those_of_the_vocabulary(kind: str) -> None:
    tokenizer = make(kind)
    text = "the time traveller did"
    ids = tokenizer.encode(text)
    assert ids
    assert tokenizer.vocab.lookup_tokens(ids) == tokenizer.tokenize(text)
    assert 0 not in ids
    assert len(tokenizer) == len(tokenizer.vocab)
    assert tokenizer.vocab["<unk>"] == 0
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("normalization", ["none", "letters"])
def test_a_long_text_has_the_same_ids(kind: str, normalization: str) -> None:
    tokenizer = make(kind, normalization=normalization)
    text = "".join(TEXT) + " and what is not known: \u00fc \U0001f680\uffff"
    ids = tokenizer.encode_array(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == tokenizer.encode(text)
    assert tokenizer.encode_array("").tolist() == tokenizer.encode("") == []


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_saved_as_plain_values(kind: str) -> None:
    tokenizer = make(kind, normalization="lower", reserved_tokens=PADDED_RESERVED)
    state = json.loads(json.dumps(tokenizer.to_dict()))
    again = tokenizer_from_dict(state)
    assert again == tokenizer
    assert (again.kind, again.normalization) == (kind, "lower")
    assert again.vocab == tokenizer.vocab
    assert again.encode(TEXT[2]) == tokenizer.encode(TEXT[2])
    assert tokenizer != make(kind, normalization="none", reserved_tokens=PADDED_RESERVED)
    assert tokenizer != make(kind, normalization="lower")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_reserved_tokens_follow_unk(kind: str) -> None:
    tokenizer = make(kind, reserved_tokens=PADDED_RESERVED)
    assert tokenizer.vocab.lookup_tokens([0, 1, 2, 3]) == ["<unk>", *PADDED_RESERVED]
    assert not {1, 2, 3} & set(tokenizer.encode("".join(TEXT)))
    assert "<pad>" not in make(kind).vocab


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_reserved_tokens_in_a_text_are_unknown(kind: str) -> None:
    tokenizer = make(kind, reserved_tokens=PADDED_RESERVED, normalization="lower")
    text = "the <PAD> time <eos> <bos> <unk> machine"
    ids = tokenizer.encode(text)
    assert ids.count(0) == 4
    assert not {1, 2, 3} & set(ids)
    assert tokenizer.encode_array(text).tolist() == ids
    assert tokenizer.unknown("the <PAD> time <eos> <PAD>") == ["<pad>", "<eos>"]
    assert tokenizer_from_dict(tokenizer.to_dict()).encode(text) == ids
    assert "<eos>" in tokenizer.decode([3])  # which a model may say


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_a_reserved_token_that_no_padding_needs_is_part_of_the_text(kind: str) -> None:
    tokenizer = make(kind, reserved_tokens=("<eos>",))
    assert tokenizer.encode("<eos>") == [1]
    assert tokenizer.unknown("<eos>") == []


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_hugging_face_reads_the_saved_file_alike(kind: str) -> None:
    tokenizer = make(kind)
    text = "the time traveller did"
    assert list(tokenizer.backend.encode(text).ids) == tokenizer.encode(text)
    assert tokenizer.backend.decode(tokenizer.encode(text)) == text


def test_an_unknown_kind_or_normalization_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind is 'words', but must be one of .*did you mean word"):
        tokenizer_from_dict({**make("word").to_dict(), "kind": "words"})
    with pytest.raises(ValueError, match="normalization is 'upper', but must be one of"):
        make("char", normalization="upper")
    with pytest.raises(ValueError, match="normalization is 'upper', but must be one of"):
        make("bpe", normalization="upper")


# Each kind


def test_characters() -> None:
    tokenizer = CharTokenizer.train(["abba", "c"])
    assert tokenizer.vocab.get_itos() == ["<unk>", "a", "b", "c"]
    assert tokenizer.encode("cab?") == [3, 1, 2, 0]
    assert tokenizer.unknown("ab?!?") == ["?", "!"]
    assert tokenizer.decode([1, 2, 0]) == "ab<unk>"


def test_letters_of_the_book_make_27_and_unk() -> None:
    tokenizer = CharTokenizer.train([string.ascii_letters + " 1898!"], normalization="letters")
    assert len(tokenizer) == 28
    assert set(tokenizer.vocab) == {"<unk>", " ", *string.ascii_lowercase}


def test_words() -> None:
    tokenizer = WordTokenizer.train(["b a\tb\n", " c  b a"], min_freq=2)
    assert tokenizer.vocab.get_itos() == ["<unk>", "b", "a"]
    assert tokenizer.tokenize("a c b") == ["a", "<unk>", "b"]
    assert tokenizer.unknown("x a y x") == ["x", "y"]
    assert tokenizer.decode([1, 2]) == "b a"


def test_the_size_of_a_vocabulary_is_limited() -> None:
    assert make("word", vocab_size=5).vocab.lookup_tokens([0, 1]) == ["<unk>", "time"]
    assert len(make("word", vocab_size=5)) == 5
    assert len(make("bpe", vocab_size=270)) == 270
    assert len(make("wordpiece", vocab_size=60)) == 60


def test_byte_pairs_know_every_text_and_lose_nothing() -> None:
    tokenizer = make("bpe")
    text = "  Not seen: \u65e5\u672c\u8a9e \U0001f680\r\n\t\x00"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert 0 not in tokenizer.encode(text)
    assert tokenizer.unknown(text) == []
    assert len(tokenizer.encode("time")) < len("time")  # merges were learned
    assert len(make("bpe", vocab_size=257)) == 257  # <unk> and a token for each byte, no merges


def test_word_pieces() -> None:
    tokenizer = make("wordpiece", normalization="lower")
    assert any(token.startswith("##") for token in tokenizer.vocab)
    assert tokenizer.unknown("the \u65e5\u672c time xyz \u65e5\u672c") == ["\u65e5\u672c", "xyz"]
    assert tokenizer.tokenize("the xyz") == ["the", "<unk>"]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_subwords_need_a_size_that_holds_the_characters(kind: str) -> None:
    with pytest.raises(ValueError, match="vocab_size is None, but must be a number"):
        make(kind, vocab_size=None)
    with pytest.raises(ValueError, match="vocab_size is 5, but must be at least"):
        make(kind, vocab_size=5)
