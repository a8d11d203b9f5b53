"""Windows of a long sequence of tokens, cut out of one array when a batch needs them (section 9.3).

A window is ``num_steps`` tokens and the token after them. Two windows side by side share only that last
token, which is a target of one and an input of the next.

In training a few tokens at the end may be left out. In evaluation every token after the first is a target: of
windows side by side the last is shorter if need be, and then comes in a batch of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, overload

import numpy as np
import torch
from torch import Tensor

from datamodules.interface.batches import SequenceBatch
from datamodules.interface.checks import check_at_least
from datamodules.loaders import BatchSampler, ResumableLoader
from datamodules.text.permutation import Permutation

__all__ = ["PARTITIONS", "StreamSampler", "WindowLoader", "WindowSampler"]

PARTITIONS = {
    "sliding": "a window at every token, shuffled",
    "random": "windows side by side, from another first token each epoch, shuffled",
    "sequential": "windows side by side; each row of a batch goes on where it ended in the batch before",
}


class _LazyBatches(Sequence[Tensor]):
    """Batches that are worked out one by one, so that a sequence of a million of them costs nothing."""

    def __init__(self, indices: range, make: Callable[[int], np.ndarray]) -> None:
        self._indices = indices
        self._make = make

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> "_LazyBatches": ...
    def __getitem__(self, index: int | slice) -> "Tensor | _LazyBatches":
        if isinstance(index, slice):
            return _LazyBatches(self._indices[index], self._make)
        return torch.from_numpy(self._make(self._indices[index]))


def _side_by_side(length: int, num_steps: int, *, shuffle: bool) -> int:
    """How many windows fit side by side; in training behind the last of the offsets too."""
    if length <= num_steps:
        return 0
    return max((length - num_steps) // num_steps, 1) if shuffle else (length - 1) // num_steps


class _OffsetSampler(BatchSampler):
    """What the samplers of windows have in common: in training, each epoch begins at another token."""

    length: int
    num_steps: int

    def offset(self) -> int:
        """The first token of the epoch: one of the first ``num_steps`` in training, else 0."""
        if not self.shuffle or self.size == 0:
            return 0
        random = np.random.default_rng((self.seed % 2**64, self.epoch))
        return int(random.integers(min(self.num_steps, self.length - self.num_steps)))

    def _has_rest(self, windows: int) -> bool:
        """Whether, behind this many windows side by side, a shorter one is to come in evaluation."""
        return not self.shuffle and windows > 0 and windows * self.num_steps < self.length - 1


class WindowSampler(_OffsetSampler):
    """Splits the windows of a sequence into batches, each a tensor of the windows' first positions.

    In training the windows are shuffled, and those side by side begin at another of the first ``num_steps``
    tokens each epoch; their number is always the same. In evaluation they come in order, from the first token
    on, and those side by side have a shorter one at the end if tokens are left; it is a batch of its own, of
    the process whose turn it is. Processes share them as in :class:`~datamodules.loaders.BatchSampler`.

    Args:
        length: Tokens in the sequence.
        batch_size: Windows in a batch on each process, or ``full`` for all of them.
        num_steps: Inputs in a window, at least 1.
        sliding: Whether there is a window at every token; else they lie side by side.
        shuffle: Whether this is for training.
        seed: Seed of the order.
        rank: Index of this process.
        world_size: Number of processes.

    Attributes:
        size: Number of whole windows; 0 if the sequence is shorter than one.

    Raises:
        ValueError: If ``num_steps`` is below 1.
    """

    def __init__(
        self,
        length: int,
        batch_size: int | Literal["full"],
        *,
        num_steps: int,
        sliding: bool,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_at_least("num_steps", num_steps, 1)
        self.length = length
        self.num_steps = num_steps
        self.sliding = sliding
        size = max(length - num_steps, 0) if sliding else _side_by_side(length, num_steps, shuffle=shuffle)
        super().__init__(size, batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)

    @property
    def share(self) -> int:
        """Windows of an epoch on this process."""
        return super().share + self._rest

    def __len__(self) -> int:
        return -(-super().share // self.batch_size) + self._rest

    @property
    def _rest(self) -> int:
        """1 if the shorter window is this process's, else 0."""
        own = self.size % self.world_size == self.rank
        return int(own and not self.sliding and self._has_rest(self.size))

    def batches(self) -> Sequence[Tensor]:
        """First positions (batch,), int64, of each batch's windows; none if this process has no share."""
        share, batch_size = super().share, self.batch_size
        first, step = (0, 1) if self.sliding else (self.offset(), self.num_steps)
        permutation = Permutation(self.size, self.seed, self.epoch)

        def make(batch: int) -> np.ndarray:
            if batch * batch_size >= share:
                return np.array([step * self.size])
            own = np.arange(batch * batch_size, min((batch + 1) * batch_size, share))
            order = own * self.world_size + self.rank
            return first + step * (permutation(order) if self.shuffle else order)

        return _LazyBatches(range(len(self)), make)


