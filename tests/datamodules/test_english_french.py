import zipfile
from pathlib import Path

import pytest

from datamodules import DataError, EnglishFrench
from datamodules.interface.tokenizers import normalize
from datamodules.interface.vocab import build_vocab_from_iterator
from datamodules.text.english_french import MEMBER
from datamodules.text.parallel_corpus import Pair, read_pairs
from tests.datamodules.fixtures import english_french, zipped


@pytest.fixture
def archive(shared_data: Path) -> Path:
    return shared_data / "fra-eng" / "fra-eng.zip"


def pairs_of(archive: Path, count: int) -> list[Pair]:
    with zipfile.ZipFile(archive) as packed, packed.open(MEMBER) as file:
        return read_pairs(b"".join(file.readline() for _ in range(count)), "fra.txt")


def test_q7_pairs_are_as_many_as_asked(shared_data: Path, archive: Path) -> None:
    """The book reads one pair more than it asks for, 641; with those its vocabularies are of 194 and 214."""
    sizes = []
    for side in range(2):
        rows = []
        for pair in pairs_of(archive, 641):
            words = [*normalize(pair[side], "words").split(), "<eos>"][:9]
            rows.append((["<bos>"] if side else []) + words + ["<pad>"] * (9 - len(words)))
        sizes.append(len(build_vocab_from_iterator(rows, min_freq=2)))
    assert sizes == [194, 214]
    data = EnglishFrench(data_dir=str(shared_data), split="book", max_length=9)
    data.prepare_data()
    data.setup()
    assert len(data.pairs["train"]) == 512
    assert len(EnglishFrench(data_dir=str(shared_data), max_pairs=640).read_corpus().train) < 640


def test_split_of_the_book(shared_data: Path, archive: Path) -> None:
    corpus = EnglishFrench(data_dir=str(shared_data), split="book").read_corpus()
    pairs = pairs_of(archive, 768)
    assert corpus.train == pairs[:512]
    seen = {normalize(pair.source, "words") for pair in corpus.train}
    for split, part in ((corpus.val, pairs[512:640]), (corpus.test, pairs[640:])):
        new = {normalize(pair.source, "words") for pair in part} - seen
        assert {normalize(example.source, "words") for example in split} == new
        assert len(split) == len(new)
        assert {target for example in split for target in example.targets} <= {pair.target for pair in part}
        seen |= new


def test_erratum_16_words_of_validation_are_unknown(shared_data: Path, archive: Path) -> None:
    data = EnglishFrench(data_dir=str(shared_data), split="book", max_length=9)
    counts = dict.fromkeys(data.tokenizers["source"].vocab, 0)
    for pair in pairs_of(archive, 512):
        for word in normalize(pair.source, "words").split():
            counts[word] = counts.get(word, 0) + 1
    frequent = {word for word, count in counts.items() if count >= 2}
    assert set(data.tokenizers["source"].vocab) == {"<unk>", "<pad>", "<bos>", "<eos>"} | frequent
    assert data.source_vocab_size < 194
    assert data.target_vocab_size < 214


def test_sentences_of_the_books_validation_are_longer(shared_data: Path) -> None:
    corpus = EnglishFrench(data_dir=str(shared_data), split="book").read_corpus()
    longest = max(len(pair.source) for pair in corpus.train)
    assert min(len(example.source) for example in corpus.val) >= longest


def test_grouped_split_of_the_first_20_000_pairs(shared_data: Path, archive: Path) -> None:
    corpus = EnglishFrench(data_dir=str(shared_data)).read_corpus()

    def plain(text: str) -> str:
        return " ".join(normalize(text, "words").split())

    pairs = {(plain(pair.source), plain(pair.target)) for pair in pairs_of(archive, 20_000)}
    sources = {source for source, _ in pairs}
    assert (len(corpus.val), len(corpus.test)) == (round(0.025 * len(sources)), round(0.1 * len(sources)))
    train = {(plain(pair.source), plain(pair.target)) for pair in corpus.train}
    held_out = [
        {(plain(example.source), plain(target)) for example in split for target in example.targets}
        for split in (corpus.val, corpus.test)
    ]
    assert train | held_out[0] | held_out[1] == pairs
    assert len(corpus.train) + len(held_out[0]) + len(held_out[1]) == len(pairs)
    names = [{source for source, _ in split} for split in (train, *held_out)]
    assert sum(map(len, names)) == len(sources)
    assert abs(len(corpus.train) - 17_500) < 100
    assert abs(len(held_out[0]) - 500) < 50
    assert abs(len(held_out[1]) - 2_000) < 100


def test_too_few_pairs_for_the_book(tmp_path: Path) -> None:
    data = EnglishFrench(**english_french(tmp_path), split="book")
    with pytest.raises(DataError, match=r"fra-eng.zip: has 30 pairs, but split: book needs 768"):
        data.setup()


def test_a_bad_line_is_named_with_archive_and_member(tmp_path: Path) -> None:
    (tmp_path / "fra-eng").mkdir()
    path = tmp_path / "fra-eng" / "fra-eng.zip"
    path.write_bytes(zipped({"fra.txt": b"Go.\tVa !\nHi.\n"}, folder="fra-eng"))
    with pytest.raises(DataError, match=rf"^{path}: fra-eng/fra.txt:2: has 1 column"):
        EnglishFrench(data_dir=str(tmp_path)).setup()


def test_an_archive_without_the_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "fra-eng").mkdir()
    path = tmp_path / "fra-eng" / "fra-eng.zip"
    path.write_bytes(zipped({"deu.txt": b"Go.\tGeh\n"}, folder="fra-eng"))
    with pytest.raises(DataError, match=rf"^{path} is not complete: it holds no fra-eng/fra.txt"):
        EnglishFrench(data_dir=str(tmp_path)).setup()


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split is 'random', but must be one of grouped, book"):
        EnglishFrench(split="random")
