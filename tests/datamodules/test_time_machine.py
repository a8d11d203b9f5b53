"""The Time Machine: the numbers of the book, splits without a common token, tokenizers in checkpoints."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import DataError, TimeMachine
from datamodules.interface.tokenizers import normalize
from tests.datamodules.fixtures import time_machine


def real(shared_data: Path, **settings: Any) -> TimeMachine:
    data = TimeMachine(data_dir=str(shared_data), **settings)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def text(shared_data: Path) -> str:
    """What the book calls the corpus."""
    return normalize((shared_data / "timemachine" / "timemachine.txt").read_text("utf-8"), "letters")


def test_q8_the_books_vocabulary_with_unk_at_0(shared_data: Path, text: str) -> None:
    """As many entries as the book's, 28; there, ``<unk>`` has id 1 and the space 0."""
    data = TimeMachine(data_dir=str(shared_data))
    assert len(text) == 173_428
    assert data.vocab_size == 28
    assert set(data.vocab) == {"<unk>", *text}
    assert data.vocab["<unk>"] == 0
    assert data.vocab.lookup_tokens([1, 2, 3]) == [" ", "e", "t"]  # the most frequent first


def test_the_books_split(shared_data: Path, text: str) -> None:
    data = real(shared_data)
    sizes = {split: len(getattr(data, f"{split}_dataloader")()) for split in ("train", "val", "test")}
    assert sizes == {"train": 10, "val": 5, "test": 5}  # batches of 1,024
    batches = list(data.train_dataloader())
    assert batches[0].tokens.shape == batches[0].label.shape == (1024, 32)
    assert sum(len(batch.tokens) for batch in batches) == 10_000
    first = next(iter(data.val_dataloader()))
    decoded = data.tokenizers["text"].decode(first.tokens[0].tolist())
    assert decoded == text[10_032:10_064]  # behind the 10,000 + 32 characters of the training windows
    assert data.corpus["train"].dtype == np.uint8


def test_erratum_16_windows_of_the_time_machine_share_no_token(shared_data: Path) -> None:
    """The book's windows 10,000 to 10,031 are validation, and begin with characters that were trained on."""
    data = real(shared_data)
    whole = np.concatenate([data.corpus[split] for split in ("train", "val", "test")])
    assert [len(data.corpus[split]) for split in ("train", "val", "test")] == [10_032, 5_032, 5_032]
    everything = TimeMachine(data_dir=str(shared_data), num_train=20_096 - 32, num_val=1, num_test=1)
    everything.setup()
    assert np.array_equal(everything.corpus["train"], whole)  # one after the other, none twice


def test_blocks_are_the_whole_text(shared_data: Path, text: str) -> None:
    data = real(shared_data, split="blocks")
    lengths = [len(ids) for ids in data.corpus.values()]
    assert sum(lengths) == len(text)
    assert np.allclose(np.array(lengths) / len(text), [0.9, 0.05, 0.05], atol=2e-3)
    decoded = "".join(data.tokenizers["text"].decode(ids.tolist()) for ids in data.corpus.values())
    assert decoded == text


@pytest.mark.parametrize("tokens", ["word", "bpe", "wordpiece"])
def test_other_tokens(shared_data: Path, text: str, tokens: str) -> None:
    data = real(shared_data, split="blocks", tokens=tokens, max_vocab=2000)
    assert data.vocab_size == 2000
    ids = np.concatenate(list(data.corpus.values()))
    if tokens == "bpe":
        assert data.tokenizers["text"].decode(ids.tolist()) == text
    else:
        words = text.split()
        assert (len(ids) == len(words)) == (tokens == "word")
        assert data.tokenizers["text"].decode(ids[:3].tolist()).split()[0] == words[0]
    assert data.corpus["train"].dtype == np.uint16


