"""Windows of a sequence: each once, never stored, shared between processes, resumable."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.interface.batches import SequenceBatch
from datamodules.text.permutation import Permutation
from datamodules.text.windows import StreamSampler, WindowLoader, WindowSampler

# The order


@pytest.mark.parametrize("size", [*range(1, 70), 255, 256, 257, 1000, 5003])
def test_a_permutation_has_each_number_once(size: int) -> None:
    order = Permutation(size, 0, 0)(np.arange(size))
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size))


def test_a_permutation_of_nothing() -> None:
    assert Permutation(0, 0)(np.arange(0)).tolist() == []


def test_a_permutation_depends_on_each_of_its_seeds() -> None:
    def order(*seed: int) -> list[int]:
        return list(Permutation(500, *seed)(np.arange(500)).tolist())

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(4, 1)
    assert order(3, 1) != order(3, 2)
    assert order(-1, 0) != order(1, 0)


def test_a_part_of_a_permutation_is_that_of_the_whole() -> None:
    permutation = Permutation(1000, 7)
    assert permutation(np.arange(400, 450)).tolist() == permutation(np.arange(1000))[400:450].tolist()


def test_a_permutation_mixes() -> None:
    """Neighbours and positions are as far apart as in a random order: the expected distance is size / 3."""
    size = 3000
    order = Permutation(size, 1)(np.arange(size))
    assert abs(np.abs(np.diff(order)).mean() / (size / 3) - 1) < 0.1
    assert abs(np.abs(order - np.arange(size)).mean() / (size / 3) - 1) < 0.1
    small = {tuple(Permutation(4, seed)(np.arange(4)).tolist()) for seed in range(500)}
    assert len(small) == 24


# Windows


def starts(sampler: WindowSampler | StreamSampler) -> list[list[int]]:
    return [batch.tolist() for batch in sampler.batches()]


def flat(batches: list[list[int]]) -> list[int]:
    return [start for batch in batches for start in batch]


def test_sliding_windows_begin_at_every_token() -> None:
    sampler = WindowSampler(10, 3, num_steps=4, sliding=True)
    assert starts(sampler) == [[0, 1, 2], [3, 4, 5]]  # the window from 5 ends with token 9, its last label
    assert (sampler.size, len(sampler)) == (6, 2)


def test_training_shuffles_sliding_windows() -> None:
    sampler = WindowSampler(104, 30, num_steps=4, sliding=True, shuffle=True)
    first = starts(sampler)
    assert [len(batch) for batch in first] == [30, 30, 30, 10]
    assert sorted(flat(first)) == list(range(100))
    assert flat(first) != list(range(100))
    sampler.set_epoch(1)
    assert sorted(flat(starts(sampler))) == list(range(100))
    assert starts(sampler) != first


@pytest.mark.parametrize("length", [5, 8, 9, 12, 13, 40])
def test_windows_side_by_side_in_evaluation(length: int) -> None:
    windows = starts(WindowSampler(length, 100, num_steps=4, sliding=False))
    shorter = {8: [[4]], 12: [[8]], 40: [[36]]}  # with three tokens after the first
    assert windows == [list(range(0, length - 4, 4)), *shorter.get(length, [])]


@pytest.mark.parametrize("length", [5, 6, 8, 9, 13, 40, 41])
@pytest.mark.parametrize("streams", [False, True])
def test_training_begins_at_each_of_the_first_tokens(length: int, *, streams: bool) -> None:
    sampler: Any
    if streams:
        sampler = StreamSampler(length, 1, num_steps=4, shuffle=True)
    else:
        sampler = WindowSampler(length, 1, num_steps=4, sliding=False, shuffle=True)
    offsets = set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        windows = sorted(flat(starts(sampler)))
        assert len(windows) == len(sampler) == max((length - 4) // 4, 1)
        assert {b - a for a, b in pairwise(windows)} <= {4}
        assert 0 <= windows[0] < 4
        assert windows[-1] + 4 < length
        offsets.add(windows[0])
    assert offsets == set(range(min(4, length - 4)))


def test_a_sequence_shorter_than_a_window_has_none() -> None:
    for length in (0, 3, 4):
        for shuffle in (False, True):
            for sliding in (False, True):
                sampler = WindowSampler(length, 2, num_steps=4, sliding=sliding, shuffle=shuffle)
                assert (sampler.size, len(sampler), starts(sampler)) == (0, 0, [])
            stream = StreamSampler(length, 2, num_steps=4, shuffle=shuffle)
            assert (stream.size, len(stream), starts(stream)) == (0, 0, [])


def test_num_steps_is_at_least_1() -> None:
    with pytest.raises(ValueError, match="num_steps is 0, but must be at least 1"):
        WindowSampler(10, 2, num_steps=0, sliding=True)
    with pytest.raises(ValueError, match="num_steps is 0, but must be at least 1"):
        StreamSampler(10, 2, num_steps=0)


def test_a_thousand_million_windows_cost_nothing() -> None:
    sampler = WindowSampler(10**9, 1024, num_steps=32, sliding=True, shuffle=True)
    batches = sampler.batches()
    assert len(batches) == len(sampler) == -(-(10**9 - 32) // 1024)
    last = batches[len(batches) - 1]
    assert len(last) == (10**9 - 32) % 1024
    assert 0 <= last.min() < last.max() < 10**9 - 32
    assert torch.equal(batches[900_000:][5], batches[900_005])


# Streams


def test_each_row_goes_on_where_it_ended() -> None:
    sampler = StreamSampler(6 * 4 + 1, 2, num_steps=4)  # six windows, two streams
    assert starts(sampler) == [[0, 12], [4, 16], [8, 20]]


def test_evaluation_has_each_window_once_the_first_streams_being_longer() -> None:
    sampler = StreamSampler(7 * 4 + 1, 3, num_steps=4)
    assert starts(sampler) == [[0, 12, 20], [4, 16, 24], [8]]
    assert (sampler.size, sampler.share, len(sampler), sampler.num_streams) == (7, 7, 3, 3)


def test_training_leaves_out_what_would_make_streams_unequal() -> None:
    sampler = StreamSampler(8 * 4 + 3, 3, num_steps=4, shuffle=True)  # seven windows behind any offset
    for epoch in range(5):
        sampler.set_epoch(epoch)
        offset = sampler.offset()
        assert starts(sampler) == [[offset, offset + 8, offset + 16], [offset + 4, offset + 12, offset + 20]]
    assert sampler.share == 6


def test_full_is_one_window_in_each_stream() -> None:
    assert starts(StreamSampler(13, "full", num_steps=4)) == [[0, 4, 8]]


@pytest.mark.parametrize("length", [5, 17, 41, 42, 100])
@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("kind", ["sliding", "random", "sequential"])
@pytest.mark.parametrize("batch_size", [1, 3, "full"])
def test_processes_share_the_windows(length: int, world_size: int, kind: str, batch_size: Any) -> None:
    def shares(*, shuffle: bool) -> list[list[list[int]]]:
        samplers: list[Any] = [
            StreamSampler(length, batch_size, num_steps=4, shuffle=shuffle, rank=rank, world_size=world_size)
            if kind == "sequential"
            else WindowSampler(
                length,
                batch_size,
                num_steps=4,
                sliding=kind == "sliding",
                shuffle=shuffle,
                rank=rank,
                world_size=world_size,
            )
            for rank in range(world_size)
        ]
        batches = [starts(sampler) for sampler in samplers]
        assert [len(sampler) for sampler in samplers] == [len(own) for own in batches]
        assert [sampler.share for sampler in samplers] == [len(flat(own)) for own in batches]
        return batches

    training = shares(shuffle=True)
    assert len({tuple(len(batch) for batch in own) for own in training}) == 1  # the same steps everywhere
    together = [start for own in training for start in flat(own)]
    assert len(set(together)) == len(together)
    evaluation = [start for own in shares(shuffle=False) for start in flat(own)]
    end = length - 4 if kind == "sliding" else length - 1
    assert sorted(evaluation) == list(range(0, end, 1 if kind == "sliding" else 4))


# The loader


def loader(kind: str, *, length: int = 50, shuffle: bool = True) -> WindowLoader:
    tokens = np.arange(length, dtype=np.uint8)  # the id of each token is its position
    sampler: Any = (
        StreamSampler(length, 3, num_steps=4, shuffle=shuffle, seed=5)
        if kind == "sequential"
        else WindowSampler(length, 3, num_steps=4, sliding=kind == "sliding", shuffle=shuffle, seed=5)
    )
    return WindowLoader(tokens, sampler)


@pytest.mark.parametrize("kind", ["sliding", "random", "sequential"])
def test_a_batch_is_inputs_and_the_tokens_after_them(kind: str) -> None:
    for batch in loader(kind):
        assert isinstance(batch, SequenceBatch)
        assert (batch.tokens.dtype, batch.label.dtype) == (torch.int64, torch.int64)
        assert batch.tokens.shape == batch.label.shape == (len(batch.tokens), 4)
        assert torch.equal(batch.tokens, batch.tokens[:, :1] + torch.arange(4))
        assert torch.equal(batch.label, batch.tokens + 1)


def test_only_sequential_batches_continue_and_do_so_truly() -> None:
    for kind in ("sliding", "random"):
        assert not any(batch.continues.any() for batch in loader(kind))
    for shuffle in (True, False):
        batches = list(loader("sequential", length=53, shuffle=shuffle))
        assert not batches[0].continues.any()
        for before, batch in pairwise(batches):
            assert batch.continues.all()
            rows = len(batch.tokens)
            assert torch.equal(batch.tokens[:, 0], before.label[:rows, -1])


@pytest.mark.parametrize("kind", ["random", "sequential"])
@pytest.mark.parametrize("batch_size", [1, 3, "full"])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_has_every_token_after_the_first_as_a_target_once(
    kind: str, batch_size: Any, world_size: int
) -> None:
    """The shorter window at the end is alone in its batch, and continues only if it does."""
    for length, num_steps in ((5, 4), (8, 4), (9, 4), (50, 4), (51, 7), (40, 1), (41, 13)):
        targets: list[int] = []
        for rank in range(world_size):
            share: dict[str, Any] = {"num_steps": num_steps, "rank": rank, "world_size": world_size}
            sampler: Any = (
                StreamSampler(length, batch_size, **share)
                if kind == "sequential"
                else WindowSampler(length, batch_size, sliding=False, **share)
            )
            one = WindowLoader(np.arange(length, dtype=np.uint8), sampler)
            batches = list(one)
            assert len(batches) == len(one)
            for before, batch in pairwise(batches):
                goes_on = batch.tokens[:, 0] == before.label[: len(batch.tokens), -1]
                assert torch.equal(batch.continues, goes_on & (kind == "sequential"))
            for batch in batches:
                assert torch.equal(batch.label, batch.tokens + 1)
                assert batch.tokens.shape[1] == num_steps or len(batch.tokens) == 1
                targets += batch.label.flatten().tolist()
        assert sorted(targets) == list(range(1, length))


def test_a_shorter_window_continues_the_stream_that_it_ends() -> None:
    tokens = np.arange(15, dtype=np.uint8)
    alone = list(WindowLoader(tokens, StreamSampler(15, 1, num_steps=4)))
    assert [batch.continues.tolist() for batch in alone] == [[False], [True], [True], [True]]
    assert alone[-1].tokens.tolist() == [[12, 13]]
    three = list(WindowLoader(tokens, StreamSampler(15, 3, num_steps=4)))
    assert [batch.continues.tolist() for batch in three] == [[False] * 3, [False]]
    assert three[-1].label.tolist() == [[13, 14]]
    other = StreamSampler(19, 1, num_steps=4, rank=1, world_size=2)  # the process of the last stream
    assert starts(other) == [[8], [12], [16]]
    batches = list(WindowLoader(np.arange(19, dtype=np.uint8), other))
    assert [batch.continues.tolist() for batch in batches] == [[False], [True], [True]]


def test_a_new_epoch_does_not_continue() -> None:
    one = loader("sequential")
    for _ in range(2):
        assert [bool(batch.continues.any()) for batch in one] == [False] + [True] * (len(one) - 1)


@pytest.mark.parametrize("kind", ["sliding", "random", "sequential"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_loader_goes_on_within_an_epoch(kind: str, position: int) -> None:
    one = loader(kind)
    list(one)  # an epoch before
    batches = iter(one)
    for _ in range(position):
        next(batches)
    state = one.state_dict()
    rest = list(batches)
    assert rest
    other = loader(kind)
    other.load_state_dict(state)
    resumed = list(other)
    if position == 0:  # all of the epoch before was delivered
        assert len(resumed) == len(one)
        return
    assert len(resumed) == len(rest)
    for a, b in zip(rest, resumed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_what_was_read_is_released_after_each_batch() -> None:
    calls = []
    base = loader("sliding")
    sampler: Any = base.batch_sampler
    batches = list(WindowLoader(base.tokens, sampler, lambda: calls.append(1)))
    assert len(calls) == len(batches) == len(sampler)
