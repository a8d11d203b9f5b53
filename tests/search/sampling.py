"""What several files of tests of samplers need: silence, a learning rate, an objective."""

import math
from collections.abc import Iterator

import optuna
from optuna.distributions import FloatDistribution

LR = FloatDistribution(1e-4, 1.0, log=True)


def quiet() -> Iterator[None]:
    """Let Optuna log nothing less than warnings; for a fixture."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def branin(a: float, b: float) -> float:
    """On the unit square; its three minima are .398, its mean is 54."""
    u, v = 15 * a - 5, 15 * b
    bowl = v - 5.1 / (4 * math.pi**2) * u**2 + 5 / math.pi * u - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(u) + 10
