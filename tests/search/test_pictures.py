import logging
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib.axes import Axes
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from PIL import Image

from search._panels import worst_shown
from search.dimensions import Dimension, dimensions
from search.importance import Importances, importances
from search.parameter_pictures import NOT_SET, draw_importances, draw_parallel
from search.pictures import draw_all, draw_curves, draw_history, draw_pareto
from search.trials import TrialView
from tests.search.views import ACC, ERROR, TWO, trial

ROOT = Path(__file__).resolve().parent.parent.parent
SPACE: dict[str, BaseDistribution] = {
    "m.opt": CategoricalDistribution(["torch.optim.SGD", "torch.optim.Adam"]),
    "m.opt.init_args.lr@torch.optim.SGD": FloatDistribution(1e-2, 1.0, log=True),
    "m.opt.init_args.lr@torch.optim.Adam": FloatDistribution(1e-4, 1e-1, log=True),
    "m.opt.init_args.momentum@torch.optim.SGD": FloatDistribution(0.0, 0.8),
    "d.batch_size": IntDistribution(32, 256, log=True),
}
SGD = {
    "m.opt": "torch.optim.SGD",
    "m.opt.init_args.lr": 1.0,
    "m.opt.init_args.momentum": 0.2,
    "d.batch_size": 32,
}
ADAM = {"m.opt": "torch.optim.Adam", "m.opt.init_args.lr": 1e-4, "d.batch_size": 256}


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def line(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Points of the line whose label begins so."""
    (found,) = [found for found in axes.get_lines() if str(found.get_label()).startswith(label)]
    return [(float(x), float(y)) for x, y in np.asarray(found.get_xydata())]


def dots(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Points of the scattered marks whose label begins so."""
    (found,) = [found for found in axes.collections if str(found.get_label()).startswith(label)]
    return [(float(x), float(y)) for x, y in np.asarray(found.get_offsets())]


# Axes of parameters


def test_an_axis_spans_what_all_classes_of_a_parameter_span() -> None:
    axes = dimensions([trial(0, params=SGD), trial(1, params=ADAM)], SPACE)
    assert [axis.name for axis in axes] == ["opt", "lr", "momentum", "batch_size"]
    opt, lr, momentum, batch_size = axes
    assert (opt.choices, opt.labels) == (("torch.optim.SGD", "torch.optim.Adam"), ("SGD", "Adam"))
    assert (lr.low, lr.high, lr.log) == (1e-4, 1.0, True)
    assert (momentum.low, momentum.high, momentum.log) == (0.0, 0.8, False)
    assert [lr.position(v) for v in (1e-4, 1e-2, 1.0)] == pytest.approx([0.0, 0.5, 1.0])
    assert batch_size.position(64) == pytest.approx(1 / 3)
    assert momentum.position(0.2) == pytest.approx(0.25)
    assert [opt.position(v) for v in ("torch.optim.SGD", "torch.optim.Adam")] == [0.0, 1.0]


def test_an_axis_of_one_value_has_it_in_the_middle() -> None:
    space: dict[str, BaseDistribution] = {"a": CategoricalDistribution([3]), "b": FloatDistribution(0.5, 0.5)}
    a, b = dimensions([trial(0, params={"a": 3, "b": 0.5})], space)
    assert (a.ticks(), b.ticks()) == ([(0.5, "3")], [(0.5, "0.5")])


def test_a_parameter_may_be_a_number_of_one_class_and_a_choice_of_another() -> None:
    space: dict[str, BaseDistribution] = {
        "width@A": IntDistribution(1, 9),
        "width@B": CategoricalDistribution(["wide", None]),
    }
    (width,) = dimensions([trial(0, params={"width": 4}), trial(1, params={"width": "wide"})], space)
    assert width.choices == ("wide", "None", "4")
    assert width.position(4) == 1.0


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (1e-4, 1.0, True, ["0.0001", "0.001", "0.01", "0.1", "1"]),
        (0.01, 1.0, True, ["0.01", "0.03", "0.1", "0.3", "1"]),
        (1e-8, 1e3, True, ["1e-08", "1e-06", "0.0001", "0.01", "1", "100"]),
        (32, 256, True, ["50", "100", "200"]),
        (0.03, 0.04, True, ["0.03", "0.032", "0.034", "0.036", "0.038", "0.04"]),
        (0.0, 0.6, False, ["0", "0.2", "0.4", "0.6"]),
        (-3.0, 17.0, False, ["0", "5", "10", "15"]),
        (1, 3, False, ["1", "2", "3"]),
        (1.0, 3.0, False, ["1", "1.5", "2", "2.5", "3"]),
        (1e-3, 1.01e-3, False, ["0.001", "0.001002", "0.001004", "0.001006", "0.001008", "0.00101"]),
        (0, 3_000_000, False, ["0", "1e+06", "2e+06", "3e+06"]),
    ],
)
def test_ticks_are_round(low: float, high: float, log: bool, ticks: list[str]) -> None:
    axis = Dimension("a", "a", low, high, log=log)
    assert [text for _, text in axis.ticks()] == ticks
    for position, text in axis.ticks():
        assert position == pytest.approx(axis.position(float(text.replace(",", ""))))
        assert -1e-9 <= position <= 1 + 1e-9


