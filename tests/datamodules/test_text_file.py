"""Any text file: where it is cut, what it takes, long files in a cache, and what is wrong with bad ones."""

import json
import os
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from datamodules import DataError, TextFile
from datamodules.interface.tokenizers import TOKENIZERS, normalize
from datamodules.text import cache, reading, text_file
from datamodules.text.reading import find_blocks, find_cut, read_pieces
from tests.datamodules.fixtures import letters
from zoo import RNNLM
from zoo.tasks.text import TokenizerError

KINDS = [
    (tokens, normalization)
    for tokens in TOKENIZERS
    for normalization in ("none", "lower", "letters", "words")
]

# Everything that could go wrong at a cut: characters of one to four bytes, a sigma that is written
# differently at the end of a word, runs of white space and of other characters, CRLF, quotes.
HARD = (
    "\u039f\u0394\u039f\u03a3 \u039f\u0394\u039f\u03a3! Na\u00efve,  caf\u00e9 \u65e5\u672c\u8a9e\t"
    "\U0001f600\U0001f680 don't ... 3,14 x\r\n\n\n  Indented; 'quoted', and-dashed\u2014words\u202f!\xa0?"
    "\u3000wide  end.\n"
)


@pytest.mark.parametrize(("tokens", "normalization"), KINDS)
@pytest.mark.parametrize("chunk", [1, 3, 7, 50])
def test_pieces_have_the_tokens_of_the_whole(
    tokens: str, normalization: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", chunk)
    path, text = tmp_path / "hard.txt", HARD * 3
    path.write_bytes(text.encode())
    size = 300 if tokens in ("bpe", "wordpiece") else None
    tokenizer = TOKENIZERS[tokens].train([text], normalization=normalization, vocab_size=size)
    cut = find_cut(tokens, normalization)
    blocks = find_blocks(path, (0.3, 0.31, 0.7), cut)
    assert [start for start, _ in blocks[1:]] == [end for _, end in blocks[:-1]]
    assert (blocks[0][0], blocks[-1][1]) == (0, len(text.encode()))
    pieces = [piece for block in blocks for piece in read_pieces(path, block, cut)]
    assert "".join(pieces) == text
    assert [i for piece in pieces for i in tokenizer.encode(piece)] == tokenizer.encode(text)
    if chunk == 1:
        assert len(pieces) > 10


def test_blocks_begin_where_a_token_begins(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("aaaa bbbb cccc dddd", encoding="utf-8")
    for tokens, wanted in (("word", [(0, 9), (9, 19)]), ("char", [(0, 7), (7, 19)])):
        assert find_blocks(path, (0.35,), find_cut(tokens, "none")) == wanted


def test_a_byte_order_mark_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"ab" * 50)
    data = TextFile(path=str(path), num_steps=2)
    assert data.vocab.get_itos() == ["<unk>", "a", "b"]
    data.setup()
    assert sum(map(len, data.corpus.values())) == 100


# The splits


def make(path: Path, **settings: Any) -> TextFile:
    data = TextFile(path=str(path), **{"num_steps": 4, **settings})
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(letters(size=2000) + "\u00df" * 40, encoding="utf-8")
    return path


def test_three_blocks_in_order(path: Path) -> None:
    data = make(path, val_fraction=0.1, test_fraction=0.2)
    size = path.stat().st_size
    assert [len(ids) for ids in data.corpus.values()][:2] == [
        int(0.7 * size),
        int(0.8 * size) - int(0.7 * size),
    ]
    known = data.tokenizers["text"].decode(np.concatenate(list(data.corpus.values())).tolist())
    assert known == letters(size=2000) + "<unk>" * 40


def test_the_vocabulary_is_that_of_the_training_block(path: Path) -> None:
    data = make(path)
    assert data.vocab_size == 28
    assert "\u00df" not in data.vocab
    assert (data.corpus["test"][-40:] == 0).all()
    assert data.corpus["train"].min() > 0


def test_ids_are_stored_in_the_smallest_type(tmp_path: Path) -> None:
    for entries, dtype in ((255, np.uint8), (256, np.uint16), (70_000, np.uint32)):
        path = tmp_path / "words.txt"
        words = " ".join(f"w{i}" for i in range(entries))
        path.write_text(f"{words} {words[: len(words) // 5]}", encoding="utf-8")
        data = make(path, tokens="word", val_fraction=0.07, test_fraction=0.06)
        assert data.vocab_size == entries + 1
        assert data.corpus["train"].dtype == dtype
        assert data.corpus["train"].max() == entries


def test_min_freq_and_max_vocab(path: Path) -> None:
    assert make(path, max_vocab=5).vocab_size == 5
    assert make(path, min_freq=1000).vocab_size == 1
    assert make(path, tokens="bpe", max_vocab=300).vocab_size == 300


@pytest.mark.parametrize("tokens", ["bpe", "wordpiece"])
def test_too_few_subwords_are_refused_by_the_arguments_name(path: Path, tokens: str) -> None:
    smallest = 257 if tokens == "bpe" else 53  # <unk>, 26 letters that begin a word, 26 that continue one
    with pytest.raises(DataError, match=f"^max_vocab is 9, but must be at least {smallest} for ") as caught:
        make(path, tokens=tokens, max_vocab=9)
    assert "\n" not in str(caught.value)
    assert make(path, tokens=tokens, max_vocab=smallest).vocab_size == smallest


# Long files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every file is a long one, and this is the cache."""
    monkeypatch.setattr(text_file, "MAPPED_FROM", 0)
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("tokens", "normalization"), [("char", "letters"), ("word", "none"), ("bpe", "lower")]
)
def test_a_long_file_has_the_ids_of_a_short_one(
    path: Path, folder: Path, tokens: str, normalization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"tokens": tokens, "normalization": normalization, "max_vocab": 300}
    settings |= {"val_fraction": 0.1, "test_fraction": 0.1, "seed": 3}
    long = make(path, **settings)
    assert len(list(folder.glob("*.tokens"))) == 1
    monkeypatch.setattr(text_file, "MAPPED_FROM", 1 << 30)
    short = make(path, **settings)
    assert long.tokenizers == short.tokenizers
    for split in ("train", "val", "test"):
        assert np.array_equal(long.corpus[split], short.corpus[split])
        assert long.corpus[split].dtype == short.corpus[split].dtype
    for a, b in zip(long.train_dataloader(), short.train_dataloader(), strict=True):
        assert a.tokens.equal(b.tokens)


