"""Training batches of sentences of similar lengths, so that little is padded."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from datamodules.loaders import BatchSampler

__all__ = ["BucketSampler"]

POOL = 50  # batches that are sorted together: padding falls with it, and so does the variety of the batches


class BucketSampler(BatchSampler):
    """Splits the indices of a data set into training batches of similar lengths.

    Each epoch the examples are shuffled and cut into pools of 50 batches; each pool is sorted by length and
    cut into batches, and the batches are shuffled. The batches of all processes that are trained on together
    come from the same part of a pool, so that none waits for another's long sentences. Shares are as in
    :class:`~datamodules.loaders.BatchSampler`.

    Args:
        lengths: Length of each example, or what else to sort by (examples,), int64.
        batch_size: Examples in a batch on each process, or ``full`` for all of them.
        seed: Seed of the order.
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        lengths: Tensor,
        batch_size: int | Literal["full"],
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(len(lengths), batch_size, shuffle=True, seed=seed, rank=rank, world_size=world_size)
        self.lengths = lengths

    def batches(self) -> Sequence[Tensor]:
        """Index tensors (batch,), int64, of the current epoch; none if this process has no share."""
        if self.share == 0:
            return ()
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        order = torch.randperm(self.size, generator=generator)[: self.share * self.world_size]
        at_once = self.batch_size * self.world_size
        pools = torch.split(order, POOL * at_once)
        by_length = torch.cat([pool[self.lengths[pool].argsort(stable=True)] for pool in pools])
        batches = torch.split(by_length, at_once)
        shuffled = torch.randperm(len(batches), generator=generator)
        return tuple(batches[i][self.rank :: self.world_size] for i in shuffled)
