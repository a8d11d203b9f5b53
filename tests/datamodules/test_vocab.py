"""The vocabulary: the methods of torchtext's, and where the book's differs."""

import pytest

from datamodules.interface.vocab import BOS_ID, EOS_ID, PAD_ID, PADDED_RESERVED, UNK_ID
from datamodules.text import Vocab, build_vocab_from_iterator


@pytest.fixture
def vocab() -> Vocab:
    return Vocab(["<unk>", "a", "b"], default_index=0)


def test_tokens_and_ids(vocab: Vocab) -> None:
    assert len(vocab) == 3
    assert list(vocab) == vocab.get_itos() == ["<unk>", "a", "b"]
    assert vocab.get_stoi() == {"<unk>": 0, "a": 1, "b": 2}
    assert vocab["b"] == 2
    assert vocab(["b", "a", "what"]) == vocab.lookup_indices(["b", "a", "what"]) == [2, 1, 0]
    assert vocab.lookup_tokens([2, 1]) == ["b", "a"]
    assert vocab.lookup_token(1) == "a"
    assert "a" in vocab
    assert "what" not in vocab
    assert repr(vocab) == "Vocab(3 tokens)"


def test_what_it_returns_cannot_change_it(vocab: Vocab) -> None:
    vocab.get_itos().append("c")
    vocab.get_stoi()["c"] = 3
    assert len(vocab) == 3
    assert "c" not in vocab


def test_without_a_default_an_unknown_token_is_an_error(vocab: Vocab) -> None:
    assert vocab.get_default_index() == 0
    vocab.set_default_index(2)
    assert vocab["what"] == 2
    vocab.set_default_index(None)
    with pytest.raises(KeyError, match="'what' is not among the 3 tokens"):
        vocab["what"]
    with pytest.raises(ValueError, match="default_index is 3, but must be in"):
        vocab.set_default_index(3)


@pytest.mark.parametrize("index", [-1, 3])
def test_no_token_has_an_id_out_of_range(vocab: Vocab, index: int) -> None:
    with pytest.raises(IndexError, match=f"index is {index}, but must be in"):
        vocab.lookup_tokens([index])


def test_append_and_insert(vocab: Vocab) -> None:
    vocab.append_token("c")
    assert vocab["c"] == 3
    vocab.insert_token("first", 0)
    assert vocab.get_itos() == ["first", "<unk>", "a", "b", "c"]
    assert vocab(["c", "what"]) == [4, 1]  # the default is still <unk>
    with pytest.raises(ValueError, match="'c' is a token already, with index 4"):
        vocab.append_token("c")
    with pytest.raises(ValueError, match="index is 6, but must be in"):
        vocab.insert_token("d", 6)


def test_equality(vocab: Vocab) -> None:
    assert vocab == Vocab(["<unk>", "a", "b"], default_index=0)
    assert vocab != Vocab(["<unk>", "b", "a"], default_index=0)
    assert vocab != Vocab(["<unk>", "a", "b"])


def test_a_token_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="tokens has 'a' twice"):
        Vocab(["a", "b", "a"])


def test_built_by_frequency_then_alphabet() -> None:
    vocab = build_vocab_from_iterator([["c", "b", "b"], ["a", "c", "b", "d"]])
    assert vocab.get_itos() == ["<unk>", "b", "c", "a", "d"]
    assert vocab.get_default_index() == UNK_ID


def test_min_freq_and_max_tokens() -> None:
    tokens = [list("aaabbc")]
    assert build_vocab_from_iterator(tokens, min_freq=2).get_itos() == ["<unk>", "a", "b"]
    assert build_vocab_from_iterator(tokens, max_tokens=2).get_itos() == ["<unk>", "a"]
    with pytest.raises(ValueError, match="min_freq is 0, but must be at least 1"):
        build_vocab_from_iterator(tokens, min_freq=0)
    with pytest.raises(ValueError, match="max_tokens is 1, but must be at least 2"):
        build_vocab_from_iterator(tokens, max_tokens=1, reserved_tokens=["<eos>"])


def test_reserved_tokens_come_first_and_need_not_occur() -> None:
    vocab = build_vocab_from_iterator([["a", "<eos>", "<unk>", "a"]], reserved_tokens=PADDED_RESERVED)
    assert vocab.get_itos() == ["<unk>", "<pad>", "<bos>", "<eos>", "a"]
    assert [vocab[t] for t in ("<pad>", "<bos>", "<eos>")] == [PAD_ID, BOS_ID, EOS_ID]


def test_q8_unk_has_id_0_whatever_sorts_before_it() -> None:
    """The book sorts the tokens, so that a space and '!' come before '<unk>'."""
    vocab = build_vocab_from_iterator([[" ", "!", "a"]])
    assert vocab["<unk>"] == vocab["what"] == 0


def test_q8_padding_exists_where_it_is_asked_for_alone() -> None:
    assert "<pad>" not in build_vocab_from_iterator([["a"]])


def test_erratum_5_one_id_in_a_list_is_looked_up() -> None:
    """The book's ``to_tokens([1])`` fails: it indexes a list with a list."""
    assert build_vocab_from_iterator([["a"]]).lookup_tokens([1]) == ["a"]