def test_a_long_file_is_encoded_once(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TextFile(path=str(path), num_steps=4)
    assert data.vocab_size == 28  # before setup: prepare_data ran
    monkeypatch.setattr(cache, "_write", lambda *_: pytest.fail("encoded again"))
    assert make(path).vocab_size == 28
    (ids,) = folder.glob("*.tokens")
    assert ids.stat().st_size == 2040
    assert {file.suffix for file in folder.iterdir()} == {".tokens", ".json", ".lock"}


CHANGES: dict[str, Any] = {
    "tokens": "bpe",
    "normalization": "letters",
    "min_freq": 1000,
    "max_vocab": 5,
    "val_fraction": 0.2,
    "test_fraction": 0.2,
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_are_encoded_anew(
    path: Path, folder: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path)
    found = make(path, **{change: CHANGES[change]})
    assert len(list(folder.glob("*.tokens"))) == 2
    monkeypatch.setattr(text_file, "MAPPED_FROM", 1 << 30)
    wanted = make(path, **{change: CHANGES[change]})
    assert found.tokenizers == wanted.tokenizers
    for split in ("train", "val", "test"):
        assert np.array_equal(found.corpus[split], wanted.corpus[split])


@pytest.mark.parametrize("change", ["path", "size", "modified"])
def test_another_text_is_encoded_anew(path: Path, folder: Path, change: str) -> None:
    stat = path.stat()
    make(path)
    text = path.read_text("utf-8").replace("a", "b")
    other = path.with_name("other.txt") if change == "path" else path
    other.write_text(text + "b" * (change == "size"), encoding="utf-8")
    os.utime(other, ns=(0, stat.st_mtime_ns + (change == "modified")))
    assert "a" not in make(other).vocab
    assert len(list(folder.glob("*.tokens"))) == 2


def test_what_broke_off_leaves_nothing(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 64)
    content = bytearray(path.read_bytes())
    content[1000] = 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not UTF-8"):
        make(path)
    assert not [file for file in folder.iterdir() if file.suffix != ".lock"]


def test_ids_without_their_description_are_not_used(path: Path, folder: Path) -> None:
    make(path)
    (about,) = folder.glob("*.json")
    lengths = json.loads(about.read_text())["lengths"]
    about.unlink()  # as if the process had been killed before it was written
    next(folder.glob("*.tokens")).write_bytes(b"\xff" * 10)
    assert {split: len(ids) for split, ids in make(path).corpus.items()} == lengths


@pytest.mark.parametrize("suffix", [".tokens", ".json"])
@pytest.mark.parametrize("damage", ["deleted", "empty"])
def test_either_file_may_be_deleted(path: Path, folder: Path, suffix: str, damage: str) -> None:
    ids = {split: np.array(mapped) for split, mapped in make(path).corpus.items()}
    (file,) = folder.glob(f"*{suffix}")
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(b"")
    for split, again in make(path).corpus.items():
        assert np.array_equal(again, ids[split])


def test_a_long_file_without_tokens(path: Path, folder: Path) -> None:
    path.write_text(" \n" * 50, encoding="utf-8")
    with pytest.raises(DataError, match="the train split has 0 tokens, but must have at least 5"):
        make(path, tokens="word")


def test_another_file_is_tested_on_with_a_checkpoint(path: Path, tmp_path: Path) -> None:
    """As the docstring says; without it the ids of the other file would be others."""
    data = make(path)
    settings: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_steps=1, accelerator="cpu", limit_val_batches=0, **settings)
    trainer.fit(RNNLM(vocab_size=data.vocab_size, hidden_size=4), datamodule=data)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    other = tmp_path / "other.txt"
    other.write_text("\u00e4b " * 100, encoding="utf-8")
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    model = RNNLM.load_from_checkpoint(tmp_path / "one.ckpt", weights_only=True)
    fresh = TextFile(path=str(other), num_steps=4)
    with pytest.raises(TokenizerError, match="choose the data that the model was trained on"):
        L.Trainer(accelerator="cpu", **settings).test(model, fresh, verbose=False)
    fresh = TextFile(path=str(other), num_steps=4)
    fresh.load_state_dict(checkpoint["TextFile"])
    L.Trainer(accelerator="cpu", **settings).test(model, fresh, verbose=False)
    assert fresh.tokenizers == data.tokenizers


def test_another_file_is_encoded_with_a_checkpoints_tokenizer(
    path: Path, folder: Path, tmp_path: Path
) -> None:
    trained = make(path)
    other = tmp_path / "other.txt"
    other.write_text("\u00e4b " * 100, encoding="utf-8")
    data = TextFile(path=str(other), num_steps=4)
    data.load_state_dict(trained.state_dict())
    data.prepare_data()
    data.setup()
    assert data.tokenizers == trained.tokenizers
    assert data.tokenizers["text"].decode(data.corpus["train"][:3].tolist()) == "<unk>b "
    assert make(other).vocab_size == 4  # its own: the ids of the checkpoint's tokenizer are another file
    again = TextFile(path=str(path), num_steps=4)
    again.load_state_dict(trained.state_dict())
    again.prepare_data()
    assert len(list(folder.glob("*.tokens"))) == 3  # the file's own tokenizer needs no second one


def test_the_cache_must_be_written(path: Path, folder: Path) -> None:
    folder.write_text("a file in its place")
    with pytest.raises(DataError, match=r"cache: cannot be written .* \$ZOO_CACHE_DIR") as caught:
        make(path)
    assert "\n" not in str(caught.value)


def test_setup_of_a_long_file_needs_its_ids(path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="is not encoded yet"):
        TextFile(path=str(path)).setup()
    data = make(path)
    next(folder.glob("*.tokens")).unlink()
    data.corpus = {}
    with pytest.raises(DataError, match="is missing"):
        data.setup()


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "d2l-zoo"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "d2l-zoo"
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "own"))
    assert cache.cache_folder() == tmp_path / "own"


