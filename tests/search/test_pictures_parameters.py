"""Pictures of parameters: their axes, their importances, parallel coordinates."""

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.dimensions import Dimension, dimensions
from search.importance import Importances, importances
from search.parameter_pictures import NOT_SET, draw_importances, draw_parallel
from search.trials import TrialView
from tests.search.figures import ADAM, SGD, SPACE, labels, line, texts
from tests.search.views import ACC, ERROR, TWO, trial

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
    assert said([*few, *others]) == "No importances: they need at least 4 complete trials, and there are 3."
    assert isinstance(said(drawn(4)), Importances)
    same = [replace(view, values=(0.5,)) for view in drawn(5)]
    assert said(same) == "No importances: all 5 complete trials have the same value."
    one = [trial(n, "complete", float(n), params={"one": 7}) for n in range(5)]
    assert said(one) == "No importances: no parameter varies that all complete trials have."


def test_the_picture_of_importances_names_who_reckoned_them() -> None:
    views = [replace(view, values=(*(view.values or ()), float(view.number))) for view in drawn(12)]
    axes = dimensions(views, IMPORTANCE_SPACE)
    figure = draw_importances([importances(views, axes, i) for i in range(2)], TWO, "study")
    first, second = figure.axes
    assert first.get_title() == "what matters for val/acc (fANOVA, 12 complete trials: few, so a rough guess)"
    assert "parameters" in second.get_title()
    names = [label.get_text() for label in first.get_yticklabels()]
    widths = [bar.get_width() for bar in first.patches]  # type: ignore[attr-defined]  # they are rectangles
    assert names[-1] == "lr"
    assert widths == sorted(widths)
    assert texts(first)[-1] == f"{widths[-1]:.0%}"
    partly = draw_importances(["No importances: none.", importances(views, axes, 0)], TWO, "study")
    assert texts(partly.axes[0]) == ["No importances: none."]


# Parallel coordinates


def test_the_axis_of_values_is_labelled_at_its_ends_and_the_first_of_equal_trials_is_best() -> None:
    values = [0.2513, 0.9871, 0.9871, 0.5, 0.9844]
    views = [trial(n, "complete", value, params={"lr": 0.1}) for n, value in enumerate(values)]
    (panel,) = draw_parallel(views, ACC, "study", dimensions(views, IMPORTANCE_SPACE)).axes
    ticks = {t.get_text(): float(t.get_position()[1]) for t in panel.texts if t.get_position()[0] > 1}
    assert ticks["0.2513"] == 0.0
    assert ticks["0.9871"] == 1.0
    assert ticks["0.6"] == pytest.approx((0.6 - 0.2513) / (0.9871 - 0.2513))
    heights = sorted(ticks.values())
    assert all(high - low > 0.06 for low, high in itertools.pairwise(heights))
    assert "complete (5), the darker the better" in labels(panel)
    assert "best: 0.9871, trial 1" in labels(panel)


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
