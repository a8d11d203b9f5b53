from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.text.buckets import POOL, BucketSampler

LENGTHS = torch.randint(1, 40, (503,), generator=torch.Generator().manual_seed(0))


def together(batches: Sequence[Tensor]) -> set[frozenset[int]]:
    """Which examples are in one batch."""
    return {frozenset(batch.tolist()) for batch in batches}


@pytest.mark.parametrize("batch_size", [1, 8, 64, "full"])
def test_an_epoch_holds_each_example_once(batch_size: Any) -> None:
    sampler = BucketSampler(LENGTHS, batch_size)
    batches = sampler.batches()
    assert torch.equal(torch.cat(list(batches)).sort().values, torch.arange(503))
    assert len(batches) == len(sampler)
    size = 503 if batch_size == "full" else batch_size
    assert sorted(map(len, batches)) == sorted([size] * (503 // size) + [503 % size] * (503 % size > 0))


def test_batches_of_a_pool_do_not_overlap_in_length() -> None:
    assert POOL * 16 > 503
    batches = BucketSampler(LENGTHS, 16).batches()
    ranges = sorted((int(LENGTHS[batch].min()), int(LENGTHS[batch].max())) for batch in batches)
    for (_, longest), (shortest, _) in pairwise(ranges):
        assert longest <= shortest


def test_short_and_long_batches_come_in_any_order() -> None:
    means = torch.stack([LENGTHS[batch].float().mean() for batch in BucketSampler(LENGTHS, 16).batches()])
    steps = means.diff().sign()
    assert (steps > 0).any()
    assert (steps < 0).any()


def test_each_epoch_and_each_seed_puts_others_together() -> None:
    first, again, other = (BucketSampler(torch.ones(503).long(), 16, seed=seed) for seed in (0, 0, 1))
    torch.rand(1)  # another state of the global generator
    assert all(torch.equal(a, b) for a, b in zip(first.batches(), again.batches(), strict=True))
    assert not together(first.batches()) & together(other.batches())
    again.set_epoch(1)
    assert not together(first.batches()) & together(again.batches())


def test_more_than_a_pool_is_not_sorted_as_a_whole() -> None:
    """In pools of 100 of 503 different lengths, neighbours are seldom in one batch."""
    pairs = together(BucketSampler(torch.arange(503), 2).batches())
    neighbours = {frozenset((i, i + 1)) for i in range(0, 502, 2)}
    assert 0 < len(pairs & neighbours) < 125
    assert together(BucketSampler(torch.arange(100), 2).batches()) == {
        frozenset((i, i + 1)) for i in range(0, 100, 2)
    }


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("batch_size", [8, "full"])
def test_processes_share_the_examples_and_their_batches_match(world_size: int, batch_size: Any) -> None:
    shares = [
        BucketSampler(LENGTHS, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    steps = list(zip(*(sampler.batches() for sampler in shares), strict=True))
    assert len(steps) == len(shares[0])
    for sampler in shares:
        assert sum(map(len, sampler.batches())) == 503 // world_size
    everything = torch.cat([batch for step in steps for batch in step])
    assert len(everything.unique()) == len(everything) == 503 // world_size * world_size
    at_once = sorted((int(LENGTHS[s].min()), int(LENGTHS[s].max())) for s in map(torch.cat, steps))
    for (_, longest), (shortest, _) in pairwise(at_once):
        assert longest <= shortest


def test_what_is_left_out_changes_with_the_epoch() -> None:
    left_out = set()
    sampler = BucketSampler(torch.arange(7), 2, world_size=4)
    other = [BucketSampler(torch.arange(7), 2, rank=rank, world_size=4) for rank in range(1, 4)]
    for epoch in range(20):
        for part in (sampler, *other):
            part.set_epoch(epoch)
        seen = torch.cat([batch for part in (sampler, *other) for batch in part.batches()])
        assert len(seen) == 4
        left_out |= set(range(7)) - set(seen.tolist())
    assert left_out == set(range(7))


def test_a_process_without_a_share_has_no_batches() -> None:
    assert BucketSampler(torch.ones(1).long(), 4, rank=1, world_size=2).batches() == ()
