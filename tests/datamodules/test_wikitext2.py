"""WikiText-2: the official numbers, the ends of lines, and what to do without the training text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules import DataError, WikiText2, _download
from datamodules.text import wikitext2 as wikitext2_file
from tests.datamodules.fixtures import wikitext2, wikitext2_members, zipped


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(_download, "_check", lambda path, file: None)
    return {**wikitext2(tmp_path), "num_steps": 4}


def test_words_and_ends_of_lines(tiny: dict[str, Any]) -> None:
    data = WikiText2(**tiny)
    assert data.vocab_size == 32  # the fixture's 30 words
    assert data.vocab.lookup_tokens([0, 1]) == ["<unk>", "<eos>"]
    data.prepare_data()
    data.setup()
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        text = wikitext2_members()[f"wiki.{name}.tokens"].decode()
        words = [word for line in text.splitlines() for word in [*line.split(), "<eos>"]]
        assert data.vocab.lookup_tokens(data.corpus[split].tolist()) == words


def test_streams_are_read_one_after_the_other(tiny: dict[str, Any]) -> None:
    data = WikiText2(**tiny, batch_size=2)
    data.setup()
    *batches, rest = data.val_dataloader()
    assert rest.tokens.shape[0] == 1  # of the end of the second stream
    assert rest.tokens.shape[1] < 4
    assert [bool(batch.continues.all()) for batch in batches] == [False] + [True] * (len(batches) - 1)
    stream = np.concatenate([batch.tokens[0].numpy() for batch in batches])
    assert np.array_equal(stream, data.corpus["val"][: len(stream)])


def test_the_real_validation_and_test_texts(shared_data: Path) -> None:
    data = WikiText2(data_dir=str(shared_data), train_split="valid")
    data.prepare_data()  # checks the files' hashes
    data.setup()
    lengths = {split: len(ids) for split, ids in data.corpus.items()}
    assert lengths["test"] == 245_569  # Merity et al., with the ends of lines
    assert lengths["train"] + lengths["val"] == 217_646
    assert lengths["val"] / 217_646 == pytest.approx(0.1, abs=0.02)
    assert data.corpus["train"][-1] == data.vocab["<eos>"]  # cut between two lines
    words = data.vocab.lookup_tokens(data.corpus["val"][:6].tolist())
    assert words == ["=", "<unk>", "<unk>", "reaction", "=", "<eos>"]  # the title of an article
    assert data.vocab["<unk>"] == 0
    assert "<pad>" not in data.vocab
    assert (data.corpus["val"] == 0).any()


def test_no_article_is_in_two_splits(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first title behind nine tenths begins the validation text; headings of sections do not."""
    article = " = {0} = \n \n word {0} \n \n = = Section = = \n \n more {0} \n \n = = = Part = = = \n \n "
    text = "".join(f" \n{article.format(f'n{i}')}\n" for i in range(20))
    files = {"wiki.valid.tokens": text.encode(), "wiki.test.tokens": b"word \n"}
    monkeypatch.setattr(wikitext2_file, "read_members", lambda places, names: files)
    texts = WikiText2(**tiny, train_split="valid")._read_texts()
    assert texts["train"] + texts["val"] == text.replace("\n", " <eos> ")
    assert texts["val"].startswith(" = n19 = ") or texts["val"].startswith(" = n18 = ")
    articles = [{word for word in texts[split].split() if word[0] == "n"} for split in ("train", "val")]
    assert not articles[0] & articles[1]
    assert len(articles[0]) + len(articles[1]) == 20


def test_without_the_training_text_there_is_a_way(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"holds no wiki\.train\.tokens; give train_split: valid") as caught:
        WikiText2(data_dir=str(shared_data)).prepare_data()
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="train_split is 'validation', but must be one of train, valid"):
        WikiText2(train_split="validation")


def test_damaged_texts_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "wikitext-2"
    folder.mkdir()
    packed = zipped(wikitext2_members(), folder="wikitext-2")
    (folder / "wikitext-2-valid-test.zip").write_bytes(packed)
    with pytest.raises(DataError, match=r"wiki\.valid\.tokens in it has the wrong content"):
        WikiText2(data_dir=str(tmp_path), train_split="valid").prepare_data()
    (folder / "wikitext-2-v1.zip").write_bytes(packed)
    with pytest.raises(DataError, match="has the wrong content: its SHA-1"):
        WikiText2(data_dir=str(tmp_path)).prepare_data()
