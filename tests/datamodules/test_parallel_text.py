import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from datamodules import DataError, ParallelText
from datamodules.interface.batches import TranslationBatch
from datamodules.text.parallel import ParallelDataModule
from datamodules.text.parallel_corpus import (
    Pair,
    ParallelCorpus,
    Translations,
    group_by_source,
    read_pairs,
    split_groups,
)
from tests.datamodules.fixtures import parallel_text, sentence_pairs


class Given(ParallelDataModule):
    """Data of a given text."""

    def __init__(self, corpus: ParallelCorpus, **arguments: Any) -> None:
        super().__init__(**{"min_freq": 1, **arguments})
        self.given = corpus

    def read_corpus(self) -> ParallelCorpus:
        return self.given


CORPUS = ParallelCorpus(
    train=[Pair("Go.", "Va !"), Pair("I go.", "Je\u202fvais, va.")],
    val=[Translations("I go!", ["Va.", "Pars va pars."]), Translations("Go.", ["Va !"])],
    test=[Translations("Go go go go.", ["Va va va va va."])],
)


def whole(data: ParallelDataModule, split: str) -> TranslationBatch:
    """A split as one batch."""
    data.setup()
    return data.pairs[split].batch(torch.arange(len(data.pairs[split])))


def lists(batch: TranslationBatch) -> list[Any]:
    return [field.tolist() for field in batch]


# Batches


def test_ids_lengths_and_padding_of_training() -> None:
    """By frequency, then alphabet: source . go i; target va ! , . je vais; from 4 on."""
    source, source_length, target, target_length, references = lists(whole(Given(CORPUS), "train"))
    assert source == [[5, 4, 3, 1], [6, 5, 4, 3]]
    assert source_length == [3, 4]
    assert target == [[2, 4, 5, 3, 1, 1, 1], [2, 8, 9, 6, 4, 7, 3]]
    assert target_length == [4, 7]
    assert whole(Given(CORPUS), "train").references.shape == (2, 0, 0)
    assert references == [[], []]


def test_an_evaluated_source_has_its_first_translation_and_all_as_references() -> None:
    """``pars`` is not in the vocabulary of 10; ``!`` of the source is not either, and is <unk> there."""
    source, source_length, target, target_length, references = lists(whole(Given(CORPUS), "val"))
    assert source == [[6, 5, 0, 3], [5, 4, 3, 1]]
    assert source_length == [4, 3]
    assert target == [[2, 4, 7, 3], [2, 4, 5, 3]]
    assert target_length == [4, 4]
    assert references == [
        [[4, 7, -1, -1], [10, 4, 11, 7]],
        [[4, 5, -1, -1], [-1, -1, -1, -1]],
    ]


def test_a_batch_is_as_wide_as_its_own_longest() -> None:
    data = Given(CORPUS, batch_size=1)
    data.setup()
    batches = list(data.train_dataloader())
    assert sorted(tuple(batch.source.shape) for batch in batches) == [(1, 3), (1, 4)]
    first, second = data.val_dataloader()
    assert (first.references.shape, second.references.shape) == ((1, 2, 4), (1, 1, 2))


def test_tokens_are_stored_without_padding() -> None:
    data = Given(CORPUS)
    data.setup()
    target = data.pairs["train"].target
    assert target.values.dtype == torch.int32
    assert target.values.tolist() == [2, 4, 5, 3, 2, 8, 9, 6, 4, 7, 3]
    assert target.offsets.tolist() == [0, 4, 11]


def test_q7_trimmed_sentences_end_with_eos() -> None:
    """The book cuts behind the ``<eos>`` was added, so that long sentences have none."""
    data = Given(CORPUS, max_length=3)
    assert lists(whole(data, "train"))[:4] == [
        [[5, 4, 3], [6, 5, 3]],
        [3, 3],
        [[2, 4, 5, 3], [2, 8, 9, 3]],
        [4, 4],
    ]
    _, length, target, _, references = lists(whole(data, "test"))
    assert length == [3]
    assert target == [[2, 4, 4, 3]]
    assert references == [[[4, 4, 4, 4, 4, 7]]]  # what is to be reached is never cut


def test_erratum_16_vocabularies_are_of_the_training_pairs() -> None:
    data = Given(CORPUS)
    reserved = ["<unk>", "<pad>", "<bos>", "<eos>"]
    assert data.tokenizers["source"].vocab.get_itos() == [*reserved, ".", "go", "i"]
    assert data.tokenizers["target"].vocab.get_itos() == [*reserved, "va", "!", ",", ".", "je", "vais"]
    assert (data.source_vocab_size, data.target_vocab_size) == (7, 10)
    fewer = Given(CORPUS, min_freq=2)
    assert (fewer.source_vocab_size, fewer.target_vocab_size) == (6, 5)
    assert Given(CORPUS, max_vocab=5).target_vocab_size == 5