class StreamSampler(_OffsetSampler):
    """Splits a sequence into streams that are read side by side, one in each row of a batch.

    There are as many streams as all processes have rows, one after the other in the sequence; each is windows
    side by side, one in each batch. In training they are equally long, what remains at the end is left out,
    and the first begins at another of the first ``num_steps`` tokens each epoch. In evaluation the first
    streams take what remains, so that each window comes once; the last batch may then have fewer rows, which
    go on with the first rows of the batch before. Tokens that are left make a shorter window at the end of
    the last stream: a batch of its own.

    Args:
        length: Tokens in the sequence.
        batch_size: Streams on each process, or ``full`` for as many as there are windows.
        num_steps: Inputs in a window, at least 1.
        shuffle: Whether this is for training.
        seed: Seed of the first token.
        rank: Index of this process.
        world_size: Number of processes.

    Attributes:
        size: Number of whole windows; 0 if the sequence is shorter than one.
        num_streams: Number of streams on all processes.

    Raises:
        ValueError: If ``num_steps`` is below 1.
    """

    def __init__(
        self,
        length: int,
        batch_size: int | Literal["full"],
        *,
        num_steps: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_at_least("num_steps", num_steps, 1)
        self.length = length
        self.num_steps = num_steps
        size = _side_by_side(length, num_steps, shuffle=shuffle)
        wanted = size if batch_size == "full" else batch_size * world_size
        self.num_streams = min(wanted, size)
        if shuffle:  # as many on each process
            self.num_streams -= self.num_streams % world_size
        super().__init__(size, batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)

    @property
    def share(self) -> int:
        """Windows of an epoch on this process."""
        streams = len(range(self.rank, self.num_streams, self.world_size))
        whole, more = self._windows()
        return streams * whole + len(range(self.rank, more, self.world_size)) + self._rest

    def __len__(self) -> int:
        return self._whole_batches() + self._rest

    def _whole_batches(self) -> int:
        whole, more = self._windows()
        return whole + (self.rank < more) if self.rank < self.num_streams else 0

    @property
    def _rest(self) -> int:
        """1 if the shorter window is this process's, which has the last stream, else 0."""
        own = (self.num_streams - 1) % self.world_size == self.rank
        return int(own and self._has_rest(self.size))

    def _windows(self) -> tuple[int, int]:
        """Windows of every stream, and how many streams have one more."""
        if self.num_streams == 0:
            return 0, 0
        whole, more = divmod(self.size, self.num_streams)
        return whole, 0 if self.shuffle else more

    def batches(self) -> Sequence[Tensor]:
        """First positions (batch,), int64, of each batch's windows; none if this process has no stream."""
        whole, more = self._windows()
        whole_batches = self._whole_batches()
        offset = self.offset()

        def make(batch: int) -> np.ndarray:
            if batch == whole_batches:
                return np.array([self.num_steps * self.size])
            # The streams that have one more come first.
            streams = np.arange(self.rank, self.num_streams if batch < whole else more, self.world_size)
            return offset + self.num_steps * (streams * whole + np.minimum(streams, more) + batch)

        return _LazyBatches(range(len(self)), make)


class WindowLoader(ResumableLoader):
    """Loader of the windows of a sequence.

    Args:
        tokens: Ids of the sequence's tokens (tokens,), of any integer type; it may lie in a file.
        batch_sampler: Where the windows begin.
        release: Called after each batch, to let go of the parts of a file that were read.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        batch_sampler: WindowSampler | StreamSampler,
        release: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(batch_sampler)
        self.tokens = tokens
        self._num_steps = batch_sampler.num_steps
        self._steps = np.arange(batch_sampler.num_steps + 1)
        self._streams = isinstance(batch_sampler, StreamSampler)
        self._release = release

    def __iter__(self) -> Iterator[SequenceBatch]:
        remaining, before = self._remaining(), None
        if self._position > 0:  # resumed
            before = self.batch_sampler.batches()[self._position - 1]
        for starts in remaining:
            continues = torch.zeros(len(starts), dtype=torch.bool)
            if self._streams and before is not None:
                continues = starts == before[: len(starts)] + self._num_steps
            before = starts
            self._position += 1
            steps = self._steps[: len(self.tokens) - int(starts[-1])]  # of the last window fewer may be left
            windows = self.tokens[starts.numpy()[:, None] + steps].astype(np.int64)
            if self._release is not None:
                self._release()
            yield SequenceBatch(
                torch.from_numpy(windows[:, :-1].copy()),
                torch.from_numpy(windows[:, 1:].copy()),
                continues,
            )
