"""Design spaces: ranges, constraints, costs, and the comparison of errors."""

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.cnn.design_space import (
    DESIGN_SPACES,
    LARGEST,
    SMALLEST,
    AnyNetSizes,
    dominates,
    error_edf,
    log_uniform,
)

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
    """As many of the 17 numbers vary on their own; the others repeat one of them in every network.

    In every network, that is, whose bottlenecks are all wide enough for the widest groups.
    """
    wide = [numbers(sizes) for sizes in draw(space, 200) if min(sizes.bottleneck_widths) >= 32]
    assert len(wide) > 5
    columns = set(zip(*wide, strict=True))
    assert len(columns) == expected == DESIGN_SPACES[space].degrees_of_freedom


@pytest.mark.parametrize("space", DESIGN_SPACES)
def test_networks_are_within_the_papers_ranges(space: str) -> None:
    for sizes in draw(space, 30):
        assert all(1 <= depth <= 16 for depth in sizes.depths)
        assert all(8 <= width <= 1024 and width % 8 == 0 for width in sizes.widths)
        assert 8 <= sizes.stem_channels <= 64
        assert sizes.stem_channels % 8 == 0
        assert set(sizes.bottleneck_ratios) <= {1, 2, 4}
        groups = []
        for width, ratio, group in zip(
            sizes.widths, sizes.bottleneck_ratios, sizes.group_widths, strict=True
        ):
            assert width % (ratio * group) == 0
            if group < width // ratio:
                assert group in {1, 2, 4, 8, 16, 32}
                groups.append(group)
        if space in "BCDE":
            assert len(set(sizes.bottleneck_ratios)) == 1
        if space in "CDE":
            assert len(set(groups)) <= 1
            assert all(group <= min(groups, default=32) for group in sizes.group_widths)
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
        ({"group_widths": (4, 8, 4, 8)}, "AB"),  # the third stage could be wider
        ({"group_widths": (4, 8, 12, 16)}, "ABCDE"),  # all are one group: 16 or 32 was drawn
        ({"group_widths": (4, 8, 12, 8)}, "AB"),  # 8 was not drawn for the third
        ({"group_widths": (4, 4, 6, 4)}, ""),  # 6 divides 12, but nothing gives it
    ],
)
def test_members(change: dict[str, Any], spaces: str) -> None:
    sizes = replace(SMALL, **change)
    assert "".join(name for name, space in DESIGN_SPACES.items() if sizes in space) == spaces


@pytest.mark.parametrize(
    ("width", "ratio", "group", "expected"),
    [
        (64, 1, 32, (64, 32)),
        (56, 1, 32, (64, 32)),  # 1.75 groups
        (72, 1, 32, (64, 32)),  # 2.25
        (48, 1, 32, (64, 32)),  # 1.5, between 1 and 2
        (80, 1, 32, (64, 32)),  # 2.5, between 2 and 3
        (16, 2, 32, (16, 8)),
        (24, 4, 16, (24, 6)),  # a group of 6, though that is no power of 2
        (8, 4, 1, (8, 1)),
        (72, 4, 16, (64, 16)),  # 18 channels are nearer to 16 than to 32
        (104, 4, 16, (128, 16)),  # 26 are nearer to 32
        (1024, 4, 32, (1024, 32)),
    ],
)
def test_compatible_sizes_by_hand(width: int, ratio: int, group: int, expected: tuple[int, int]) -> None:
    """The second stage is changed, the others are not."""
    drawn = replace(
        SMALL,
        widths=(8, width, 24, 32),
        bottleneck_ratios=(2, ratio, 2, 2),
        group_widths=(4, group, 4, 4),
    )
    assert drawn.compatible() == replace(
        drawn, widths=(8, expected[0], 24, 32), group_widths=(4, expected[1], 4, 4)
    )


def test_compatible_widths_stay_in_order_and_in_range() -> None:
    for ratio, group in itertools.product((1, 2, 4), (1, 2, 4, 8, 16, 32)):
        drawn = AnyNetSizes(
            stem_channels=8,
            depths=(1,) * 128,
            widths=tuple(range(8, 1025, 8)),
            bottleneck_ratios=(ratio,) * 128,
            group_widths=(group,) * 128,
        )
        widths = drawn.compatible().widths
        assert list(widths) == sorted(widths)
        assert all(8 <= width <= 1024 and width % 8 == 0 for width in widths)


