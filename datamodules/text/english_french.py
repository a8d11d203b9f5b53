"""English sentences and their French translations from Tatoeba (section 10.5)."""

from itertools import accumulate
from pathlib import Path

from datamodules._download import RemoteFile, get_file, read_members
from datamodules._registry import register
from datamodules.base import BatchSize, default_data_dir
from datamodules.interface.checks import check_at_least, check_choice, check_held_out
from datamodules.interface.errors import DataError
from datamodules.text.parallel import ParallelDataModule
from datamodules.text.parallel_corpus import (
    Pair,
    ParallelCorpus,
    group_by_source,
    read_pairs,
    split_groups,
    translations,
)

__all__ = ["EnglishFrench"]

ARCHIVE = RemoteFile(
    name="fra-eng.zip",
    sha1="94646ad1522d915e7b0f9296181140edcf86a4f5",
    urls=(
        "http://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip",
        "https://d2l-data.s3.amazonaws.com/fra-eng.zip",
    ),
)
MEMBER = "fra-eng/fra.txt"
BOOK_SIZES = (512, 128, 128)


@register(
    task="translation",
    book=("D09",),
    config="rnn/seq2seq_eng_fra.yaml",
    tiny={"batch_size": 4, "min_freq": 1, "val_fraction": 0.2, "test_fraction": 0.2},
)
class EnglishFrench(ParallelDataModule):
    """English-French sentence pairs of Tatoeba: 167,130, the shortest first (section 10.5).

    Many sentences have several translations. The split is therefore random by English sentence
    (``grouped``): all translations of a sentence are in one split. Of the first 20,000 pairs, about 17,500
    are trained on, 500 are those of the sentences held out for validation, and 2,000 of those for the test.

    ``split: book`` trains on the first 512 pairs, as the book does, validates on the next 128 and tests on
    the 128 after them, without sentences that came before. Since the file is sorted by length, these are of
    longer sentences than those trained on. The book also cuts sentences to nine tokens: ``max_length: 9``.

    Args:
        data_dir: Folder that has, or will have, the archive in ``fra-eng/``; None is ``$ZOO_DATA_DIR``, else
            ``data``.
        split: ``grouped`` or ``book``.
        max_pairs: Use only the first pairs of the file; None uses all. Not used by ``book``.
        val_fraction: Share of the English sentences held out for validation, in (0, 1); not used by ``book``.
        test_fraction: Share of the English sentences held out for the test, in (0, 1); not used by ``book``.
        tokens: What a token is, in both languages: ``word``, ``char``, ``bpe`` or ``wordpiece``.
        normalization: What is done to a sentence first: ``words`` (lower case, punctuation apart), ``lower``,
            ``letters`` or ``none``.
        min_freq: How often a token (for bpe and wordpiece: a merged pair) must occur in the training pairs of
            its language, at least 1.
        max_vocab: Highest number of entries of each vocabulary, at least 5; None for no limit, or for 8,000
            with bpe and wordpiece. bpe needs at least 260, wordpiece some for each character.
        max_length: Highest number of tokens of a sentence with its ``<eos>``, at least 2; what is longer is
            cut before the ``<eos>``. None cuts nothing.
        batch_size: Pairs in a batch on each device, or ``full``.
        seed: Seed of the split and of the training order.
    """

    def __init__(
        self,
        *,
        data_dir: str | None = None,
        split: str = "grouped",
        max_pairs: int | None = 20_000,
        val_fraction: float = 0.025,
        test_fraction: float = 0.1,
        tokens: str = "word",
        normalization: str = "words",
        min_freq: int = 2,
        max_vocab: int | None = None,
        max_length: int | None = None,
        batch_size: BatchSize = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            normalization=normalization,
            min_freq=min_freq,
            max_vocab=max_vocab,
            max_length=max_length,
            batch_size=batch_size,
            seed=seed,
        )
        check_choice("split", split, ("grouped", "book"))
        if max_pairs is not None:
            check_at_least("max_pairs", max_pairs, 3)
        check_held_out(val_fraction, test_fraction)
        self.data_dir = data_dir
        self.split = split
        self.max_pairs = max_pairs
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction

    @property
    def file(self) -> Path:
        """Where the archive lies."""
        return Path(self.data_dir or default_data_dir()) / "fra-eng" / ARCHIVE.name

    def prepare_data(self) -> None:
        """Get the archive."""
        get_file(ARCHIVE, [self.file])

    def read_corpus(self) -> ParallelCorpus:
        """Read and split."""
        book = self.split == "book"
        content = read_members([self.file], [MEMBER])[MEMBER]
        pairs = read_pairs(
            content,
            f"{self.file}: {MEMBER}",
            max_pairs=sum(BOOK_SIZES) if book else self.max_pairs,
            normalization=self.normalization,
        )
        if book:
            return self._book_corpus(pairs)
        return split_groups(
            group_by_source(pairs, normalization=self.normalization),
            self.file,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
        )

    def _book_corpus(self, pairs: list[Pair]) -> ParallelCorpus:
        if len(pairs) < sum(BOOK_SIZES):
            raise DataError(f"{self.file}: has {len(pairs)} pairs, but split: book needs {sum(BOOK_SIZES)}")
        groups: list[list[list[Pair]]] = []
        for end in accumulate(BOOK_SIZES):
            known = sum(map(len, groups))
            groups.append(group_by_source(pairs[:end], normalization=self.normalization)[known:])
        return ParallelCorpus(
            train=pairs[: BOOK_SIZES[0]],
            val=[translations(group) for group in groups[1]],
            test=[translations(group) for group in groups[2]],
        )