@pytest.mark.parametrize("tokens", ["char", "word", "bpe", "wordpiece"])
def test_tokens_of_each_kind_give_the_text_back(tokens: str) -> None:
    data = Given(CORPUS, tokens=tokens, max_vocab=300)
    batch = whole(data, "train")

    def plain(text: str) -> str:
        return text.replace(" ", "") if tokens == "wordpiece" else text  # which joins words and punctuation

    for i, (source, target) in enumerate([("go .", "va !"), ("i go .", "je vais , va .")]):
        ids = batch.source[i, : batch.source_length[i]].tolist()
        assert plain(data.tokenizers["source"].decode(ids[:-1])) == plain(source)
        assert ids[-1] == 3
        ids = batch.target[i, : batch.target_length[i]].tolist()
        assert plain(data.tokenizers["target"].decode(ids[1:-1])) == plain(target)
        assert (ids[0], ids[-1]) == (2, 3)
    first = whole(data, "val").references[0, 0]
    assert plain(data.tokenizers["target"].decode(first[first >= 0].tolist())) == plain("va .")


@pytest.mark.parametrize("tokens", ["char", "wordpiece"])
def test_unknown_pieces_of_references_match_nothing(tokens: str) -> None:
    data = Given(CORPUS, tokens=tokens, max_vocab=300)
    second = whole(data, "val").references[0, 1]
    assert (second >= data.target_vocab_size).any()
    assert (second != 0).all()


@pytest.mark.parametrize("tokens", ["char", "word", "bpe", "wordpiece"])
def test_reserved_words_of_a_text_mean_nothing(tokens: str) -> None:
    """Ids 1 to 3 stand only where the datamodule put them."""
    said = ParallelCorpus(
        train=[Pair("He said <pad> w1", "Il a dit <EOS> m1 <bos>"), *CORPUS.train],
        val=[Translations("<bos> go", ["va <pad> va", "<eos>"])],
        test=CORPUS.test,
    )
    data = Given(said, tokens=tokens, max_vocab=300)
    batch = whole(data, "train")
    assert not {1, 2, 3} & set(batch.source[0, : batch.source_length[0] - 1].tolist())
    assert not {1, 2, 3} & set(batch.target[0, 1 : batch.target_length[0] - 1].tolist())
    assert (batch.source[0, batch.source_length[0] - 1], batch.target[0, 0]) == (3, 2)
    assert not {0, 1, 2, 3} & set(whole(data, "val").references.flatten().tolist())


@pytest.mark.parametrize("tokens", ["bpe", "wordpiece"])
def test_too_few_subwords_are_refused_by_the_arguments_name(tokens: str) -> None:
    smallest = "260" if tokens == "bpe" else "9"  # 4 reserved, . g i o, ##o
    with pytest.raises(DataError, match=f"^max_vocab is 8, but must be at least {smallest} for ") as caught:
        Given(CORPUS, tokens=tokens, max_vocab=8).setup()
    assert "\n" not in str(caught.value)


def test_subwords_have_a_limit() -> None:
    assert Given(CORPUS, tokens="bpe").max_vocab == 8000
    assert Given(CORPUS, tokens="word").max_vocab is None


# Loaders


def lines(folder: Path, text: str, name: str = "pairs.tsv") -> str:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return str(folder / name)


def many(folder: Path, **arguments: Any) -> ParallelText:
    path = lines(folder, sentence_pairs(sources=400))
    return ParallelText(path=path, **{"batch_size": 4, "min_freq": 1, **arguments})


def ids(batch: TranslationBatch) -> list[tuple[list[int], list[int]]]:
    """The pairs of a batch without padding."""
    return [
        (source[:source_length].tolist(), target[:target_length].tolist())
        for source, source_length, target, target_length, _ in zip(*batch, strict=True)
    ]


def test_training_batches_have_similar_lengths_and_each_pair_once(tmp_path: Path) -> None:
    data = many(tmp_path)
    data.setup()
    batches = list(data.train_dataloader())
    everything = whole(data, "train")
    found = [pair for batch in batches for pair in ids(batch)]
    assert sorted(found) == sorted(ids(everything))
    assert len(set(map(str, found))) == len(found)
    padding = sum((b.target == 1).sum().item() for b in batches)
    assert padding / sum(b.target.numel() for b in batches) < 0.02
    assert (everything.target == 1).float().mean() > 0.2


def test_evaluation_is_in_the_order_of_the_file(tmp_path: Path) -> None:
    data = many(tmp_path)
    data.setup()
    decode = data.tokenizers["source"].decode
    numbers = [
        int(decode(row[: length - 2].tolist()).replace("yes", "1").replace("no", "0").replace(" ", ""), 2)
        for batch in data.test_dataloader()
        for row, length in zip(batch.source, batch.source_length, strict=True)
    ]
    assert len(numbers) == 40
    assert numbers == sorted(numbers)


