"""Pictures of values: the history, the curves, the Pareto front, and what goes astray."""

import math
from dataclasses import replace

import numpy as np

from search._panels import worst_shown
from search.pictures import draw_curves, draw_history, draw_pareto
from tests.search.figures import dots, labels, line, texts
from tests.search.views import ACC, ERROR, TWO, trial

# What an axis shows


def test_an_axis_leaves_out_what_went_astray() -> None:
    good = [0.06 + 0.01 * n for n in range(9)]
    assert worst_shown([*good, 1e4, 2e4], ERROR[0]) == max(good)
    assert worst_shown([*(-value for value in good), -1e4], ACC[0]) == -max(good)
    # A good value is never astray, nor are values that spread evenly over decades, nor those of few trials.
    assert worst_shown([*good, 1e4], ACC[0]) == min(good)
    assert worst_shown([10.0**n for n in range(-6, 6)], ERROR[0]) == 1e5
    assert worst_shown([*good[:4], 1e4], ERROR[0]) == 1e4
    assert worst_shown([0.1] * 9 + [0.2], ERROR[0]) == 0.2
    assert worst_shown([], ERROR[0]) is None


# History


def test_the_history_shows_the_best_so_far() -> None:
    views = [
        trial(0, "complete", 0.3),
        trial(1, "complete", 0.2),
        trial(2, "pruned", curve={1: 0.9}),
        trial(3, "complete", 0.5),
        trial(4, "running", curve={1: 0.1}),
        trial(5, "failed", curve={1: 0.4}),
        trial(6, "complete", math.nan),
        trial(7, "complete", 0.4),
    ]
    (axes,) = draw_history(views, ACC, "study").axes
    assert dots(axes, "complete (4)") == [(0, 0.3), (1, 0.2), (3, 0.5), (7, 0.4)]
    assert dots(axes, "pruned (1): last value") == [(2, 0.9)]
    assert [x for x, _ in dots(axes, "failed, or not a number (2)")] == [5, 6]
    assert line(axes, "best so far:\n0.5000, trial 3") == [(0, 0.3), (3, 0.5), (7, 0.5)]
    (axes,) = draw_history(views, ERROR, "study").axes
    assert line(axes, "best so far:\n0.2000, trial 1") == [(0, 0.3), (1, 0.2), (7, 0.2)]
    assert axes.get_ylabel() == "val/err (lower is better)"


def test_the_history_marks_what_is_off_the_axis() -> None:
    views = [trial(n, "complete", 0.1 + 0.01 * n) for n in range(9)] + [trial(9, "complete", 1e5)]
    (axes,) = draw_history(views, ERROR, "study").axes
    assert [x for x, _ in dots(axes, "worse than the axis shows (1)")] == [9]
    assert axes.get_ylim()[1] < 0.2
    assert len(dots(axes, "complete (9)")) == 9


def test_the_history_has_a_panel_for_each_objective() -> None:
    views = [
        trial(0, "complete", 0.9, 5e5),
        trial(1, "complete", 0.8, 4e3),
        trial(2, "running", curve={1: 0.2}),
    ]
    first, second = draw_history(views, TWO, "study").axes
    assert line(first, "best so far") == [(0, 0.9), (2, 0.9)]
    assert line(second, "best so far") == [(0, 5e5), (1, 4e3), (2, 4e3)]
    assert (first.get_yscale(), second.get_yscale()) == ("linear", "log")
    assert not any(label.startswith("running") for label in labels(second))


# Curves


def test_all_curves_are_drawn_by_how_the_trial_ended() -> None:
    views = [
        trial(0, "complete", 0.7, curve={1: 0.1, 2: 0.6, 3: 0.7}),
        trial(1, "pruned", curve={1: 0.3}),
        trial(2, "pruned", curve={1: 0.2, 2: math.nan}),
        trial(3, "paused", curve={1: 0.4}),
        trial(4, "failed", curve={1: 0.5}),
        trial(5, "running"),
        trial(6, "pruned", curve={1: math.inf}),
    ]
    (axes,) = draw_curves(views, ACC, "study", rungs=[1, 2]).axes
    assert labels(axes) == [
        "rungs (1, 2)",
        "complete (1)",
        "pruned (2)",
        "paused (1)",
        "failed (1)",
        "best: 0.7000,\ntrial 0, complete",
    ]
    assert line(axes, "complete") == line(axes, "best") == [(1, 0.1), (2, 0.6), (3, 0.7)]
    assert line(axes, "paused") == [(1, 0.4)]
    vertical = [found for found in axes.get_lines() if found.get_linestyle() == ":"]
    assert [set(np.ravel(found.get_xdata())) for found in vertical] == [{1}, {2}]
    styles = [
        (found.get_color(), found.get_marker())
        for found in axes.get_lines()
        if found not in vertical and not str(found.get_label()).startswith("best")
    ]
    assert len(styles) == 5
    assert len(set(styles)) == 4
    low, high = axes.get_ylim()
    assert low < 0.1
    assert 0.7 < high < 1.0
    assert axes.get_xlabel() == "epoch"


def test_a_curve_that_settles_is_shown_from_its_start() -> None:
    curve = {epoch: 0.86 if epoch > 2 else 0.3 for epoch in range(1, 41)}
    (axes,) = draw_curves([trial(0, "complete", 0.86, curve=curve)], ACC, "study", unit="fold").axes
    assert axes.get_ylim()[0] < 0.3
    assert axes.get_xlabel() == "fold"


def test_curves_that_went_astray_do_not_press_the_others_together() -> None:
    views = [trial(n, "complete", 0.1, curve={1: 1.0, 2: 0.1 + 0.01 * n}) for n in range(10)]
    views += [trial(10, "pruned", curve={1: 1e6, 2: 1e5})]
    (axes,) = draw_curves(views, ERROR, "study").axes
    assert 1.0 < axes.get_ylim()[1] < 2.0
    assert "worse than the axis\nshows (1)" in labels(axes)


# Pareto front


def test_the_front_is_marked_with_trial_numbers() -> None:
    points = [(0.9, 900.0), (0.8, 100.0), (0.85, 950.0), (0.7, 50.0), (math.nan, 1.0)]
    views = [trial(n, "complete", *values) for n, values in enumerate(points)]
    (axes,) = draw_pareto([*views, trial(5, "running", curve={1: 0.99})], TWO, "study").axes
    assert dots(axes, "Pareto front (3)") == [(50, 0.7), (100, 0.8), (900, 0.9)]
    assert dots(axes, "others (1)") == [(950, 0.85)]
    assert texts(axes) == ["3", "1", "0"]
    (step,) = axes.get_lines()
    # Below 900 parameters the best is 0.8.
    assert step.get_drawstyle() == "steps-post"
    assert axes.get_xlabel() == "parameters (lower is better)"
    assert axes.get_ylabel() == "val/acc (higher is better)"
    three = (*TWO, replace(ERROR[0], name="latency"))
    views = [trial(n, "complete", *values, 0.1 * n) for n, values in enumerate(points[:4])]
    assert [a.get_xlabel()[:7] for a in draw_pareto(views, three, "study").axes] == ["paramet", "latency"]
