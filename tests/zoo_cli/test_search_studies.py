"""The command ``search``: what a study writes, searches, and goes on with."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from search import setup
from search.setup import StudyFile
from tests.zoo_cli.conftest import Run
from tests.zoo_cli.searches import LR, SMALL, curve_of, lr_space, rows_of, views
from zoo_cli import search as command

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_study_writes_runnable_trials_and_a_best_one(succeed: Run, space: Callable[[str], str]) -> None:
    succeed("search", *SMALL, "--space", lr_space(space), "--trials", "3", "--pruner", "none")
    folder = Path("studies/study")
    found = views()
    assert [view.state for view in found] == ["complete"] * 3
    for view in found:
        trial = folder / "trials" / f"{view.number:04d}"
        config = yaml.safe_load((trial / "config.yaml").read_text())
        assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == view.params[LR]
        assert curve_of(trial) == pytest.approx(dict(view.curve))
        assert len(view.curve) == 4
        line = json.loads((trial / "summary.json").read_text())["command"]
        assert line.startswith("python cli.py fit ")
        assert f"--{LR}={view.params[LR]!r}" in line
    assert len(rows_of(folder / "leaderboard.csv")) == 3
    best = max(found, key=lambda view: view.values or ())
    assert best.values is not None
    # It trains as it is, to the same value.
    succeed("fit", "--config", str(folder / "best.yaml"))
    again = json.loads(Path("runs/study_best/version_0/summary.json").read_text())
    assert again["metrics"]["val/acc"] == pytest.approx(best.values[0], abs=1e-7)
    assert (folder / "space.yaml").read_text() == Path("space.yaml").read_text()


def test_classes_are_searched_with_their_own_settings(succeed: Run, space: Callable[[str], str]) -> None:
    text = """
model.init_args.optimizer:
  type: class
  choices:
    torch.optim.SGD:
      lr: {type: float, low: 1.0e-2, high: 1.0, log: true}
      momentum: {type: categorical, choices: [0.0, 0.9]}
    torch.optim.AdamW:
      lr: {type: float, low: 1.0e-4, high: 1.0e-2, log: true}