# Importances


def drawn(number: int) -> list[TrialView]:
    """Trials on low-discrepancy points; the rate explains 3/4 of the variance, if decades count alike."""
    views = []
    for n in range(number):
        rate = 10 ** (-4 * ((n * 0.754877) % 1))
        batch_size = round(32 * 8 ** ((n * 0.569840) % 1))
        value = float(rate < 1e-3) + 0.5 * float(batch_size < 90)
        views.append(trial(n, "complete", value, params={"lr": rate, "d.batch_size": batch_size, "one": 7}))
    return views


IMPORTANCE_SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "d.batch_size": IntDistribution(32, 256, log=True),
    "one": CategoricalDistribution([7]),
}


def test_importances_weigh_decades_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    views = drawn(80)
    said: list[logging.LogRecord] = []
    monkeypatch.setattr(optuna.storages._in_memory._logger, "handle", said.append)
    verbosity = optuna.logging.get_verbosity()
    found = importances(views, dimensions(views, IMPORTANCE_SPACE), 0)
    assert isinstance(found, Importances)
    # Variances 3/16 of lr; p (1 - p) / 4 with p = log_8(90 / 32) of the batch size, which is nearly 1/16.
    assert found.shares["lr"] == pytest.approx(0.75, abs=0.06)
    assert found.shares["one"] == 0.0
    assert list(found.shares) == ["lr", "batch_size", "one"]
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.method, found.trials, found.left_out) == ("fANOVA", 80, [])
    assert importances(views, dimensions(views, IMPORTANCE_SPACE), 0) == found
    assert said == []
    assert optuna.logging.get_verbosity() == verbosity


def test_importances_leave_out_what_not_every_trial_has() -> None:
    views = [
        trial(n, "complete", n * 0.1, params=SGD | {"m.opt.init_args.lr": 0.1 + 0.1 * n}) for n in range(8)
    ]
    views += [trial(8, "complete", 0.3, params=ADAM)]
    found = importances(views, dimensions(views, SPACE), 0)
    assert isinstance(found, Importances)
    assert found.left_out == ["momentum"]
    assert set(found.shares) == {"opt", "lr", "batch_size"}


def test_importances_say_why_there_are_none() -> None:
    def said(views: Sequence[TrialView]) -> Importances | str:
        return importances(views, dimensions(views, IMPORTANCE_SPACE), 0)

    few = drawn(3)
    others = [replace(view, number=3, state="pruned", curve={1: 0.3}) for view in few]
    others += [replace(few[0], number=4, values=(math.nan,)), replace(few[0], number=5, state="failed")]
    assert said([*few, *others]) == "Importances need at least 4 complete trials, and there are 3."
    assert isinstance(said(drawn(4)), Importances)
    same = [replace(view, values=(0.5,)) for view in drawn(5)]
    assert said(same) == "All 5 complete trials have the same value, so no parameter matters."
    one = [trial(n, "complete", float(n), params={"one": 7}) for n in range(5)]
    assert said(one) == "No parameter varies that all complete trials have."


def test_the_picture_of_importances_names_who_reckoned_them() -> None:
    views = [replace(view, values=(*(view.values or ()), float(view.number))) for view in drawn(12)]
    figure = draw_importances(views, TWO, "study", dimensions(views, IMPORTANCE_SPACE))
    first, second = figure.axes
    assert first.get_title() == "what matters for val/acc (fANOVA, 12 complete trials: few, so a rough guess)"
    assert "parameters" in second.get_title()
    names = [label.get_text() for label in first.get_yticklabels()]
    widths = [bar.get_width() for bar in first.patches]  # type: ignore[attr-defined]  # they are rectangles
    assert names[-1] == "lr"
    assert widths == sorted(widths)
    assert texts(first)[-1] == f"{widths[-1]:.0%}"
    empty = draw_importances(views[:2], ACC, "study", [])
    assert texts(empty.axes[0]) == ["Importances need at least 4 complete trials, and there are 2."]


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
    assert dots(axes, "pruned, newest (1)") == [(2, 0.9)]
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


# Parallel coordinates


def test_a_trial_is_a_line_across_its_parameters_to_its_value() -> None:
    views = [
        trial(0, "complete", 0.5, params=SGD),
        trial(1, "complete", 0.9, params=ADAM),
        trial(2, "complete", 0.6, params=ADAM),
        trial(3, "pruned", params=ADAM, curve={1: 0.99}),
    ]
    axes = dimensions(views, SPACE)
    (panel,) = draw_parallel(views, ACC, "study", axes).axes
    adam = [1.0, 0.0, NOT_SET, 1.0]
    assert [y for _, y in line(panel, "best: 0.9000, trial 1")] == [*adam, 1.0]
    assert [y for _, y in line(panel, "not complete (1)")] == adam
    heights = [list(np.ravel(found.get_ydata())) for found in panel.get_lines()]
    assert any(np.allclose(ys, [0.0, 1.0, 0.25, 0.0, 0.0]) for ys in heights if len(ys) == 5)
    assert any(np.allclose(ys, [*adam, 0.25]) for ys in heights if len(ys) == 5)
    assert [label.get_text() for label in panel.get_xticklabels()] == [
        "opt",
        "lr",
        "momentum",
        "batch_size",
        "val/acc\n(best on top)",
    ]
    assert texts(panel).count("not set") == 1
    # As errors, the lowest is on top.
    (panel,) = draw_parallel(views, ERROR, "study", axes).axes
    assert [y for _, y in line(panel, "best: 0.5000, trial 0")] == pytest.approx([0.0, 1.0, 0.25, 0.0, 1.0])


