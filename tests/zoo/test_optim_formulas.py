"""Optimizers' formulas, for one number, in NumPy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from tests.zoo.optim_runs import GRADIENTS, network, path_of, take
from zoo import optim


def weighted(share: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(1 - share) * sum of share^k * value k steps ago``: a moving average, by its expanded form."""
    steps = range(len(values))
    return np.array([(1 - share) * sum(share**k * values[t - k] for k in range(t + 1)) for t in steps])


def test_adagrad_with_eps_inside_the_root() -> None:
    moved = 0.1 * GRADIENTS / np.sqrt(np.cumsum(GRADIENTS**2) + 1e-6)
    expected = 0.5 - np.cumsum(moved)
    assert take(optim.Adagrad, lr=0.1, eps=1e-6, eps_inside_root=True) == pytest.approx(expected, abs=1e-14)
    outside = take(optim.Adagrad, lr=0.1, eps=1e-6)
    assert abs(outside[0] - expected[0]) > 0.05  # the first gradient is about as small as the root of eps


def test_rmsprop_with_eps_inside_the_root() -> None:
    moved = 0.1 * GRADIENTS / np.sqrt(weighted(0.9, GRADIENTS**2) + 1e-6)
    expected = 0.5 - np.cumsum(moved)
    arguments = {"lr": 0.1, "alpha": 0.9, "eps": 1e-6}
    assert take(optim.RMSprop, **arguments, eps_inside_root=True) == pytest.approx(expected, abs=1e-14)
    assert abs(take(optim.RMSprop, **arguments)[0] - expected[0]) > 0.05


def test_momentum_is_a_sum_of_past_gradients_or_their_average() -> None:
    average = weighted(0.9, GRADIENTS)
    assert take(optim.Momentum, lr=0.1) == pytest.approx(0.5 - np.cumsum(0.1 * average / (1 - 0.9)))
    assert take(optim.Momentum, lr=0.1, ema=True) == pytest.approx(0.5 - np.cumsum(0.1 * average))


def test_ema_is_momentum_at_a_lower_rate_and_not_torchs_dampening() -> None:
    ema = path_of(optim.Momentum, lr=0.05, ema=True)
    torch.testing.assert_close(ema, path_of(torch.optim.SGD, lr=0.05 * (1 - 0.9), momentum=0.9))
    dampened = take(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.9)
    assert 0.5 - dampened[0] == pytest.approx(0.1 * GRADIENTS[0])
    assert 0.5 - take(optim.Momentum, lr=0.1, ema=True)[0] == pytest.approx(0.01 * GRADIENTS[0])


def test_adadelta_forgets_half_of_a_square_in_less_than_seven_steps() -> None:
    """Not ten, as texts say for rho .9: log .5 / log .9 is 6.6."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = optim.Adadelta([parameter], rho=0.9)
    kept = []
    for step in range(9):
        parameter.grad = torch.full_like(parameter, 1.0 if step == 0 else 0.0)
        optimizer.step()
        kept.append(optimizer.state[parameter]["square_avg"].item() / 0.1)
    assert kept[6] > 0.5 > kept[7]
    assert math.log(0.5) / math.log(0.9) == pytest.approx(6.6, abs=0.03)


@pytest.mark.parametrize(
    ("cls", "square", "expected"),
    [(optim.Adam, 4.0, 1.3), (optim.Adam, 0.25, 0.925), (optim.Yogi, 4.0, 1.4), (optim.Yogi, 0.25, 0.975)],
)
def test_average_of_squares_of_adam_and_yogi(cls: Any, square: float, expected: float) -> None:
    """From s = 1, with beta2 = .9."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = cls([parameter], betas=(0.9, 0.9))
    parameter.grad = torch.zeros(1)
    optimizer.step()
    optimizer.state[parameter]["exp_avg_sq"].fill_(1)
    parameter.grad = torch.full((1,), math.sqrt(square))
    optimizer.step()
    assert optimizer.state[parameter]["exp_avg_sq"].item() == pytest.approx(expected)


def test_yogi_is_its_formula() -> None:
    v = s = 0.0
    x, expected = 0.5, []
    for t, g in enumerate(GRADIENTS, start=1):
        v += 0.1 * (g - v)
        s += 0.01 * g**2 if g**2 > s else -0.01 * g**2
        x -= 0.05 * v / (1 - 0.9**t) / (math.sqrt(s / (1 - 0.99**t)) + 1e-3)
        expected.append(x)
    assert take(optim.Yogi, lr=0.05, betas=(0.9, 0.99)) == pytest.approx(expected)
    decayed = take(optim.Yogi, lr=0.05, betas=(0.9, 0.99), weight_decay=0.1)
    assert decayed != pytest.approx(expected)
    assert optim.Yogi(network().parameters()).defaults["eps"] == 1e-3
