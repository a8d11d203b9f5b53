"""Text of sentence pairs: reading a table of them, and splitting it by source sentence."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from datamodules.interface.errors import DataError, not_utf8
from datamodules.interface.tokenizers import normalize

__all__ = [
    "Pair",
    "ParallelCorpus",
    "Translations",
    "group_by_source",
    "read_pairs",
    "split_groups",
    "translations",
]


class Pair(NamedTuple):
    """A sentence and its translation, as text.

    Attributes:
        source: The sentence.
        target: Its translation.
    """

    source: str
    target: str


class Translations(NamedTuple):
    """A sentence and all its translations, as text.

    Attributes:
        source: The sentence.
        targets: Its translations, at least one.
    """

    source: str
    targets: list[str]


class ParallelCorpus(NamedTuple):
    """The text of the three splits.

    Attributes:
        train: Every pair is an example.
        val: Every source is an example.
        test: Likewise.
    """

    train: list[Pair]
    val: list[Translations]
    test: list[Translations]


def read_pairs(
    content: bytes,
    name: str,
    *,
    columns: Sequence[int] | None = None,
    max_pairs: int | None = None,
    normalization: str = "none",
) -> list[Pair]:
    """Pairs out of a table with tabs between its columns, a pair a line; empty lines are passed over.

    Args:
        content: The file's content, in UTF-8.
        name: What to call it in an error.
        columns: Numbers of the columns of the source and of the target, from 1 on; None if there are only
            these two.
        max_pairs: Read only the first pairs; None reads all.
        normalization: What is done to a sentence later, of which something must be left then.

    Raises:
        DataError: If it is not UTF-8, if a line has other columns or an empty sentence, or if there are no
            pairs.
    """
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(not_utf8(name, content[error.start], error.start)) from error
    source, target = (1, 2) if columns is None else columns
    pairs: list[Pair] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if len(pairs) == max_pairs:
            break
        line = line.removesuffix("\r")
        if not line:
            continue
        cells = line.split("\t")
        if columns is None and len(cells) > 2:
            raise DataError(
                f"{name}:{number}: has {len(cells)} columns, but must have two, source and target, with a "
                "tab between; columns=[1, 2] takes the first two of them"
            )
        if len(cells) < max(source, target):
            raise DataError(
                f"{name}:{number}: has {len(cells)} column(s), but must have at least "
                f"{max(source, target)}, with a tab between"
            )
        pair = Pair(cells[source - 1], cells[target - 1])
        for side, sentence in zip(pair._fields, pair, strict=True):
            if not normalize(sentence, normalization).strip():
                after = f" after the normalization {normalization}" if sentence.strip() else ""
                raise DataError(f"{name}:{number}: its {side} is empty{after}; mend or remove the line")
        pairs.append(pair)
    if not pairs:
        raise DataError(f"{name}: holds no pairs; a line must be a sentence, a tab and its translation")
    return pairs


def group_by_source(pairs: Sequence[Pair], *, normalization: str) -> list[list[Pair]]:
    """Pairs of the same source together, in the order of the first; of equal pairs only the first.

    Sentences are equal if they are so after normalisation, whatever the white space.
    """
    groups: dict[str, dict[str, Pair]] = {}
    for pair in pairs:
        source, target = (" ".join(normalize(text, normalization).split()) for text in pair)
        groups.setdefault(source, {}).setdefault(target, pair)
    return [list(group.values()) for group in groups.values()]


def split_groups(
    groups: Sequence[Sequence[Pair]], path: Path, *, val_fraction: float, test_fraction: float, seed: int
) -> ParallelCorpus:
    """Split at random, by source.

    Args:
        groups: All pairs of each source.
        path: The file, for an error.
        val_fraction: Share of the sources held out for validation, in (0, 1).
        test_fraction: Share of the sources held out for the test, in (0, 1).
        seed: Seed of the split.

    Raises:
        DataError: If the sources leave none for a split.
    """
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    num_test = max(1, round(len(groups) * test_fraction))
    num_val = max(1, round(len(groups) * val_fraction))
    if num_test + num_val >= len(groups):
        raise DataError(
            f"{path}: its {len(groups)} different source sentences leave none for the train split; give "
            "more, or smaller val_fraction and test_fraction"
        )
    test, val = order[:num_test], order[num_test : num_test + num_val]
    train = sorted(order[num_test + num_val :])
    return ParallelCorpus(
        train=[pair for i in train for pair in groups[i]],
        val=[translations(groups[i]) for i in sorted(val)],
        test=[translations(groups[i]) for i in sorted(test)],
    )


def translations(group: Sequence[Pair]) -> Translations:
    """The pairs of one source as one example."""
    return Translations(group[0].source, [pair.target for pair in group])
