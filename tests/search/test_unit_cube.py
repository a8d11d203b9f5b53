"""The unit cube: values of every distribution there and back, and their shares of it."""

import math
from collections import Counter

import numpy as np
import pytest
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.unit_cube import UnitCube, num_values, value_at
from tests.search.sampling import LR

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "float": FloatDistribution(-2.0, 3.0),
    "log": LR,
    "step": FloatDistribution(0.1, 0.7, step=0.1),
    "int": IntDistribution(-3, 4),
    "steps of ints": IntDistribution(16, 128, step=16),
    "log int": IntDistribution(1, 300, log=True),
    "choices": CategoricalDistribution(["a", None, 3, True]),
    "one float": FloatDistribution(0.5, 0.5),
    "one int": IntDistribution(7, 7),
    "one choice": CategoricalDistribution(["only"]),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def test_values_come_back_from_the_unit_cube(distribution: BaseDistribution) -> None:
    cube = UnitCube({"x": distribution})
    count = num_values(distribution)
    if count is not None:
        for index in range(count):
            value = value_at(distribution, index)
            assert distribution._contains(distribution.to_internal_repr(value))
            back = cube.from_unit(cube.to_unit({"x": value}))["x"]
            assert back == value
            assert type(back) is type(value)
    else:
        assert isinstance(distribution, FloatDistribution)
        for value in np.random.default_rng(0).uniform(distribution.low, distribution.high, 200).tolist():
            point = cube.to_unit({"x": value})
            assert 0 <= point[0] <= 1
            assert cube.from_unit(point)["x"] == pytest.approx(value, rel=1e-13, abs=1e-13)
        for end in (distribution.low, distribution.high):
            back = cube.from_unit(cube.to_unit({"x": end}))["x"]
            assert distribution.low <= back <= distribution.high


def test_the_unit_cube_is_optunas_own() -> None:
    space = {name: dist for name, dist in DISTRIBUTIONS.items() if name != "one float"}
    cube, reference = UnitCube(space), _SearchSpaceTransform(space, transform_0_1=True)
    points = np.random.default_rng(1).random((200, len(space)))
    points[0], points[1] = 0.0, 1.0 - 1e-12
    for point in points:
        params = cube.from_unit(point)
        features = cube.features(cube.to_unit(params)[None])[0]
        np.testing.assert_allclose(features, reference.transform(params), rtol=1e-12, atol=1e-12)
        theirs = reference.untransform(
            np.concatenate(
                [
                    features[reference.column_to_encoded_columns[column]]
                    if isinstance(distribution, CategoricalDistribution)
                    else point[[column]]
                    for column, distribution in enumerate(space.values())
                ]
            )
        )
        for name, value in params.items():
            if isinstance(space[name], FloatDistribution):
                assert value == pytest.approx(theirs[name], rel=1e-12, abs=1e-12)
            else:
                assert value == theirs[name]


@pytest.mark.parametrize("name", ["step", "int", "steps of ints", "choices"])
def test_all_values_have_equal_shares_the_ends_too(name: str) -> None:
    distribution = DISTRIBUTIONS[name]
    cube, count = UnitCube({"x": distribution}), num_values(distribution)
    assert count is not None
    coordinates = (np.arange(100 * count) + 0.5) / (100 * count)
    values = Counter(cube.from_unit(np.array([u]))["x"] for u in coordinates)
    assert set(values.values()) == {100}
    assert len(values) == count


def test_whole_numbers_on_a_logarithmic_scale_have_logarithmic_shares() -> None:
    cube = UnitCube({"x": IntDistribution(1, 4, log=True)})
    coordinates = (np.arange(10_000) + 0.5) / 10_000
    values = Counter(cube.from_unit(np.array([u]))["x"] for u in coordinates)
    for value in range(1, 5):
        share = math.log((value + 0.5) / (value - 0.5)) / math.log(4.5 / 0.5)
        assert values[value] == pytest.approx(10_000 * share, abs=1)


def test_steps_are_short_decimal_numbers() -> None:
    steps = FloatDistribution(0.1, 0.7, step=0.1)
    assert [value_at(steps, index) for index in range(7)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_snapped_points_are_those_of_the_configurations() -> None:
    cube = UnitCube(DISTRIBUTIONS)
    points = np.random.default_rng(2).uniform(-0.2, 1.2, (50, len(DISTRIBUTIONS)))
    snapped = cube.snap(points)
    for point, moved in zip(points, snapped, strict=True):
        np.testing.assert_allclose(moved, cube.to_unit(cube.from_unit(np.clip(point, 0, 1))), atol=1e-12)
    np.testing.assert_array_equal(cube.snap(snapped), snapped)


def test_choices_are_a_column_each() -> None:
    cube = UnitCube({"lr": LR, "c": CategoricalDistribution(["a", "b", "c"])})
    features = cube.features(np.array([[0.25, 0.0], [0.5, 0.5], [0.75, 1.0]]))
    assert features.tolist() == [[0.25, 1, 0, 0], [0.5, 0, 1, 0], [0.75, 0, 0, 1]]


def test_an_empty_space_has_no_cube() -> None:
    with pytest.raises(ValueError, match="the space has no parameters"):
        UnitCube({})
