"""Design spaces: ranges, constraints, costs, and the comparison of errors."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.cnn.design_space import DESIGN_SPACES, AnyNetSizes, DesignSpace, dominates, error_edf, log_uniform

IMAGES = {"image_size": 32, "in_channels": 1, "num_classes": 10}
SMALL = AnyNetSizes(
    stem_channels=8,
    depths=(1, 2, 2, 3),
    widths=(8, 16, 24, 32),
    bottleneck_ratios=(2, 2, 2, 2),
    group_widths=(4, 4, 4, 4),
)


def draw(space: str, count: int, seed: int = 0) -> list[AnyNetSizes]:
    generator = torch.Generator().manual_seed(seed)
    return [DESIGN_SPACES[space].sample(generator, **IMAGES) for _ in range(count)]


def numbers(sizes: AnyNetSizes) -> tuple[int, ...]:
    return (
        sizes.stem_channels,
        *sizes.depths,
        *sizes.widths,
        *sizes.bottleneck_ratios,
        *sizes.group_widths,
    )


@pytest.mark.parametrize(("space", "expected"), [("A", 17), ("B", 14), ("C", 11), ("D", 11), ("E", 11)])
def test_degrees_of_freedom(space: str, expected: int) -> None:
    """As many of the 17 numbers vary on their own; the others repeat one of them in every network."""
    columns = set(zip(*(numbers(sizes) for sizes in draw(space, 30)), strict=True))
    assert len(columns) == expected == DESIGN_SPACES[space].degrees_of_freedom


@pytest.mark.parametrize("space", DESIGN_SPACES)
def test_networks_are_within_the_papers_ranges(space: str) -> None:
    for sizes in draw(space, 30):
        assert all(1 <= depth <= 16 for depth in sizes.depths)
        assert all(8 <= width <= 1024 and width % 8 == 0 for width in sizes.widths)
        assert 8 <= sizes.stem_channels <= 64
        assert sizes.stem_channels % 8 == 0
        assert set(sizes.bottleneck_ratios) <= {1, 2, 4}
        assert set(sizes.group_widths) <= {1, 2, 4, 8, 16, 32}
        for width, ratio, group in zip(
            sizes.widths, sizes.bottleneck_ratios, sizes.group_widths, strict=True
        ):
            assert width % (ratio * group) == 0
        if space in "BCDE":
            assert len(set(sizes.bottleneck_ratios)) == 1
        if space in "CDE":
            assert len(set(sizes.group_widths)) == 1
        if space in "DE":
            assert list(sizes.widths) == sorted(sizes.widths)
        if space == "E":
            assert list(sizes.depths) == sorted(sizes.depths)


@pytest.mark.parametrize(("part", "whole"), list(itertools.pairwise("EDCBA")))
def test_each_space_is_a_part_of_the_one_before(part: str, whole: str) -> None:
    assert all(sizes in DESIGN_SPACES[whole] for sizes in draw(part, 20))
    assert not all(sizes in DESIGN_SPACES[part] for sizes in draw(whole, 20))


@pytest.mark.parametrize(
    ("change", "spaces"),
    [
        ({}, "ABCDE"),
        ({"depths": (1, 3, 2, 2)}, "ABCD"),
        ({"widths": (8, 16, 32, 24)}, "ABC"),
        ({"group_widths": (4, 4, 4, 2)}, "AB"),
        ({"bottleneck_ratios": (2, 2, 2, 1)}, "A"),
        ({"group_widths": (8, 8, 8, 8)}, ""),  # wider than the 4 channels of the first stage
    ],
)
def test_members(change: dict[str, Any], spaces: str) -> None:
    sizes = replace(SMALL, **change)
    assert "".join(name for name, space in DESIGN_SPACES.items() if sizes in space) == spaces


def test_the_generator_decides() -> None:
    assert draw("A", 3, seed=5) == draw("A", 3, seed=5)
    assert draw("A", 3, seed=5) != draw("A", 3, seed=6)
    assert len(set(draw("A", 10))) == 10


def test_bounds_are_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    bounds = {"min_multiplications": 2e6, "max_multiplications": 4e6}
    for _ in range(5):
        sizes = DESIGN_SPACES["C"].sample(generator, **IMAGES, **bounds)
        assert 2e6 <= sizes.multiplications(**IMAGES) <= 4e6


def test_bounds_that_nothing_keeps_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.cnn.design_space.MAX_TRIES", 20)
    with pytest.raises(ValueError, match=r"^of 20 networks that were drawn none needs between 1 and 2 mult"):
        DESIGN_SPACES["A"].sample(torch.Generator(), **IMAGES, min_multiplications=1, max_multiplications=2)


@pytest.mark.parametrize("image_size", [1, 9, 32])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_multiplications_are_those_that_torch_counts(image_size: int, in_channels: int) -> None:
    images = {"image_size": image_size, "in_channels": in_channels, "num_classes": 7}
    for sizes in [SMALL, *draw("A", 2)]:
        with torch.device("meta"):
            net = zoo.AnyNet(**sizes.arguments(), **images, init="default").net.eval()
            with FlopCounterMode(display=False) as counter:
                net(torch.zeros(1, in_channels, image_size, image_size))
        assert sizes.multiplications(**images) == counter.get_total_flops() // 2


def test_arguments_are_any_nets() -> None:
    model = zoo.AnyNet(**SMALL.arguments(), **IMAGES)
    assert [len(stage) for stage in model.net.trunk_output] == [1, 2, 2, 3]
    assert [stage[0].f.b[0].out_channels for stage in model.net.trunk_output] == [4, 8, 12, 16]
    assert [stage[0].f.b[0].groups for stage in model.net.trunk_output] == [1, 2, 3, 4]
    assert model(model.example_batch(2)[0]).shape == (2, 10)


@pytest.mark.parametrize("maximum", [1, 2, 16, 128])
def test_log_uniform(maximum: int) -> None:
    """Number k is drawn from u between log(k) and log(k + 1), over log(maximum + 1)."""
    for k in range(1, maximum + 1):
        low, high = (math.log(edge) / math.log(maximum + 1) for edge in (k, k + 1))
        assert log_uniform((low + high) / 2, maximum) == k
        assert log_uniform(low + 1e-9, maximum) == k
        assert log_uniform(high - 1e-9, maximum) == k
    assert log_uniform(0.0, maximum) == 1
    assert log_uniform(1 - 2**-53, maximum) == maximum


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_width": 12}, "max_width is 12, but must be a multiple of 8"),
        ({"max_stem_channels": 0}, "max_stem_channels is 0, but must be a multiple of 8"),
        ({"num_stages": 0}, "num_stages is 0, but must be positive"),
        ({"max_depth": 0}, "max_depth is 0, but must be positive"),
    ],
)
def test_bad_ranges_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        DesignSpace(**arguments)


# Errors


def test_edf_by_hand() -> None:
    errors = torch.tensor([0.3, 0.1, 0.3, 0.6])
    points = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 1.0])
    expected = torch.tensor([0, 0.25, 0.25, 0.75, 0.75, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(error_edf(errors, points), expected, atol=0, rtol=0)
    with pytest.raises(ValueError, match="number of errors is 0"):
        error_edf(torch.tensor([]), points)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.1, 0.2], [0.2, 0.3], True),
        ([0.1, 0.2], [0.1, 0.3], True),
        ([0.1, 0.2], [0.1, 0.2], False),  # the same
        ([0.1, 0.4], [0.2, 0.3], False),  # the better best one, the worse worst one
        ([0.2, 0.3], [0.1, 0.4], False),
        ([0.1], [0.1, 0.2], True),
        ([0.1, 0.2, 0.2], [0.1, 0.1, 0.2], False),
        ([0.1, 0.1, 0.2], [0.1, 0.2, 0.2], True),
    ],
)
def test_dominance(first: list[float], second: list[float], expected: bool) -> None:
    assert dominates(first, second) is expected
    if expected:
        assert not dominates(second, first)


def test_dominance_is_that_of_the_sorted_errors() -> None:
    """For samples of one size: each ordered error of the first is at most that of the second."""
    generator = torch.Generator().manual_seed(0)
    outcomes = []
    for _ in range(200):
        first, second = (torch.randint(0, 9, (3,), generator=generator).sort().values for _ in range(2))
        expected = bool((first <= second).all() and (first < second).any())
        assert dominates(first.tolist(), second.tolist()) is expected
        outcomes.append(expected)
    assert 20 < sum(outcomes) < 180