# Bad input


@pytest.mark.parametrize("position", [0, 5, 500, 999])
@pytest.mark.parametrize("chunk", [5, 1 << 18])  # 5 parts characters
def test_a_file_that_is_not_utf8_names_the_byte(
    tmp_path: Path, position: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", chunk)
    path = tmp_path / "latin.txt"
    content = bytearray("\u00e9 a".encode() * 250)
    content[position] = 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"latin.txt: is not UTF-8: byte 0x\w\w at offset (\d+) ") as caught:
        make(path)
    offset = int(str(caught.value).split("offset ")[1].split()[0])
    with pytest.raises(UnicodeDecodeError) as expected:
        content.decode()
    assert offset == expected.value.start


def test_a_character_that_is_cut_off_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(b"ab " * 30 + "\u20ac".encode()[:2])
    with pytest.raises(DataError, match="byte 0xe2 at offset 90"):
        make(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, but must have text in it"),
        (b"\xef\xbb\xbf", "is empty, but must have text in it"),
        (b"abc", "the train split has 3 tokens, but must have at least 5"),
        (b"ab " * 20, "the val split has 3 tokens, but must have at least 5"),
    ],
)
def test_a_file_without_enough_text(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        make(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: there is no such file"):
        make(tmp_path / "none.txt")
    with pytest.raises(DataError, match="cannot be read"):
        make(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"val_fraction": 0}, {"test_fraction": 1}, {"val_fraction": 0.5, "test_fraction": 0.5}]
)
def test_bad_fractions(path: Path, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"fraction.* is .*, but must be"):
        TextFile(path=str(path), **settings)


def test_normalised_text_is_what_is_counted(path: Path) -> None:
    data = make(path, normalization="letters")
    assert sum(map(len, data.corpus.values())) == len(normalize(path.read_text("utf-8"), "letters"))
