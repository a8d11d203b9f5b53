"""Pairs of sentences in memory without padding, and the loader that pads the sentences of one batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from datamodules.interface.batches import TranslationBatch
from datamodules.interface.vocab import PAD_ID
from datamodules.loaders import BatchSampler, ResumableLoader

__all__ = ["PairLoader", "Ragged", "SentencePairs"]


class Ragged:
    """Rows of integers of different lengths, one after the other in an array.

    Args:
        rows: The rows.

    Attributes:
        values: All rows (values,), int32.
        offsets: Where each row begins in it, and where the last one ends (rows + 1,), int64.
    """

    def __init__(self, rows: Sequence[Sequence[int] | np.ndarray]) -> None:
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        self.offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        flat = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        self.values = torch.from_numpy(flat)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self, indices: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
        """The lengths of these rows; an index of -1 means an empty row."""
        lengths = self.offsets[indices + 1] - self.offsets[indices]
        return torch.where(indices >= 0, lengths, 0)

    def padded(self, indices: Int64[Tensor, " batch"], padding: int) -> Int64[Tensor, "batch steps"]:
        """These rows, each filled up to the longest of them; an index of -1 means an empty row."""
        lengths = self.lengths(indices)
        steps = torch.arange(int(lengths.max()) if len(lengths) else 0)
        inside = steps < lengths[:, None]
        result = torch.full(inside.shape, padding)
        result[inside] = self.values[(self.offsets[indices][:, None] + steps)[inside]].long()
        return result


@dataclass(frozen=True, kw_only=True)
class SentencePairs:
    """The examples of a split, as ids.

    Attributes:
        source: Source sentences with ``<eos>``.
        target: Target sentences from ``<bos>`` to ``<eos>``.
        references: Translations without either, of all examples.
        references_of: Which of them are each example's; none in training.
    """

    source: Ragged
    target: Ragged
    references: Ragged
    references_of: Ragged

    def __len__(self) -> int:
        return len(self.source)

    def by_length(self) -> Int64[Tensor, " examples"]:
        """Numbers that order the examples by the length of the target, then by that of the source.

        Sorted by the sum of both, batches would have four times as much padding.
        """
        source, target = self.source.offsets.diff(), self.target.offsets.diff()
        return target * (source.max() + 1) + source

    def batch(self, indices: Int64[Tensor, " batch"]) -> TranslationBatch:
        """These examples, padded to the longest of them."""
        which = self.references_of.padded(indices, -1)
        references = self.references.padded(which.flatten(), -1)
        return TranslationBatch(
            source=self.source.padded(indices, PAD_ID),
            source_length=self.source.lengths(indices),
            target=self.target.padded(indices, PAD_ID),
            target_length=self.target.lengths(indices),
            references=references.view(*which.shape, references.shape[1]),
        )


class PairLoader(ResumableLoader):
    """Loader of pairs of sentences.

    Args:
        pairs: The whole split.
        batch_sampler: What the batches are.
    """

    def __init__(self, pairs: SentencePairs, batch_sampler: BatchSampler) -> None:
        super().__init__(batch_sampler)
        self.pairs = pairs

    def __iter__(self) -> Iterator[TranslationBatch]:
        for indices in self._remaining():
            self._position += 1
            yield self.pairs.batch(indices)