def test_training_goes_on_within_an_epoch(tmp_path: Path) -> None:
    data, resumed = many(tmp_path), many(tmp_path)
    data.setup()
    loader = iter(data.train_dataloader())
    for _ in range(3):
        next(loader)
    resumed.load_state_dict(data.state_dict())
    resumed.setup()
    rest, expected = list(resumed.train_dataloader()), list(loader)
    assert len(rest) == len(expected) > 100
    for a, b in zip(rest, expected, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_processes_get_equal_shares(tmp_path: Path) -> None:
    shares = []
    for rank in range(2):
        data = many(tmp_path)
        data.setup()
        data.trainer = cast(Any, SimpleNamespace(global_rank=rank, world_size=2, overfit_batches=0))
        shares.append([pair for batch in data.train_dataloader() for pair in ids(batch)])
    assert len(shares[0]) == len(shares[1]) == len(data.pairs["train"]) // 2
    assert not set(map(str, shares[0])) & set(map(str, shares[1]))


# Splits


def test_translations_of_a_source_are_in_one_split(tmp_path: Path) -> None:
    text = "".join(
        f"Line {i}{mark}\t{translation} {i}\n"
        for translation in "abc"
        for i in range(50)
        for mark in (".", " .")
    )
    pairs = read_pairs(text.encode(), "pairs")
    groups = group_by_source(pairs, normalization="words")
    assert [len(group) for group in groups] == [3] * 50  # "Line 1." and "Line 1 ." are one
    corpus = split_groups(groups, tmp_path, val_fraction=0.1, test_fraction=0.2, seed=0)
    assert (len(corpus.train), len(corpus.val), len(corpus.test)) == (35 * 3, 5, 10)
    sources = [{example.source for example in split} for split in corpus]
    assert [len(split) for split in sources] == [35, 5, 10]
    assert len(set.union(*sources)) == 50
    for example in (*corpus.val, *corpus.test):
        number = example.source.removeprefix("Line ").removesuffix(".")
        assert example.targets == [f"a {number}", f"b {number}", f"c {number}"]
    other = split_groups(groups, tmp_path, val_fraction=0.1, test_fraction=0.2, seed=1)
    assert {example.source for example in other.test} != sources[2]


def test_equal_pairs_count_once() -> None:
    pairs = [Pair("Go.", "Va !"), Pair("go  .", "va!"), Pair("Go.", "Va."), Pair("go", "va")]
    assert group_by_source(pairs, normalization="words") == [[pairs[0], pairs[2]], [pairs[3]]]
    assert len(group_by_source(pairs, normalization="none")) == 3


def test_only_the_first_pairs(tmp_path: Path) -> None:
    text = "a\tb\nc\td\ne\tf\n" + "not read\n"
    data = ParallelText(path=lines(tmp_path, text), max_pairs=3)
    data.setup()
    assert sum(map(len, data.pairs.values())) == 3


# Reading


def test_line_ends_mark_and_empty_lines() -> None:
    content = "\ufeffGo.\tVa !\r\n\r\nHi.\tSalut\x85 !\r\n".encode()
    assert read_pairs(content, "x") == [Pair("Go.", "Va !"), Pair("Hi.", "Salut\x85 !")]


def test_columns_choose_the_sides() -> None:
    content = b"Go.\tVa !\tCC-BY\nHi.\tSalut !\tCC-BY\n"
    assert read_pairs(content, "x", columns=[1, 2])[1] == Pair("Hi.", "Salut !")
    assert read_pairs(content, "x", columns=[2, 1])[1] == Pair("Salut !", "Hi.")
    assert read_pairs(content, "x", columns=[1, 3])[1] == Pair("Hi.", "CC-BY")


def test_a_packed_file(tmp_path: Path) -> None:
    given = parallel_text(tmp_path)
    (tmp_path / "packed.tsv.gz").write_bytes(gzip.compress(Path(given["path"]).read_bytes()))
    plain, packed = ParallelText(**given), ParallelText(path=str(tmp_path / "packed.tsv.gz"))
    assert lists(whole(plain, "train")) == lists(whole(packed, "train"))


BAD_FILES = {
    "no tab": (b"Go.\tVa !\nHi.\n", r":2: has 1 column\(s\), but must have at least 2, with a tab between"),
    "three columns": (b"Go.\tVa !\tCC-BY\n", r":1: has 3 columns, but must have two.*columns=\[1, 2\] takes"),
    "empty source": (b"Go.\tVa !\n\tSalut\n", ":2: its source is empty"),
    "empty target": ("Go.\t\xa0\n".encode(), ":1: its target is empty"),
    "not UTF-8": (b"Go.\tVa !\nHi.\tAll\xe9\n", "is not UTF-8: byte 0xe9 at offset 16 begins no character"),
    "not UTF-8 behind a mark": (
        b"\xef\xbb\xbfGo.\tVa\xff\n",
        "byte 0xff at offset 9 begins no character",
    ),
    "empty": (b"", "holds no pairs"),
    "only empty lines": (b"\n\n", "holds no pairs"),
    "too few sources": (
        b"a\tb\na\tc\nd\te\n",
        "its 2 different source sentences leave none for the train split",
    ),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_file_is_refused_in_a_line_that_names_it(tmp_path: Path, bad: str) -> None:
    content, message = BAD_FILES[bad]
    (tmp_path / "pairs.tsv").write_bytes(content)
    with pytest.raises(DataError, match=f"^{tmp_path / 'pairs.tsv'}.*{message}") as caught:
        ParallelText(path=str(tmp_path / "pairs.tsv")).setup()
    assert "\n" not in str(caught.value)


def test_a_line_without_the_chosen_column_is_named() -> None:
    with pytest.raises(DataError, match=r"^x:2: has 2 column\(s\), but must have at least 3"):
        read_pairs(b"a\tb\tc\nd\te\n", "x", columns=[1, 3])


def test_a_sentence_of_nothing_but_what_is_normalised_away_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path, "Go.\t42\nHi.\tSalut\nRun!\tCours\n")
    with pytest.raises(DataError, match=":1: its target is empty after the normalization letters"):
        ParallelText(path=path, normalization="letters").setup()


BAD_ARGUMENTS = {
    "tokens": ("words", "tokens is 'words', but must be one of .*did you mean word"),
    "normalization": ("upper", "normalization is 'upper', but must be one of"),
    "min_freq": (0, "min_freq is 0, but must be at least 1"),
    "max_vocab": (4, "max_vocab is 4, but must be at least 5"),
    "max_length": (1, "max_length is 1, but must be at least 2"),
    "max_pairs": (2, "max_pairs is 2, but must be at least 3"),
    "columns": ([1, 1], r"columns is \[1, 1\], but must be two different numbers, at least 1"),
    "val_fraction": (0, "val_fraction is 0, but must be positive"),
    "test_fraction": (0.99, r"val_fraction \+ test_fraction is .*, but must be below 1"),
    "batch_size": (0, "batch_size is 0, but must be at least 1"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_are_named(name: str) -> None:
    value, message = BAD_ARGUMENTS[name]
    with pytest.raises(ValueError, match=message):
        ParallelText(**{"path": "pairs.tsv", name: value})


@pytest.mark.parametrize("columns", [[1], [0, 1], [1, 2, 3]])
def test_columns_are_two_numbers_from_one_on(columns: list[int]) -> None:
    with pytest.raises(ValueError, match="but must be two different numbers, at least 1"):
        ParallelText(path="pairs.tsv", columns=columns)


# Checkpoints


def trained(folder: Path) -> dict[str, Any]:
    data = Given(CORPUS)
    data.setup()
    data.train_dataloader()
    return data.state_dict()


OTHER = ParallelCorpus(
    train=[Pair("Stop.", "Stop !")],
    val=[Translations("I go!", ["Va."])],
    test=[Translations("Go.", ["Va !"])],
)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_checkpoints_tokens_are_used_on_other_text(tmp_path: Path, when: str) -> None:
    data = Given(OTHER)
    if when == "after":
        data.setup()
        assert data.source_vocab_size == 6
    data.load_state_dict(trained(tmp_path))
    assert (data.source_vocab_size, data.target_vocab_size) == (7, 10)
    assert lists(whole(data, "val"))[:3] == [[[6, 5, 0, 3]], [4], [[2, 4, 7, 3]]]
    assert lists(whole(data, "train"))[0] == [[0, 4, 3]]


def test_sizes_are_those_of_the_checkpoint_without_any_file(tmp_path: Path) -> None:
    data = ParallelText(path=str(tmp_path / "absent.tsv"))
    data.load_state_dict(trained(tmp_path))
    assert (data.source_vocab_size, data.target_vocab_size) == (7, 10)
    with pytest.raises(DataError, match=r"absent.tsv: there is no such file"):
        data.setup()


@pytest.mark.parametrize(("name", "value"), [("tokens", "char"), ("normalization", "lower")])
def test_a_checkpoint_of_other_tokens_is_refused(tmp_path: Path, name: str, value: str) -> None:
    data = Given(CORPUS, **{name: value})
    with pytest.raises(
        DataError, match=f"^the source text: {name} is '{value}', but the checkpoint was trained with '"
    ):
        data.load_state_dict(trained(tmp_path))


def test_state_before_anything_is_read_is_empty() -> None:
    assert Given(CORPUS).state_dict() == {}
