"""Loaders that index whole batches and can be resumed: what both kinds share is the sampler and the state."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.interface.batches import Batch

__all__ = ["BatchSampler", "TensorLoader", "WorkerLoader"]


class BatchSampler:
    """Splits the indices of a data set into batches, each a tensor of indices.

    The order of an epoch depends on the seed and the epoch alone. Every process gets its own share: in training all
    get the same number of examples (at most ``world_size - 1`` are left out, others each epoch), in evaluation each
    example goes to exactly one process. No example is ever repeated.

    Args:
        size: Number of examples.
        batch_size: Examples in a batch on each process, or ``full`` for all of them.
        shuffle: Whether this is for training: shuffled, with equal shares.
        seed: Seed of the order.
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int | Literal["full"],
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size = size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.batch_size = max(self.share, 1) if batch_size == "full" else batch_size

    @property
    def sampler(self) -> "BatchSampler":
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    @property
    def share(self) -> int:
        """Examples of an epoch on this process."""
        if self.shuffle:
            return self.size // self.world_size
        return len(range(self.rank, self.size, self.world_size))

    def __len__(self) -> int:
        return -(-self.share // self.batch_size)

    def batches(self) -> tuple[Tensor, ...]:
        """Index tensors (batch,), int64, of the current epoch."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
            order = torch.randperm(self.size, generator=generator)
        else:
            order = torch.arange(self.size)
        return order[self.rank :: self.world_size][: self.share].split(self.batch_size)


class _ResumableLoader:
    """Iterates over the sampler's batches and knows how far it has come."""

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler
        self._position = 0  # batches delivered in this epoch
        self._iterated_epoch: int | None = None
        self._resume: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def _remaining(self) -> tuple[Tensor, ...]:
        """Batches still to come in the epoch that starts, or goes on, now."""
        sampler = self.batch_sampler
        if self._resume is not None:
            epoch, position = self._resume
            self._resume = None
            if position < len(sampler) and epoch == sampler.epoch:
                self._position, self._iterated_epoch = position, epoch
                return sampler.batches()[position:]
        if self._iterated_epoch == sampler.epoch:  # nobody calls set_epoch
            sampler.set_epoch(sampler.epoch + 1)
        self._position, self._iterated_epoch = 0, sampler.epoch
        return sampler.batches()

    def state_dict(self) -> dict[str, int]:
        """Epoch, and batches delivered in it."""
        return {"epoch": self.batch_sampler.epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where the state was saved."""
        self._resume = (state["epoch"], state["position"])
        self.batch_sampler.set_epoch(state["epoch"])


class TensorLoader(_ResumableLoader):
    """Loader of a set held in memory: a batch is the set's tensors indexed once, without per-example Python.

    Args:
        tensors: The whole set as one batch: tensors with the examples along the first dimension.
        batch_sampler: What the batches are.
    """

    def __init__(self, tensors: Batch, batch_sampler: BatchSampler) -> None:
        super().__init__(batch_sampler)
        self.tensors = tensors

    def __iter__(self) -> Iterator[Batch]:
        make = type(self.tensors)
        for indices in self._remaining():
            self._position += 1
            yield make(*(tensor[indices] for tensor in self.tensors))


class WorkerLoader(_ResumableLoader):
    """Loader of a set read from disk, example by example, by worker processes.

    Args:
        dataset: Map-style data set whose examples are tuples of tensors.
        batch_sampler: What the batches are.
        make_batch: The NamedTuple of a batch, called with the stacked fields.
        num_workers: Worker processes; 0 reads in this process.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_sampler: BatchSampler,
        make_batch: Callable[..., Batch],
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_sampler)
        self.dataset = dataset
        self.make_batch = make_batch
        self._indices: list[list[int]] = []
        # The list is read anew at each epoch, so the workers can stay.
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._indices,
            num_workers=num_workers,
            collate_fn=self._collate,
            persistent_workers=num_workers > 0,
            multiprocessing_context="fork" if num_workers > 0 else None,
        )

    def _collate(self, examples: list[tuple[Tensor, ...]]) -> Batch:
        return self.make_batch(*(torch.stack(field) for field in zip(*examples, strict=True)))

    def __iter__(self) -> Iterator[Batch]:
        self._indices[:] = [batch.tolist() for batch in self._remaining()]
        for batch in self._loader:
            self._position += 1
            yield batch
