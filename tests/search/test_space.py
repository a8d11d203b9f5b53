"""What a space file means: distributions, flags, and the configurations that are tried first."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.errors import SearchError
from search.space import Space, flags, path_of
from search.space_file import read_space

CLASSES = """
lr: {type: float, low: 1e-4, high: 0.1, log: true}
size: {type: int, low: 16, high: 64, step: 16, num: 3}
model.optimizer:
  type: class
  choices:
    SGD:
      momentum: {type: float, low: 0.0, high: 0.9}
    Adam:
widths: {type: categorical, choices: [[8], [8, 4], null, true]}
"""


def read(text: str, folder: Path) -> Space:
    path = folder / "space.yaml"
    path.write_text(text)
    return read_space(path)


def test_distributions(tmp_path: Path) -> None:
    space = read(CLASSES, tmp_path)
    assert space.distributions() == {
        "lr": FloatDistribution(1e-4, 0.1, log=True),
        "size": IntDistribution(16, 64, step=16),
        "model.optimizer": CategoricalDistribution(["SGD", "Adam"]),
        "model.optimizer.init_args.momentum@SGD": FloatDistribution(0.0, 0.9),
        "widths": CategoricalDistribution(["[8]", "[8, 4]", None, True]),
    }
    assert [parameter.num for parameter in space.all_parameters()] == [None, 3, None, None, None]
    assert space.all_parameters()[1].where == f"{tmp_path}/space.yaml:3"


def test_settings_of_a_class_exist_while_it_is_chosen(tmp_path: Path) -> None:
    space = read(CLASSES, tmp_path)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    chosen = set()
    for _ in range(12):
        values = space.suggest(study.ask())
        chosen.add(values["model.optimizer"])
        assert ("model.optimizer.init_args.momentum@SGD" in values) == (values["model.optimizer"] == "SGD")
    assert chosen == {"SGD", "Adam"}


def test_flags_are_those_of_the_command_line() -> None:
    values = {
        "o": "torch.optim.SGD",
        "o.init_args.lr@torch.optim.SGD": 0.1,
        "n": 3,
        "c": None,
        "t": True,
        "w": "[8]",
    }
    assert flags(values) == [
        "--o=torch.optim.SGD",
        "--o.init_args.lr=0.1",
        "--n=3",
        "--c=null",
        "--t=true",
        "--w=[8]",
    ]
    assert path_of("o.init_args.lr@torch.optim.SGD") == "o.init_args.lr"


def test_corners_have_each_bound_and_each_choice(tmp_path: Path) -> None:
    space = read(CLASSES, tmp_path)
    corners = space.corners()
    assert corners[0] == {
        "lr": 1e-4,
        "size": 16,
        "model.optimizer": "SGD",
        "model.optimizer.init_args.momentum@SGD": 0.0,
        "widths": "[8]",
    }
    assert len(corners) == 4  # as many as there are widths
    for name, distribution in space.distributions().items():
        seen = [corner[name] for corner in corners if name in corner]
        if isinstance(distribution, CategoricalDistribution):
            assert set(seen) == set(distribution.choices)
        else:
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            assert {distribution.low, distribution.high} <= set(seen)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a: {type: int, low: 1, high: 10, step: 4}", "step is 4, but must divide high - low, which is 9"),
        ("a: {type: float, low: 0.0, high: 1.0, step: 0.3}", "step is 0.3, but must divide high - low"),
        ("a: {type: int, low: 1, high: 8, step: 2, log: true}", "a logarithmic scale has no step"),
        ("a: {type: int, low: 1, high: 8, log: maybe}", "log is 'maybe', but must be true or false"),
        ("a: {type: int, low: 1, high: 8, num: 0}", "num is 0, but must be a whole number of at least 1"),
        ("a: {type: categorical, choices: [1, 1]}", "the choice 1 is given twice"),
        ("a: {type: class, choices: [1]}", "a class must be given by its name"),
        ("a: {type: class, choices: {A: 3}}", "A must have a mapping of its settings, or nothing"),
        ("a: {type: class}", "choices must list classes, or be a mapping"),
        (
            "a: {type: int, low: 1, high: 2}\na: {type: int, low: 1, high: 2}",
            "space.yaml:2: a is given twice",
        ),
        ("a: {type: class, choices: {A: {b: {type: int, low: 3, high: 2}}}}", "a.init_args.b: low is 3"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(SearchError) as error:
        read(line + "\n", tmp_path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/space.yaml:")
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="cannot be read as a search space"):
        read_space(tmp_path / "nowhere.yaml")
