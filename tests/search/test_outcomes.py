"""Losses of trials that a scheduler stopped, as Bayesian optimisation compares them."""

import math

import pytest

from search.outcomes import comparable_losses
from search.trials import Curve


def test_losses_are_those_of_the_highest_resource_with_enough_trials() -> None:
    curves = [Curve(n, {1: 0.5 + n / 10, 3: 0.3 + n / 10, 9: 0.1 + n / 10}, "complete") for n in range(3)]
    assert comparable_losses(curves, enough=3) == {0: 0.1, 1: 0.2, 2: pytest.approx(0.3)}
    # A running trial counts where it has reported, and not before.
    curves += [Curve(3, {1: 0.4, 3: 0.2}, "running"), Curve(4, {1: 0.9}, "running"), Curve(5, {}, "running")]
    assert comparable_losses(curves, enough=3).keys() == {0, 1, 2}
    assert comparable_losses(curves, enough=4) == {0: 0.3, 1: 0.4, 2: 0.5, 3: 0.2}
    # None has so many: the resource with most.
    assert comparable_losses(curves, enough=9)[4] == 0.9


def test_a_stopped_trial_gets_the_loss_with_which_its_rank_went_on() -> None:
    curves = [
        Curve(0, {1: 0.50, 9: 0.10}, "complete"),
        Curve(1, {1: 0.60, 9: 0.30}, "complete"),
        Curve(2, {1: 0.70, 9: 0.20}, "complete"),
        Curve(3, {1: 0.40}, "pruned"),  # better than all there: as the best
        Curve(4, {1: 0.65}, "paused"),  # two are no worse: as the third
        Curve(5, {1: 0.95}, "pruned"),  # .25 behind the worst
        Curve(6, {1: 0.70}, "pruned"),  # as bad as the worst
        Curve(7, {1: 0.60}, "paused"),  # as bad as the second: two are no worse
    ]
    losses = comparable_losses(curves, enough=3)
    assert [losses[number] for number in range(3)] == [0.10, 0.30, 0.20]
    assert [losses[number] for number in range(3, 8)] == pytest.approx([0.10, 0.30, 0.55, 0.30, 0.30])


def test_the_last_resource_of_a_stopped_trial_counts() -> None:
    curves = [
        Curve(0, {1: 0.9, 3: 0.2, 9: 0.1}, "complete"),
        Curve(1, {1: 0.8, 3: 0.3, 9: 0.2}, "complete"),
        Curve(2, {1: 0.1, 3: 0.7}, "pruned"),  # good after one epoch, bad after three
        Curve(3, {2: 0.5}, "pruned"),  # no other has reported there
    ]
    assert comparable_losses(curves, enough=2) == {0: 0.1, 1: 0.2, 2: pytest.approx(0.6)}


def test_failed_and_diverged_trials_are_the_worst() -> None:
    curves = [
        Curve(0, {1: 0.5, 9: 0.1}, "complete"),
        Curve(1, {1: 0.5, 9: math.nan}, "pruned"),
        Curve(2, {1: math.nan}, "pruned"),
        Curve(3, {}, "failed"),
        Curve(4, {1: 0.1, 9: 0.05}, "failed"),
        Curve(5, {}, "pruned"),
        Curve(6, {}, "paused"),
    ]
    losses = comparable_losses(curves, enough=1)
    assert losses == {0: 0.1, 1: math.inf, 2: math.inf, 3: math.inf, 4: math.inf}
    assert comparable_losses([Curve(0, {}, "failed"), Curve(1, {}, "running")], enough=3) == {0: math.inf}