"""
    small = [arg for arg in SMALL if arg not in ("--model.init_args.optimizer", "Adam")]
    options = ["--trials", "6", "--sampler", "random", "--pruner", "none", "--trainer.max_epochs", "1"]
    succeed("search", *small, "--space", space(text), *options)
    classes = set()
    for view in views():
        config = yaml.safe_load(Path(f"studies/study/trials/{view.number:04d}/config.yaml").read_text())
        optimizer = config["model"]["init_args"]["optimizer"]
        name = optimizer["class_path"]
        classes.add(name)
        own = {key: value for key, value in view.params.items() if key.endswith(f"@{name}")}
        assert optimizer["init_args"]["lr"] == own[f"{LR}@{name}"]
        assert len(view.params) == 1 + len(own) == (3 if name == "torch.optim.SGD" else 2)
    assert classes == {"torch.optim.SGD", "torch.optim.AdamW"}


def test_several_objectives(succeed: Run, space: Callable[[str], str]) -> None:
    text = "model.init_args.hidden_sizes: {type: categorical, choices: [[4], [64]]}\n"
    model = ["--model", "MLP", "--data", "Digits", "--trainer.max_epochs", "1"]
    objectives = ["--objective", "val/acc:max", "--objective", "parameters:min", "--objective", "latency:min"]
    succeed("search", *model, "--space", space(text), *objectives, "--trials", "9", "--sampler", "grid")
    found = {view.params["model.init_args.hidden_sizes"]: view.values for view in views()}
    assert found.keys() == {"[4]", "[64]"}
    assert found["[4]"] is not None
    assert found["[4]"][1] == 784 * 4 + 4 + 4 * 10 + 10
    assert found["[4]"][2] > 0


def test_folds_are_averaged_and_reported_one_by_one(succeed: Run, space: Callable[[str], str]) -> None:
    rows = [f"{i},{0.5 * i}" for i in range(20)]
    Path("table.csv").write_text("\n".join(["u,y", *rows]) + "\n")
    model = [
        *("--model", "LinearRegression", "--data", "CSVTable", "--data.init_args.file", "table.csv"),
        *("--data.init_args.target", "y", "--data.init_args.batch_size", "full", "--trainer.max_epochs", "2"),
    ]
    text = f"{LR}: {{type: float, low: 0.01, high: 0.1}}\n"
    succeed("search", *model, "--space", space(text), "--folds", "4", "--trials", "2")
    for view in views():
        folds = [
            json.loads(
                (Path(f"studies/study/trials/{view.number:04d}/fold_{i}") / "summary.json").read_text()
            )
            for i in range(4)
        ]
        losses = [fold["metrics"]["val/loss"] for fold in folds]
        assert view.curve == pytest.approx({i: sum(losses[:i]) / i for i in (1, 2, 3, 4)})
        assert view.values == (pytest.approx(sum(losses) / 4),)
        assert len({round(loss, 9) for loss in losses}) == 4
    best = yaml.safe_load(Path("studies/study/best.yaml").read_text())
    assert "fold" not in best["data"]["init_args"]
    assert best["data"]["init_args"]["num_folds"] == 4


def test_same_command_goes_on_and_more_trials_are_added(succeed: Run, space: Callable[[str], str]) -> None:
    options = ["--space", lr_space(space), "--pruner", "none", "--sampler", "random"]
    short = ["--trainer.max_epochs", "1"]
    succeed("search", *SMALL, *short, *options, "--trials", "2")
    first = [view.params for view in views()]
    succeed("search", *SMALL, *short, *options, "--trials", "2")
    assert len(views()) == 2
    succeed("search", *SMALL, *short, *options, "--trials", "3")
    assert [view.params for view in views()][:2] == first
    assert len(views()) == 3


def test_help_names_every_option(succeed: Run) -> None:
    out = succeed("search", "--help").out
    for option in (
        "--space",
        "--trials",
        "--workers",
        "--storage",
        "--sampler",
        "--pruner",
        "asha_promotion",
    ):
        assert option in out


@pytest.mark.slow
def test_wandb_has_a_grouped_run_for_each_trial(succeed: Run, space: Callable[[str], str]) -> None:
    offline = ["--config", "logger/wandb_offline"]
    options = ["--trials", "2", "--pruner", "asha_promotion", "--study", "grouped"]
    succeed("search", *offline, *SMALL, "--space", lr_space(space), *options)
    runs = sorted(path.name for path in Path("studies/grouped/trials").glob("*/wandb/offline-run-*"))
    file = StudyFile.read(Path("studies/grouped"))
    assert file is not None
    expected = {f"grouped-{file.token[:6]}-{number}" for number in ("0000", "0001")}
    assert {name.split("-", 3)[3] for name in runs} == expected
    assert not any(name.startswith("WANDB_RUN") for name in os.environ)


def test_grid_is_halved_by_its_own_number_of_points(succeed: Run, space: Callable[[str], str]) -> None:
    text = f"{LR}: {{type: float, low: 1.0e-4, high: 1.0e-2, log: true, num: 4}}\n"
    options = ["--sampler", "grid", "--pruner", "successive_halving", "--reduction-factor", "2"]
    succeed("search", *SMALL, "--space", space(text), *options)
    assert sorted(len(view.curve) for view in views()) == [1, 1, 2, 4]


def test_study_that_was_half_begun_is_begun(
    succeed: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--space", lr_space(space), "--trials", "1", "--pruner", "none", "--trainer.max_epochs", "1"]
    original = setup._note

    def dies(*arguments: Any) -> None:
        monkeypatch.setattr(setup, "_note", original)
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "_note", dies)
    assert command.search([*SMALL, *options]) == 130
    succeed("search", *SMALL, *options)
    assert [view.state for view in views()] == ["complete"]
