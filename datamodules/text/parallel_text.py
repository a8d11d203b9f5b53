"""Sentence pairs of your own, in a table (section 10.5)."""

from pathlib import Path

from datamodules._download import read_file
from datamodules._registry import register
from datamodules.base import BatchSize
from datamodules.interface.checks import check_at_least, check_held_out
from datamodules.interface.errors import DataError
from datamodules.text.parallel import ParallelDataModule
from datamodules.text.parallel_corpus import ParallelCorpus, group_by_source, read_pairs, split_groups

__all__ = ["ParallelText"]


@register(
    task="translation",
    config="rnn/seq2seq_parallel.yaml",
    tiny={"batch_size": 4, "min_freq": 1, "val_fraction": 0.2, "test_fraction": 0.2},
)
class ParallelText(ParallelDataModule):
    """Sentence pairs of any two languages: a line is a sentence, a tab and its translation, in UTF-8.

    The split is random, by source sentence: all translations of a sentence are in one split, since with some
    of them in training the test would ask for what was learnt. Sentences that are equal after normalisation
    are one, and of equal pairs only the first counts.

    Exports of Tatoeba (manythings.org/anki) have a third column with the authors; ``columns=[1, 2]`` passes
    it over, and ``columns=[2, 1]`` translates the other way.

    Args:
        path: The file; with the suffix ``.gz`` it is unpacked while reading.
        columns: Numbers of the columns of source and target, from 1 on; None if there are only these two.
        max_pairs: Read only the first pairs of the file; None reads all.
        val_fraction: Share of the source sentences held out for validation, in (0, 1).
        test_fraction: Share of the source sentences held out for the test, in (0, 1).
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
        path: str,
        columns: list[int] | None = None,
        max_pairs: int | None = None,
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
        if columns is not None and (len(columns) != 2 or columns[0] == columns[1] or min(columns) < 1):
            raise ValueError(f"columns is {columns!r}, but must be two different numbers, at least 1")
        if max_pairs is not None:
            check_at_least("max_pairs", max_pairs, 3)
        check_held_out(val_fraction, test_fraction)
        self.path = path
        self.columns = columns
        self.max_pairs = max_pairs
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction

    def read_corpus(self) -> ParallelCorpus:
        """Read, group and split."""
        path = Path(self.path)
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        content = bytes(read_file([path]))
        pairs = read_pairs(
            content,
            str(path),
            columns=self.columns,
            max_pairs=self.max_pairs,
            normalization=self.normalization,
        )
        return split_groups(
            group_by_source(pairs, normalization=self.normalization),
            path,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
        )
