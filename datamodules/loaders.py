"""Loaders that index whole batches and can be resumed: what both kinds share is the sampler and the state."""

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import BaseContext
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.interface.batches import Batch
from datamodules.interface.errors import DataError

__all__ = ["BatchSampler", "ResumableLoader", "TensorLoader", "WorkerLoader"]


def _worker_context() -> BaseContext:
    """How workers start: as fresh processes, since a fork would copy the locks of this process's threads.

    Where there is a server for that (not on Windows), it imports torch once for all of them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class BatchSampler:
    """Splits the indices of a data set into batches, each a tensor of indices.

    The order of an epoch depends on the seed and the epoch alone. Every process gets its own share: in
    training all get the same number of examples (at most ``world_size - 1`` are left out, others each epoch),
    in evaluation each example goes to exactly one process. No example is ever repeated.

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

    def batches(self) -> Sequence[Tensor]:
        """Index tensors (batch,), int64, of the current epoch; none if this process has no share."""
        if self.share == 0:
            return ()  # torch.split makes one empty batch of nothing
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
            order = torch.randperm(self.size, generator=generator)
        else:
            order = torch.arange(self.size)
        return torch.split(order[self.rank :: self.world_size][: self.share], self.batch_size)


class ResumableLoader(ABC):
    """Iterates over the sampler's batches and knows how far it has come.

    Args:
        batch_sampler: What the batches are.
    """

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler
        self._epoch: int | None = None  # the epoch that was iterated last
        self._position = 0  # batches delivered in it
        self._resumed = False

    def __len__(self) -> int:
        return len(self.batch_sampler)

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The batches of :meth:`_remaining`; each adds one to ``_position`` before it is yielded."""

    def _remaining(self) -> Sequence[Tensor]:
        """Batches still to come in the epoch that starts, or goes on, now."""
        sampler = self.batch_sampler
        goes_on = self._resumed and self._epoch == sampler.epoch and self._position < len(self)
        self._resumed = False
        if not goes_on:
            if self._epoch == sampler.epoch:  # nobody calls set_epoch
                sampler.set_epoch(sampler.epoch + 1)
            self._epoch, self._position = sampler.epoch, 0
        return sampler.batches()[self._position :]

    @property
    def batch_seed(self) -> int:
        """A seed in [0, 2**64) for what is drawn for the batch that was delivered last.

        It depends on the sampler's seed, the epoch, the batch's position in it and the process's rank alone,
        so a run that was stopped and resumed draws what it would have drawn.
        """
        sampler = self.batch_sampler
        # SeedSequence mixes the four; a sum would give one seed to several batches.
        numbers = (sampler.seed % 2**64, sampler.epoch, self._position, sampler.rank)
        return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])

    def state_dict(self) -> dict[str, int]:
        """Epoch, and batches delivered in it."""
        epoch = self.batch_sampler.epoch
        return {"epoch": epoch, "position": self._position if self._epoch == epoch else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where the state was saved: within its epoch, or with the next if all of it was delivered."""
        epoch, position = state["epoch"], state["position"]
        self.batch_sampler.set_epoch(epoch)
        self._epoch = epoch if position > 0 else None
        self._position = position
        self._resumed = True


class TensorLoader(ResumableLoader):
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
            # index_select copies whole examples; indexing uint8 images by [indices] takes many times as long.
            yield make(*(tensor.index_select(0, indices) for tensor in self.tensors))


class WorkerLoader(ResumableLoader):
    """Loader of a set read from disk, example by example, by worker processes.

    Its state counts the batches that were delivered, whatever the workers have read ahead. The workers are
    fresh processes, so the set must be picklable.

    Args:
        dataset: Map-style data set whose examples are tuples of tensors. A DataError in a worker reaches the
            user as if it had been raised here.
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
        self._indices: list[list[int]] = []
        # The list is read anew at each epoch, so the workers can stay.
        self._loader: DataLoader[Any] = DataLoader(
            _Batches(dataset, make_batch),
            sampler=self._indices,
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            multiprocessing_context=_worker_context() if num_workers > 0 else None,
        )

    def __iter__(self) -> Iterator[Batch]:
        self._indices[:] = [batch.tolist() for batch in self._remaining()]
        for batch in self._loader:
            if isinstance(batch, DataError):
                raise batch
            self._position += 1
            yield batch


class _Batches(Dataset[Any]):
    """Whole batches of a data set, by lists of indices; what a worker process runs."""

    def __init__(self, dataset: Dataset[Any], make_batch: Callable[..., Batch]) -> None:
        self.dataset = dataset
        self.make_batch = make_batch

    def __getitem__(self, indices: list[int]) -> Batch | DataError:
        try:
            examples = [self.dataset[i] for i in indices]
        except DataError as error:
            return error  # raised in a worker, it would arrive with the worker's traceback in its message
        return self.make_batch(*(torch.stack(field) for field in zip(*examples, strict=True)))


def _unchanged(batch: Any) -> Any:
    return batch