def test_a_saved_tokenizer_is_used_instead_of_another(tmp_path: Path) -> None:
    given = {**time_machine(tmp_path), "num_train": 20, "num_val": 7, "num_test": 9, "num_steps": 4}
    trained = TimeMachine(**given)
    trained.setup()
    state = trained.state_dict()
    (tmp_path / "timemachine" / "timemachine.txt").write_text("zz yy a b c" * 20, encoding="utf-8")
    other = TimeMachine(**given)
    other.load_state_dict(state)
    assert other.tokenizers == trained.tokenizers
    assert other.vocab_size == trained.vocab_size
    other.setup()
    assert other.tokenizers["text"].decode(other.corpus["train"][:6].tolist()) == "zz yy "
    fresh = TimeMachine(**given)
    fresh.setup()
    assert fresh.tokenizers != trained.tokenizers


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    given = time_machine(tmp_path)
    trained = TimeMachine(**given, num_train=9, num_val=9, num_test=9, num_steps=4)
    trained.setup()
    with pytest.raises(DataError, match="tokens is 'word', but the checkpoint was trained with 'char'"):
        TimeMachine(**given, tokens="word").load_state_dict(trained.state_dict())
    with pytest.raises(DataError, match=r"normalization is 'none', but the checkpoint .* with 'letters'"):
        TimeMachine(**given, normalization="none").load_state_dict(trained.state_dict())


def test_training_goes_on_within_an_epoch(tmp_path: Path) -> None:
    given = {**time_machine(tmp_path), "num_train": 20, "num_val": 7, "num_test": 9, "num_steps": 4}
    first = TimeMachine(**given, batch_size=3)
    first.setup()
    batches = iter(first.train_dataloader())
    for _ in range(2):
        next(batches)
    state = first.state_dict()
    second = TimeMachine(**given, batch_size=3)
    second.load_state_dict(state)
    second.setup()
    rest = list(batches)
    for a, b in zip(rest, list(second.train_dataloader()), strict=True):
        assert torch.equal(a.tokens, b.tokens)
    assert len(rest) == 5


def test_partitions(tmp_path: Path) -> None:
    given = {**time_machine(tmp_path), "num_train": 20, "num_val": 7, "num_test": 9, "num_steps": 4}
    windows = {}
    for partition in ("sliding", "random", "sequential"):
        data = TimeMachine(**given, partition=partition, batch_size=2)
        data.setup()
        batches = list(data.train_dataloader())
        windows[partition] = sum(len(batch.tokens) for batch in batches)
        assert any(batch.continues.any() for batch in batches) == (partition == "sequential")
        # Of the 11 characters of the validation text: two windows side by side leave two of them.
        targets = sum(batch.label.numel() for batch in data.val_dataloader())
        assert targets == (7 * 4 if partition == "sliding" else 10)
    # Of 24 characters: behind any offset there are five windows, of which two streams take four.
    assert windows == {"sliding": 20, "random": 5, "sequential": 4}


def test_a_text_too_short_for_the_windows_asked_for(tmp_path: Path) -> None:
    given = time_machine(tmp_path)
    with pytest.raises(DataError, match=r"has 60 tokens, but num_train, num_val and num_test .* 20096"):
        TimeMachine(**given).setup()
    with pytest.raises(DataError, match="the val split has 5 tokens, but must have at least 33"):
        TimeMachine(**given, split="blocks").setup()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "blcks"}, "split is 'blcks', but must be one of book, blocks; did you mean blocks?"),
        ({"tokens": "chr"}, "tokens is 'chr', but must be one of"),
        ({"normalization": "letter"}, "normalization is 'letter', but must be one of"),
        ({"partition": "slide"}, "partition is 'slide', but must be one of"),
        ({"num_steps": 0}, "num_steps is 0, but must be at least 1"),
        ({"num_train": 0}, "num_train is 0, but must be at least 1"),
        ({"min_freq": 0}, "min_freq is 0, but must be at least 1"),
        ({"max_vocab": 1}, "max_vocab is 1, but must be at least 2"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
    ],
)
def test_bad_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TimeMachine(**settings)