def reference(space: str, count: int) -> list[AnyNetSizes]:
    """Networks drawn with NumPy: number k has probability log((k + 1) / k) / log(maximum + 1)."""
    rng = np.random.default_rng(1)

    def log_uniforms(maximum: int, columns: int) -> Any:
        k = np.arange(1, maximum + 1)
        return rng.choice(k, (count, columns), p=np.log((k + 1) / k) / np.log(maximum + 1))

    stems, depths, drawn_widths = 8 * log_uniforms(8, 1), log_uniforms(16, 4), 8 * log_uniforms(128, 4)
    ratios = rng.choice([1, 2, 4], (count, 4))
    groups = rng.choice([1, 2, 4, 8, 16, 32], (count, 4))
    if space in "BCDE":
        ratios[:] = ratios[:, :1]
    if space in "CDE":
        groups[:] = groups[:, :1]
    keep = np.ones(count, dtype=bool)
    if space in "DE":
        keep &= (np.diff(drawn_widths) >= 0).all(axis=1)
    if space == "E":
        keep &= (np.diff(depths) >= 0).all(axis=1)
    groups = np.minimum(groups, drawn_widths // ratios)
    widths = np.rint(drawn_widths / ratios / groups).astype(int) * groups * ratios
    return [
        AnyNetSizes(
            stem_channels=int(stems[i, 0]),
            depths=tuple(depths[i].tolist()),
            widths=tuple(widths[i].tolist()),
            bottleneck_ratios=tuple(ratios[i].tolist()),
            group_widths=tuple(groups[i].tolist()),
        )
        for i in np.flatnonzero(keep)
    ]


def chi_squared(observed: Sequence[Hashable], expected: Sequence[Hashable]) -> tuple[float, int]:
    """The statistic and its degrees of freedom; values expected less than 5 times count as one."""
    share = len(observed) / len(expected)
    often = {value: n * share for value, n in Counter(expected).items() if n * share >= 5}
    found = Counter(value if value in often else "rare" for value in observed)
    often["rare"] = max(len(observed) - sum(often.values()), 1.0)
    return sum((found[value] - n) ** 2 / n for value, n in often.items()), len(often) - 1


@pytest.mark.parametrize(("space", "count"), [("A", 1000), ("B", 1000), ("C", 1000), ("D", 1000), ("E", 150)])
def test_sizes_follow_their_law(space: str, count: int) -> None:
    """Log-uniform and independent, but for what the space's constraints and the divisibility ask.

    Pairs of ratio and group width also show that these two do not depend on each other.
    """
    drawn, expected = draw(space, count, seed=3), reference(space, 20_000 if space in "ABC" else 400_000)
    assert len(expected) > 1000
    for stage in range(4):
        for numbers_of in (
            lambda s: s.stem_channels,
            lambda s, i=stage: s.depths[i],
            lambda s, i=stage: s.widths[i].bit_length(),
            lambda s, i=stage: (s.bottleneck_ratios[i], s.group_widths[i]),
            lambda s, i=stage: (s.group_widths[i], s.group_widths[i - 1]),
        ):
            statistic, freedom = chi_squared([*map(numbers_of, drawn)], [*map(numbers_of, expected)])
            assert freedom >= 3
            assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_sizes_are_drawn_independently() -> None:
    """Of AnyNetA's 17 numbers none follows another, but for a group that is as wide as its bottleneck."""
    drawn = np.log([numbers(sizes) for sizes in draw("A", 1000)])
    correlations = np.corrcoef(drawn, rowvar=False)
    for stage in range(4):
        for other in (5 + stage, 9 + stage):  # its width and its ratio
            correlations[13 + stage, other] = correlations[other, 13 + stage] = 0
    np.testing.assert_allclose(correlations, np.eye(17), atol=0.15)


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
    bounds = {"min_multiplications": 1_000_001, "max_multiplications": 1_000_002}
    line = r"^of 20 networks that were drawn none needs between 1,000,001 and 1,000,002 mult"
    with pytest.raises(ValueError, match=line):
        DESIGN_SPACES["A"].sample(torch.Generator(), **IMAGES, **bounds)


@pytest.mark.parametrize(("low", "high", "fits"), [(-1, -1, False), (-1, 0, True), (0, 0, True)])
@pytest.mark.parametrize("space", DESIGN_SPACES)
def test_bounds_beyond_the_smallest_and_the_largest_network_are_refused_at_once(
    space: str, low: int, high: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand, for images of one pixel.

    Depth, width, ratio and group width of each stage are 1, 8, 4, 1 or 16, 1024, 1, 32.
    """
    least = 9 * 8 + 4 * (8 * 2 + 9 * 2 + 2 * 8 + 8 * 8) + 8 * 10
    first = 64 * 1024 + 9 * 1024 * 32 + 1024 * 1024 + 64 * 1024
    rest = 1024 * 1024 + 9 * 1024 * 32 + 1024 * 1024
    most = 9 * 64 + first + 3 * (rest + 1024 * 1024) + 4 * 15 * rest + 1024 * 10
    monkeypatch.setattr("zoo.cnn.design_space.MAX_TRIES", 0)
    images = IMAGES | {"image_size": 1}
    message = "of 0 networks" if fits else f"no network needs .* it takes from {least:,} to {most:,}$"
    for bounds in ((least + low, least + high), (most - high, most - low)):
        with pytest.raises(ValueError, match=message):
            DESIGN_SPACES[space].sample(
                torch.Generator(), **images, min_multiplications=bounds[0], max_multiplications=bounds[1]
            )


def test_the_smallest_and_the_largest_network_are_in_every_space() -> None:
    for end, sign in ((SMALLEST, 1), (LARGEST, -1)):
        assert end.compatible() == end
        assert all(end in space for space in DESIGN_SPACES.values())
        for image_size in (1, 7, 32):
            images = IMAGES | {"image_size": image_size}
            cost = sign * end.multiplications(**images)
            assert all(cost <= sign * sizes.multiplications(**images) for sizes in draw("A", 50))


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


def test_bounds_in_the_wrong_order_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.cnn.design_space.MAX_TRIES", 0)
    with pytest.raises(
        ValueError, match=r"^min_multiplications is 2,000, but must be at most max_mult.*, 1,000$"
    ):
        DESIGN_SPACES["A"].sample(
            torch.Generator(), **IMAGES, min_multiplications=2000, max_multiplications=1000
        )


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
        u = torch.tensor([(low + high) / 2, low + 1e-9, high - 1e-9], dtype=torch.float64)
        assert log_uniform(u, maximum).tolist() == [k, k, k]
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert log_uniform(ends, maximum).tolist() == [1, maximum]


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
