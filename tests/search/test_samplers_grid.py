"""Grids: their points and values, settings of a class, and what makes none."""

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.errors import SearchError
from search.samplers import grid_points
from tests.search.sampling import LR


def test_a_grid_has_every_combination_the_last_fastest() -> None:
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "size": IntDistribution(16, 48, step=16),
        "act": CategoricalDistribution(["relu", None]),
    }
    points = grid_points(space, {"lr": 3})
    assert [tuple(point.values()) for point in points] == [
        (lr, size, act) for lr in (1e-4, 1e-2, 1.0) for size in (16, 32, 48) for act in ("relu", None)
    ]
    assert list(points[0]) == ["lr", "size", "act"]


@pytest.mark.parametrize(
    ("distribution", "num", "expected"),
    [
        (FloatDistribution(1e-4, 1.0, log=True), 5, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (FloatDistribution(0.0, 1.0), 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (FloatDistribution(0.1, 0.9), 3, [0.1, 0.5, 0.9]),
        (FloatDistribution(0.0, 1.0), 1, [0.5]),
        (FloatDistribution(1e-4, 1.0, log=True), 1, [1e-2]),
        (FloatDistribution(0.1, 0.7, step=0.1), None, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        (FloatDistribution(0.1, 0.7, step=0.1), 3, [0.1, 0.4, 0.7]),
        (FloatDistribution(0.3, 0.3), None, [0.3]),
        (IntDistribution(1, 4), None, [1, 2, 3, 4]),
        (IntDistribution(1, 4), 2, [1, 4]),
        (IntDistribution(1, 10), 4, [1, 4, 7, 10]),
        (IntDistribution(0, 6), 5, [0, 2, 3, 5, 6]),
        (IntDistribution(1, 4, log=True), None, [1, 2, 3, 4]),
        (IntDistribution(16, 256, log=True), 5, [16, 32, 64, 128, 256]),
        (IntDistribution(1, 10, log=True), 8, [1, 2, 3, 4, 5, 7, 10]),
        (IntDistribution(0, 1000, step=100), None, list(range(0, 1001, 100))),
    ],
)
def test_grid_values(distribution: BaseDistribution, num: int | None, expected: list[float]) -> None:
    points = grid_points({"x": distribution}, {} if num is None else {"x": num})
    values = [point["x"] for point in points]
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]
    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)


def test_settings_of_a_class_are_only_where_it_is_chosen() -> None:
    space: dict[str, BaseDistribution] = {
        "model": CategoricalDistribution(["A", "B", "C"]),
        "model.init_args.opt@A": CategoricalDistribution(["A", "Y"]),
        "model.init_args.opt.init_args.lr@A": CategoricalDistribution([1, 2]),
        "model.init_args.width@B": IntDistribution(1, 3),
        "seed": IntDistribution(0, 1),
    }
    points = grid_points(space, {})
    # A with another A has two, A with Y one, B three, C one: seven, for each of two seeds.
    assert len(points) == 2 * (2 + 1 + 3 + 1)
    shown = [tuple(str(value) for value in point.values()) for point in points if point["seed"] == 0]
    assert shown == [
        ("A", "A", "1", "0"),
        ("A", "A", "2", "0"),
        ("A", "Y", "0"),
        ("B", "1", "0"),
        ("B", "2", "0"),
        ("B", "3", "0"),
        ("C", "0"),
    ]


@pytest.mark.parametrize(
    ("distribution", "num", "message"),
    [
        (LR, {}, "--sampler is 'grid', but x.init_args.y has neither num nor step"),
        (
            IntDistribution(32, 256),
            {},
            "--sampler is 'grid', but x.init_args.y has 225 values; give it a number of points",
        ),
        (
            IntDistribution(1, 4),
            {"x.init_args.y@A": 9},
            "--sampler is 'grid', but x.init_args.y has num 9, but only 4 values",
        ),
        (LR, {"x.init_args.y@A": 100_001}, "has more than 100000 points"),
        (LR, {"x.init_args.y@A": 60_000}, "has more than 100000 points"),
    ],
)
def test_what_makes_no_grid_is_refused(
    distribution: BaseDistribution, num: dict[str, int], message: str
) -> None:
    space: dict[str, BaseDistribution] = {
        "x": CategoricalDistribution(["A"]),
        "x.init_args.z@A": IntDistribution(1, 2),
    }
    with pytest.raises(SearchError, match=message):
        grid_points({**space, "x.init_args.y@A": distribution}, num)


def test_a_setting_of_a_class_needs_its_choice() -> None:
    with pytest.raises(
        ValueError, match=r"x\.init_args\.y@B is a setting of the class B, but the space has no"
    ):
        grid_points({"x": CategoricalDistribution(["A"]), "x.init_args.y@B": IntDistribution(1, 2)}, {})