def test_better_trials_are_darker_and_above_worse_ones() -> None:
    views = [trial(n, "complete", value, params={"lr": 0.1}) for n, value in enumerate([0.1, 0.5, 0.3])]
    (panel,) = draw_parallel(views, ACC, "study", dimensions(views, IMPORTANCE_SPACE)).axes
    by_height = sorted(
        (float(np.ravel(found.get_ydata())[-1]), sum(found.get_color()[:3]), k)  # type: ignore[arg-type]
        for k, found in enumerate(panel.get_lines())
        if len(np.ravel(found.get_ydata())) == 2 and isinstance(found.get_color(), tuple)
    )
    assert [height for height, _, _ in by_height] == pytest.approx([0.0, 0.5, 1.0])
    brightness = [brightness for _, brightness, _ in by_height]
    assert brightness == sorted(brightness, reverse=True)
    assert [k for _, _, k in by_height] == sorted(k for _, _, k in by_height)


def test_values_that_went_astray_pass_below_the_axis() -> None:
    views = [trial(n, "complete", 0.1 + 0.01 * n, params={"lr": 0.1}) for n in range(9)]
    views += [trial(9, "complete", 1e5, params={"lr": 1.0})]
    (panel,) = draw_parallel(views, ERROR, "study", dimensions(views, IMPORTANCE_SPACE)).axes
    ends = [np.ravel(found.get_ydata()).tolist() for found in panel.get_lines()]
    assert [1.0, NOT_SET] in ends
    assert "worse" in texts(panel)


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


# Files


def study(kind: str) -> list[TrialView]:
    whole = {epoch: 0.5 + 0.04 * epoch for epoch in range(1, 11)}
    views = {
        "none": [],
        "one": [trial(0, "complete", 0.9, params=SGD, curve=whole)],
        "starting": [trial(0, "running", params={}), trial(1, "running", params=SGD)],
        "all pruned": [trial(n, "pruned", params=ADAM, curve={1: 0.1 * n, 2: 0.2}) for n in range(5)],
        "no number": [trial(n, "complete", math.nan, params=SGD, curve={1: math.nan}) for n in range(5)],
        "all failed": [trial(n, "failed", params=ADAM, error="boom") for n in range(5)],
        "equal": [trial(n, "complete", 0.5, params=SGD, curve={1: 0.5}) for n in range(9)],
    }
    return views[kind]


@pytest.mark.parametrize(
    "kind", ["none", "one", "starting", "all pruned", "no number", "all failed", "equal"]
)
def test_every_study_has_pictures(tmp_path: Path, kind: str) -> None:
    paths = draw_all(
        tmp_path / "pictures", study(kind), ACC, title="study", distributions=SPACE, rungs=[1, 3]
    )
    assert [path.name for path in paths] == ["history.png", "curves.png", "importances.png", "parallel.png"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(p.name for p in paths)
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            # More than paper.
            assert np.asarray(image.convert("L")).std() > 1


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: draw_history([], ACC, "study"), "No trial has a value yet."),
        (lambda: draw_curves(study("no number"), ACC, "study"), "No trial has a value yet."),
        (lambda: draw_parallel([], ACC, "study", []), "No trial has started yet."),
        (lambda: draw_pareto(study("no number"), TWO, "study"), "No trial is complete yet."),
    ],
)
def test_a_picture_of_nothing_says_so(draw: Any, sentence: str) -> None:
    (axes,) = draw().axes
    assert texts(axes) == [sentence]


def test_with_two_objectives_the_front_is_drawn_too(tmp_path: Path) -> None:
    views = [trial(n, "complete", 0.1 * n, 100.0 + n, params=SGD) for n in range(3)]
    paths = draw_all(tmp_path, views, TWO, title="study", distributions=SPACE)
    assert [path.stem for path in paths] == ["history", "curves", "importances", "parallel", "pareto"]
    assert all(path.is_file() for path in paths)


def test_showing_a_study_needs_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, search.board, search.pictures\n"
        "print('matplotlib' in sys.modules)\n"
        "from pathlib import Path\n"
        "from search.objectives import parse_objectives\n"
        "objectives = parse_objectives(['a:min'])\n"
        "search.pictures.draw_all(Path(sys.argv[1]), [], objectives, title='t', distributions={})\n"
        "print([m for m in ('torch', 'lightning') if m in sys.modules])\n"
    )
    arguments = [sys.executable, "-c", code, str(Path.cwd())]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n[]\n"
    assert Path("history.png").is_file()
