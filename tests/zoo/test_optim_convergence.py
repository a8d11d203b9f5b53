"""Rates of convergence: bounds, averages, minibatches, momentum."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from tests.zoo.optim_runs import f64
from zoo import optim
from zoo.optim import convergence, toy


def test_bound_of_stochastic_gradient_descent() -> None:
    assert convergence.best_constant_rate(1, 1, 100) == pytest.approx(0.1)
    assert convergence.sgd_bound(1, 1, [0.1] * 100) == pytest.approx(0.1)
    assert convergence.sgd_bound(2, 3, [0.5, 0.25]) == pytest.approx((4 + 9 * 0.3125) / 1.5)
    best = convergence.best_constant_rate(2, 3, 50)
    assert convergence.sgd_bound(2, 3, [best] * 50) == pytest.approx(2 * 3 / math.sqrt(50))
    for other in (0.9 * best, 1.1 * best):
        assert convergence.sgd_bound(2, 3, [other] * 50) > convergence.sgd_bound(2, 3, [best] * 50)
    with pytest.raises(ValueError, match=r"the sum of rates is 0\.0, but must be positive"):
        convergence.sgd_bound(1, 1, [])
    with pytest.raises(ValueError, match=r"rates\[1\] is -1, but must be at least 0"):
        convergence.sgd_bound(1, 1, [2, -1])


def test_averaged_point_keeps_within_the_bound() -> None:
    """The risk mean |x - x_i| over 8 points has gradients of norm 1 at most, and the median as a minimum."""
    data = torch.arange(8, dtype=torch.float64) ** 2

    def risk(x: Tensor) -> Tensor:
        return (x - data).abs().mean()

    rate, start = convergence.best_constant_rate(10, 1, 100), float(data.median()) + 10
    gaps = []
    for seed in range(20):
        drawn = iter(torch.randint(8, (100,), generator=torch.Generator().manual_seed(seed)).tolist())
        path = toy.trajectory(
            lambda x, drawn=drawn: (x[0] - data[next(drawn)]).abs(),  # type: ignore[misc]
            (start,),
            lambda p: optim.SGD(p, lr=rate),
            steps=100,
        )
        average = convergence.polyak_average(path[:-1], [rate] * 100)
        gaps.append((risk(average) - risk(data.median())).item())
    bound = convergence.sgd_bound(10, 1, [rate] * 100)
    assert bound == pytest.approx(1)
    assert 0 < sum(gaps) / 20 <= bound


def test_polyak_average_weighs_with_the_rates() -> None:
    path = f64([1, 0], [2, 4], [3, -4])
    torch.testing.assert_close(convergence.polyak_average(path, [1, 1, 2]), f64(9, -4) / 4)
    torch.testing.assert_close(convergence.polyak_average(path, [3, 3, 3]), path.mean(dim=0))
    assert convergence.polyak_average(path.reshape(3, 1, 2), [1, 0, 0]).tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="the number of rates is 2, but must be 3, one for each step"):
        convergence.polyak_average(path, [1, 1])


def test_chance_to_be_drawn() -> None:
    assert convergence.chance_drawn(1000, 1000) == pytest.approx(0.632305, abs=5e-7)
    assert convergence.chance_drawn(2, 3) == pytest.approx(7 / 8)
    drawn = list(itertools.product(range(3), repeat=4))
    assert convergence.chance_drawn(3, 4) == pytest.approx(sum(0 in d for d in drawn) / len(drawn))
    assert convergence.chance_drawn(5, 0) == 0


def test_deviation_of_a_minibatch_over_all_minibatches() -> None:
    gradients = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (1, 2, 3):
        for replacement, batches in (
            (True, itertools.product(range(5), repeat=size)),
            (False, itertools.permutations(range(5), size)),
        ):
            means = torch.stack([gradients[list(batch)].mean(dim=0) for batch in batches])
            got = convergence.minibatch_deviation(gradients, size, replacement=replacement)
            torch.testing.assert_close(got, means.std(dim=0, correction=0))
    one = convergence.minibatch_deviation(gradients, 1, replacement=True)
    torch.testing.assert_close(convergence.minibatch_deviation(gradients, 64, replacement=True), one / 8)
    assert not convergence.minibatch_deviation(gradients, 5, replacement=False).any()
    with pytest.raises(
        ValueError, match="batch_size is 6, but must be at most 5 to draw without replacement"
    ):
        convergence.minibatch_deviation(gradients, 6, replacement=False)


@pytest.mark.parametrize(
    ("product", "momentum", "radius"),
    [
        (2.59, 0.3, 0.9856),
        (2.61, 0.3, 1.0142),
        (3.79, 0.9, 0.9487),
        (3.81, 0.9, 1.0647),
        (1.99, 0.0, 0.99),
        (2.01, 0.0, 1.01),
    ],
)
def test_range_of_rates_with_momentum(product: float, momentum: float, radius: float) -> None:
    assert convergence.momentum_radius(product, momentum) == pytest.approx(radius, abs=5e-5)


def test_radius_is_that_of_the_optimizer() -> None:
    """With curvature 2 and rate 1.305; the distance grows by the radius per step."""
    path = toy.trajectory(toy.parabola, (1.0,), lambda p: optim.Momentum(p, lr=1.305, momentum=0.3), steps=60)
    growth = (path[-1] / path[-31]).abs().item() ** (1 / 30)
    assert growth == pytest.approx(convergence.momentum_radius(2 * 1.305, 0.3), rel=1e-6)
