"""Design spaces of AnyNets: drawing networks, and comparing the spaces by their errors (section 8.8).

Radosavovic et al., 2020, arXiv:2003.13678. A space is better than another if its networks are, on the whole,
not if its best one is. So one draws networks from each, trains each a little, and compares the distributions
of their errors. The ranges are the paper's, except that the stem, which has 32 channels there, is drawn too:
with it, as the book counts, AnyNetA has 17 degrees of freedom. Where a group width does not divide a stage,
the sizes are changed as the paper's code (pycls) changes them; drawing again would leave fewer wide groups,
and fewer still where all stages share them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo._checks import check_at_least

__all__ = ["DESIGN_SPACES", "AnyNetSizes", "DesignSpace", "dominates", "error_edf", "log_uniform"]

NUM_STAGES = 4
QUANTUM = 8
"""All widths are multiples of it."""
MAX_STEM_CHANNELS = 64
MAX_DEPTH = 16
MAX_WIDTH = 1024
RATIOS = (1, 2, 4)
"""Bottleneck ratios."""
GROUP_WIDTHS = (1, 2, 4, 8, 16, 32)
MAX_TRIES = 20_000
BLOCK = 1024
"""How many networks are drawn at a time; few of them have their stages in order."""


@dataclass(frozen=True, kw_only=True)
class AnyNetSizes:
    """One network of a design space.

    Attributes:
        stem_channels: Channels of the stem.
        depths: Number of blocks in each stage.
        widths: Channels of each stage.
        bottleneck_ratios: By how much the 3 x 3 convolutions of each stage are narrower than the stage.
        group_widths: Channels of each group of those convolutions.
    """

    stem_channels: int
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck_ratios: tuple[int, ...]
    group_widths: tuple[int, ...]

    @property
    def bottleneck_widths(self) -> tuple[int, ...]:
        """Channels of the 3 x 3 convolutions of each stage."""
        return tuple(w // ratio for w, ratio in zip(self.widths, self.bottleneck_ratios, strict=True))

    def compatible(self) -> "AnyNetSizes":
        """The sizes of a network that can be built: each group width divides its bottleneck.

        A bottleneck that is narrower than a group becomes one group. Any other gets the nearest multiple of
        the group width, of two equally near ones the even one, and the stage's width follows it.
        """
        middles = self.bottleneck_widths
        groups = tuple(min(pair) for pair in zip(self.group_widths, middles, strict=True))
        rounded = [round(middle / group) * group for middle, group in zip(middles, groups, strict=True)]
        widths = tuple(m * ratio for m, ratio in zip(rounded, self.bottleneck_ratios, strict=True))
        return replace(self, widths=widths, group_widths=groups)

    def arguments(self) -> dict[str, Any]:
        """The arguments of :class:`zoo.AnyNet`."""
        return {
            "stem_channels": self.stem_channels,
            "depths": self.depths,
            "widths": self.widths,
            "group_widths": self.group_widths,
            "bottleneck_multipliers": tuple(1 / ratio for ratio in self.bottleneck_ratios),
        }

    def multiplications(self, *, image_size: int, in_channels: int, num_classes: int) -> int:
        """Multiplications of the convolutions and the linear layer for one image (the paper's flops).

        Args:
            image_size: Height and width in pixels.
            in_channels: Number of image channels.
            num_classes: Number of classes.
        """
        side = (image_size + 1) // 2
        total = side**2 * 9 * in_channels * self.stem_channels
        before = self.stem_channels
        stages = zip(self.depths, self.widths, self.bottleneck_widths, self.group_widths, strict=True)
        for depth, width, middle, group_width in stages:
            after = (side + 1) // 2
            rest = 9 * middle * group_width + middle * width
            total += side**2 * before * middle + after**2 * (rest + before * width)
            total += (depth - 1) * after**2 * (width * middle + rest)
            side, before = after, width
        return total + before * num_classes


@dataclass(frozen=True, kw_only=True)
class DesignSpace:
    """A set of AnyNets: ranges for the sizes of each stage, and constraints between the stages.

    Attributes:
        shared_ratio: All stages have the same bottleneck ratio.
        shared_group_width: All stages have the same group width; a bottleneck that is narrower is one group.
        growing_widths: No stage is narrower than the one before.
        growing_depths: No stage has fewer blocks than the one before.
    """

    shared_ratio: bool = False
    shared_group_width: bool = False
    growing_widths: bool = False
    growing_depths: bool = False

    @property
    def degrees_of_freedom(self) -> int:
        """How many numbers say which network it is."""
        ratios = 1 if self.shared_ratio else NUM_STAGES
        group_widths = 1 if self.shared_group_width else NUM_STAGES
        return 1 + 2 * NUM_STAGES + ratios + group_widths

    def __contains__(self, sizes: AnyNetSizes) -> bool:
        """Whether a network whose depths, widths and ratios are within the ranges is one of this space."""
        stages = list(zip(sizes.bottleneck_widths, sizes.group_widths, strict=True))
        # The group widths that may have been drawn: several, where the bottleneck is one group.
        drawn = [{g for g in GROUP_WIDTHS if min(g, middle) == group} for middle, group in stages]
        return (
            all(middle % group == 0 for middle, group in stages)
            and all(drawn)
            and (not self.shared_ratio or len(set(sizes.bottleneck_ratios)) == 1)
            and (not self.shared_group_width or bool(set.intersection(*drawn)))
            and self._grows(sizes)
        )

    def _grows(self, sizes: AnyNetSizes) -> bool:
        return (not self.growing_widths or all(a <= b for a, b in pairwise(sizes.widths))) and (
            not self.growing_depths or all(a <= b for a, b in pairwise(sizes.depths))
        )

    def sample(
        self,
        generator: torch.Generator,
        *,
        image_size: int,
        in_channels: int,
        num_classes: int,
        min_multiplications: float = 0,
        max_multiplications: float = float("inf"),
    ) -> AnyNetSizes:
        """Draw a network.

        Each size is drawn log-uniformly from its range, again until no stage is smaller than the one before
        where the space asks for that. Then widths and group widths are made compatible
        (:meth:`AnyNetSizes.compatible`), which leaves the order of the stages as it is. A network that needs
        too many or too few multiplications is drawn anew.

        Args:
            generator: Source of the random numbers.
            image_size: Height and width in pixels.
            in_channels: Number of image channels.
            num_classes: Number of classes.
            min_multiplications: Fewest multiplications for one image (the paper's flops).
            max_multiplications: Most multiplications for one image.

        Raises:
            ValueError: If the bounds are in the wrong order, if no network of any size is within them, or if
                none of 20,000 that were drawn is.
        """
        images = {"image_size": image_size, "in_channels": in_channels, "num_classes": num_classes}
        if not min_multiplications <= max_multiplications:
            raise ValueError(
                f"min_multiplications is {min_multiplications:,}, but must be at most max_multiplications, "
                f"{max_multiplications:,}"
            )
        least, most = SMALLEST.multiplications(**images), LARGEST.multiplications(**images)
        if max_multiplications < least or min_multiplications > most:
            raise ValueError(
                f"no network needs between {min_multiplications:,} and {max_multiplications:,} "
                f"multiplications; for these images it takes from {least:,} to {most:,}"
            )
        for drawn in islice(self._draw(generator), MAX_TRIES):
            sizes = drawn.compatible()
            if min_multiplications <= sizes.multiplications(**images) <= max_multiplications:
                return sizes
        raise ValueError(
            f"of {MAX_TRIES:,} networks that were drawn none needs between {min_multiplications:,} and "
            f"{max_multiplications:,} multiplications; widen the bounds"
        )

    def _draw(self, generator: torch.Generator) -> Iterator[AnyNetSizes]:
        """Networks whose stages are in order, without end."""
        n = NUM_STAGES
        while True:
            u = torch.rand(BLOCK, 1 + 4 * n, dtype=torch.float64, generator=generator)
            if self.growing_widths:
                u = u[(log_uniform(u[:, 1 + 3 * n :], MAX_WIDTH // QUANTUM).diff() >= 0).all(dim=1)]
            if self.growing_depths:
                u = u[(log_uniform(u[:, 1 + 2 * n : 1 + 3 * n], MAX_DEPTH).diff() >= 0).all(dim=1)]
            stems = QUANTUM * log_uniform(u[:, 0], MAX_STEM_CHANNELS // QUANTUM)
            ratios = torch.tensor(RATIOS)[(len(RATIOS) * u[:, 1 : 1 + n]).long()]
            groups = torch.tensor(GROUP_WIDTHS)[(len(GROUP_WIDTHS) * u[:, 1 + n : 1 + 2 * n]).long()]
            depths = log_uniform(u[:, 1 + 2 * n : 1 + 3 * n], MAX_DEPTH)
            widths = QUANTUM * log_uniform(u[:, 1 + 3 * n :], MAX_WIDTH // QUANTUM)
            if self.shared_ratio:
                ratios = ratios[:, :1].expand(-1, n)
            if self.shared_group_width:
                groups = groups[:, :1].expand(-1, n)
            for i in range(len(u)):
                yield AnyNetSizes(
                    stem_channels=int(stems[i]),
                    depths=tuple(depths[i].tolist()),
                    widths=tuple(widths[i].tolist()),
                    bottleneck_ratios=tuple(ratios[i].tolist()),
                    group_widths=tuple(groups[i].tolist()),
                )


SMALLEST = AnyNetSizes(
    stem_channels=QUANTUM,
    depths=(1,) * NUM_STAGES,
    widths=(QUANTUM,) * NUM_STAGES,
    bottleneck_ratios=(max(RATIOS),) * NUM_STAGES,
    group_widths=(1,) * NUM_STAGES,
)
"""The network of fewest multiplications, in every space."""
LARGEST = AnyNetSizes(
    stem_channels=MAX_STEM_CHANNELS,
    depths=(MAX_DEPTH,) * NUM_STAGES,
    widths=(MAX_WIDTH,) * NUM_STAGES,
    bottleneck_ratios=(1,) * NUM_STAGES,
    group_widths=(max(GROUP_WIDTHS),) * NUM_STAGES,
)
"""That of most."""
DESIGN_SPACES = {
    "A": DesignSpace(),
    "B": DesignSpace(shared_ratio=True),
    "C": DesignSpace(shared_ratio=True, shared_group_width=True),
    "D": DesignSpace(shared_ratio=True, shared_group_width=True, growing_widths=True),
    "E": DesignSpace(shared_ratio=True, shared_group_width=True, growing_widths=True, growing_depths=True),
}
"""AnyNetA to AnyNetE: each is a part of the one before."""


def log_uniform(u: Float[Tensor, "*numbers"], maximum: int) -> Int[Tensor, "*numbers"]:
    """Whole numbers from 1 to ``maximum`` whose logarithm is uniform.

    Args:
        u: Uniform in [0, 1), float64.
        maximum: The largest number.

    Returns:
        k with probability log((k + 1) / k) / log(maximum + 1), int64.
    """
    return ((maximum + 1) ** u).long().clamp(max=maximum)


def error_edf(errors: Float[Tensor, " networks"], thresholds: Float[Tensor, " points"]) -> Tensor:
    """The empirical distribution of errors: the share of networks with at most that error (equation 8.8.2).

    Args:
        errors: Errors of the networks of a space, at least one, in [0, 1].
        thresholds: Where to ask.

    Returns:
        (points,), float64. (The paper counts errors strictly below; the two differ at the errors alone.)

    Raises:
        ValueError: If there are no errors.
    """
    check_at_least("number of errors", errors.numel(), 1)
    return (errors[None, :] <= thresholds[:, None]).double().mean(dim=1)


def dominates(errors: Sequence[float], others: Sequence[float]) -> bool:
    """Whether a space is better than another at every error that one may ask for.

    Args:
        errors: Errors of the first space's networks.
        others: Errors of the second's.

    Returns:
        Whether the first's distribution function is nowhere below the second's, and somewhere above.
    """
    first, second = torch.tensor(errors, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    points = torch.cat([first, second])
    ahead = error_edf(first, points) - error_edf(second, points)
    return bool((ahead >= -1e-12).all() and (ahead > 1e-12).any())
