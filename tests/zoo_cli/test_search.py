"""The command ``search``, its trials in this process: what it writes, what it refuses, how trials go on."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from search import setup
from search.setup import StudyFile, open_study
from search.storage import Storage, open_storage
from search.study import SharedStudy
from search.trials import TrialView
from search.worker import work
from tests.zoo_cli.conftest import Run
from zoo_cli import search as command
from zoo_cli import search_trial
from zoo_cli.errors import INTERRUPTED, CommandError
from zoo_cli.search_supervisor import Supervisor
from zoo_cli.search_trial import TrialRunner

LR = "model.init_args.optimizer.init_args.lr"
SMALL = [
    *("--model", "LeNet", "--model.init_args.activation", "relu", "--model.init_args.optimizer", "Adam"),
    *("--data", "Digits", "--data.init_args.batch_size", "256", "--trainer.max_epochs", "4"),
    *("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--seed_everything", "1"),
]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Storage]]:
    """Let the command's one worker be this process, which is warm; all else is as it is."""
    opened: list[Storage] = []

    class Alone(Supervisor):
        def run(self) -> int:
            opened.append(self.study.storage)
            work(self.study, TrialRunner(self.file, self.objectives))
            self._write(self.study.views(), pictures=False)
            return 0

    monkeypatch.setattr(command, "Supervisor", Alone)
    yield opened
    for storage in opened:
        storage.close()


@pytest.fixture
def space() -> Callable[[str], str]:
    """Write a space, and return its name."""

    def write(text: str) -> str:
        Path("space.yaml").write_text(text)
        return "space.yaml"

    return write


def lr_space(space: Callable[[str], str]) -> str:
    return space(f"{LR}: {{type: float, low: 1.0e-4, high: 1.0e-2, log: true}}\n")


def views(name: str = "study") -> list[TrialView]:
    file = StudyFile.read(Path("studies") / name)
    assert file is not None
    return open_study(file, open_storage(None, file.folder, file.name)).views()


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def curve_of(folder: Path, metric: str = "val/acc") -> dict[int, float]:
    return {
        int(row["epoch"]) + 1: float(row[metric])
        for row in rows_of(folder / "metrics.csv")
        if row.get(metric)
    }


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


def test_q24_promoted_trial_goes_on_as_if_it_had_never_stopped(
    succeed: Run, space: Callable[[str], str]
) -> None:
    cosine = [
        "--model.init_args.lr_scheduler",
        "CosineAnnealingLR",
        "--model.init_args.lr_scheduler.T_max",
        "4",
    ]
    options = ["--trials", "3", "--pruner", "asha_promotion", "--reduction-factor", "2"]
    succeed("search", *SMALL, *cosine, "--space", lr_space(space), *options)
    found = views()
    (complete,) = [view for view in found if view.state == "complete"]
    assert {view.state for view in found} == {"complete", "pruned"}
    assert sorted(len(view.curve) for view in found) in ([1, 2, 4], [1, 1, 4])
    trial = Path(f"studies/study/trials/{complete.number:04d}")
    log = (trial / "log.txt").read_text()
    assert log.count("LeNet with") >= 2  # it was handed back at a rung
    succeed("fit", "--config", str(trial / "config.yaml"))
    (whole,) = Path("runs").glob("*/version_0")
    for metric in ("val/acc", "val/loss"):
        assert curve_of(trial, metric) == pytest.approx(curve_of(whole, metric), abs=1e-7)
    rates = [{row["lr"] for row in rows_of(f / "metrics.csv") if row.get("lr")} for f in (trial, whole)]
    assert rates[0] == rates[1]


def test_damaged_checkpoint_starts_the_trial_again(
    succeed: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SharedStudy.pause

    def pause(self: SharedStudy, *arguments: Any) -> None:
        original(self, *arguments)
        checkpoint = Path("studies/study/trials/0000/checkpoints/last.ckpt")
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])

    monkeypatch.setattr(SharedStudy, "pause", pause)
    options = ["--trials", "1", "--pruner", "asha_promotion"]
    succeed("search", *SMALL, "--space", lr_space(space), *options)
    (view,) = views()
    assert view.state == "complete"
    assert len(view.curve) == 4
    log = Path("studies/study/trials/0000/log.txt").read_text()
    assert "cannot be read" in log
    assert "the trial starts again" in log


def test_failing_trial_is_recorded_with_its_message(
    run: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = search_trial.run_cli
    calls: list[int] = []

    def run_cli(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore")
        return original(*arguments)

    monkeypatch.setattr(search_trial, "run_cli", run_cli)
    assert run("search", *SMALL, "--space", lr_space(space), "--trials", "2", "--pruner", "none").code == 0
    assert [view.state for view in views()] == ["complete", "failed", "complete"]
    assert views()[1].error == "CUDA out of memory. Tried to allocate 20.00 GiB"
    assert "Traceback" in Path("studies/study/trials/0001/log.txt").read_text()


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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--sampler", "tpe"], "--sampler: is tpe, but the study was begun with random"),
        (["--trainer.max_epochs", "3"], "--trainer.max_epochs 3"),
        (["--seed", "7"], "--seed: is 7, but the study was begun with 0"),
        (
            ["--storage", "sqlite:///x.db"],
            "--storage is sqlite:///x.db, but the study study was begun",
        ),
    ],
)
def test_other_settings_need_another_study(
    succeed: Run,
    one_line_error: Callable[..., str],
    space: Callable[[str], str],
    changed: list[str],
    message: str,
) -> None:
    options = ["--space", lr_space(space), "--sampler", "random", "--trials", "1", "--pruner", "none"]
    succeed("search", *SMALL, "--trainer.max_epochs", "1", *options)
    line = one_line_error(2, "search", *SMALL, "--trainer.max_epochs", "1", *options, *changed)
    assert message in line
    assert "--study" in line


def test_changed_space_needs_another_study(
    succeed: Run, one_line_error: Callable[..., str], space: Callable[[str], str]
) -> None:
    options = ["--trials", "1", "--trainer.max_epochs", "1", "--pruner", "none"]
    succeed("search", *SMALL, "--space", lr_space(space), *options)
    space(f"{LR}: {{type: float, low: 1.0e-3, high: 1.0e-2}}\n")
    line = one_line_error(2, "search", *SMALL, "--space", "space.yaml", *options)
    assert "--space: has changed since the study was begun" in line


def test_folder_must_be_the_study_s_own(
    succeed: Run, one_line_error: Callable[..., str], space: Callable[[str], str], postgresql: Any
) -> None:
    options = ["--space", lr_space(space), "--trials", "1", "--trainer.max_epochs", "1", "--pruner", "none"]
    shared = [*options, "--storage", postgresql.url, "--study", f"shared-{os.getpid()}"]
    succeed("search", *SMALL, *shared)
    line = one_line_error(2, "search", *SMALL, *shared, "--studies", "elsewhere")
    assert "is not the folder of the study" in line
    assert "under a shared path" in line
    shutil.copytree("studies", "elsewhere", dirs_exist_ok=True)
    succeed("search", *SMALL, *shared, "--studies", "elsewhere")  # the same file is there: it is shared


BAD_SPACES = {
    "model.init_args.hidden: {type: int, low: 1, high: 2}": "space.yaml:1: zoo.LeNet has no argument",
    "trainer.max_epoch: {type: int, low: 1, high: 2}": "space.yaml:1: there is no setting trainer.max_epoch",
    f"{LR}: {{type: float, low: 1.0, high: 0.1}}": "space.yaml:1: "
    + LR
    + ": low is 1, but must be at most high",
    f"{LR}: {{type: float, low: 0.0, high: 0.1, log: true}}": "low is 0, but must be above 0 on a",
    f"{LR}: {{type: float, high: 0.1}}": "low is missing, but must be a number",
    f"{LR}: {{type: flaot, low: 0.1, high: 1.0}}": "type is 'flaot', but must be one of float, int",
    f"{LR}: {{low: 0.1, high: 1.0}}": "type is missing, but must be one of",
    f"{LR}: {{type: float, low: 0.1, high: 1.0, base: 2}}": "a float has no 'base', only high, log, low",
    f"{LR}: 0.1": "must be a mapping such as",
    f"{LR}: {{type: categorical, choices: []}}": "choices is [], but must be a list of values",
    "data.init_args.batch_size: {type: int, low: 1.5, high: 8}": "low is 1.5, but must be a whole number",
    "model.init_args.activation: {type: categorical, choices: [relu, rleu]}": "space.yaml:1: activation is",
    f"{LR}: {{type: float, low: -1.0, high: 0.1}}": "space.yaml:1: Invalid learning rate: -1.0",
    "trainer.max_epochs: {type: int, low: 1, high: 2}": "space.yaml:1: trainer.max_epochs varies",
    "": "must hold `dotted.path: {type: ...}` lines",
    "a: [": "space.yaml:2: is not valid YAML",
}


@pytest.mark.parametrize("text", BAD_SPACES)
def test_bad_space_is_refused_before_anything_is_trained(
    one_line_error: Callable[..., str], space: Callable[[str], str], text: str
) -> None:
    line = one_line_error(2, "search", *SMALL, "--space", space(text + "\n" if text else ""), "--trials", "2")
    assert BAD_SPACES[text] in line
    assert not Path("studies").exists()


BAD_OPTIONS = {
    ("--trials", "0"): "--trials is 0, but must be at least 1",
    ("--workers", "two"): "--workers: invalid int value: 'two'",
    ("--sampler", "tp"): "--sampler: invalid choice: 'tp'",
    ("--reduction-factor", "1"): "--reduction-factor is 1, but must be at least 2",
    ("--min-resource", "9"): "--min-resource is 9, but must be",
    ("--objective", "val/accuracy:max"): "--objective val/accuracy: is not logged by LeNet; choose from",
    ("--objective", "val/acc"): "has no direction: write val/acc:max or val/acc:min",
    ("--objective", "parameters:min"): "must not be the first",
    (
        "--objective",
        "val/acc:max",
        "--objective",
        "val/loss:min",
        "--pruner",
        "asha",
    ): "none for several",
    ("--objective", "val/acc:max", "--objective", "val/loss:min", "--sampler", "cma_es"): "with 2 objectives",
    ("--sampler", "grid"): "num",
    ("--storage", "mysql://localhost/x"): "must be sqlite:///FILE or postgresql://USER@HOST/DATABASE",
    (
        "--storage",
        "postgresql://me:secret@127.0.0.1:9/x",
    ): "--storage postgresql://me@127.0.0.1:9/x:",
    ("--storage", "sqlite:///x.db", "--workers", "2"): "--workers is 2, but must be 1 with SQLite",
    ("--pruner", "successive_halving", "--timeout", "9"): "needs --trials",
    ("--study", "a/b"): "--study is 'a/b', but must be letters",
    ("--folds", "3"): "datamodules.Digits has no folds",
    ("--space", "nowhere.yaml"): "--space nowhere.yaml: there is no such file",
}


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_bad_option_is_one_line(
    one_line_error: Callable[..., str], space: Callable[[str], str], options: tuple[str, ...]
) -> None:
    line = one_line_error(2, "search", *SMALL, "--space", lr_space(space), *options)
    assert BAD_OPTIONS[options] in line
    assert "secret" not in line
    assert not list(Path().glob("studies/*/trials"))


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


def test_study_keeps_to_the_configuration_that_it_was_begun_with(
    succeed: Run, one_line_error: Callable[..., str], space: Callable[[str], str]
) -> None:
    Path("mine.yaml").write_text("trainer:\n  max_epochs: 1\n")
    options = ["--config", "mine.yaml", "--space", lr_space(space), "--pruner", "none"]
    small = [arg for arg in SMALL if arg not in ("--trainer.max_epochs", "4")]
    succeed("search", *small, *options, "--trials", "1")
    assert Path("studies/mine/configs/mine.yaml").read_text() == Path("mine.yaml").read_text()
    line = json.loads(Path("studies/mine/trials/0000/summary.json").read_text())["command"]
    assert "--config studies/mine/configs/mine.yaml" in line
    Path("mine.yaml").write_text("trainer:\n  max_epochs: 2\n")
    line = one_line_error(2, "search", *small, *options, "--trials", "2")
    assert "--config: has changed since the study was begun" in line


def test_trial_that_was_done_but_not_noted_is_complete(
    succeed: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was interrupted after the last checkpoint, before the study heard of it."""
    original = search_trial.measure
    options = ["--space", lr_space(space), "--trials", "1", "--pruner", "none", "--trainer.max_epochs", "2"]
    two = ["--objective", "val/acc:max", "--objective", "val/loss:min", "--sampler", "random"]

    def interrupted(*arguments: Any) -> float:
        monkeypatch.setattr(search_trial, "measure", original)
        raise KeyboardInterrupt

    monkeypatch.setattr(search_trial, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.search([*SMALL, *options, *two])
    assert [view.state for view in views()] == ["paused"]
    succeed("search", *SMALL, *options, *two)
    (view,) = views()
    assert view.state == "complete"
    rows = rows_of(Path("studies/study/trials/0000/metrics.csv"))
    assert view.values == pytest.approx([float(rows[-1]["val/acc"]), float(rows[-1]["val/loss"])], abs=1e-6)


def test_epochs_without_validation_change_nothing(succeed: Run, space: Callable[[str], str]) -> None:
    options = ["--trials", "2", "--pruner", "asha_promotion", "--trainer.check_val_every_n_epoch", "2"]
    succeed("search", *SMALL, "--trainer.max_epochs", "5", "--space", lr_space(space), *options)
    assert {view.state for view in views()} == {"complete", "pruned"}
    for view in views():
        if view.values is not None:
            assert list(view.curve) == [2, 4]
            assert view.values == (view.curve[4],)


def test_search_stops_trials_whatever_min_epochs_says(succeed: Run, space: Callable[[str], str]) -> None:
    options = ["--trials", "3", "--pruner", "asha", "--sampler", "random", "--trainer.min_epochs", "3"]
    succeed("search", *SMALL, "--space", lr_space(space), *options)
    for view in views():
        assert len(view.curve) == 4 if view.state == "complete" else view.state == "pruned"
    assert {len(view.curve) for view in views() if view.state == "pruned"} <= {1, 3}
    assert any(view.state == "pruned" for view in views())


def test_grid_is_halved_by_its_own_number_of_points(succeed: Run, space: Callable[[str], str]) -> None:
    text = f"{LR}: {{type: float, low: 1.0e-4, high: 1.0e-2, log: true, num: 4}}\n"
    options = ["--sampler", "grid", "--pruner", "successive_halving", "--reduction-factor", "2"]
    succeed("search", *SMALL, "--space", space(text), *options)
    assert sorted(len(view.curve) for view in views()) == [1, 1, 2, 4]


def test_interrupt_while_the_space_is_tried_ends_the_command(
    one_line_error: Callable[..., str], space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def run_cli(*arguments: Any) -> Any:
        calls.append(1)
        raise CommandError("stopped", INTERRUPTED)

    monkeypatch.setattr(command, "run_cli", run_cli)
    line = one_line_error(130, "search", *SMALL, "--space", lr_space(space))
    assert "stopped; nothing has been trained" in line
    assert calls == [1]


def test_study_that_was_half_begun_is_begun(
    succeed: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--space", lr_space(space), "--trials", "1", "--pruner", "none", "--trainer.max_epochs", "1"]
    original = setup._note

    def dies(*arguments: Any) -> None:
        monkeypatch.setattr(setup, "_note", original)
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "_note", dies)
    with pytest.raises(KeyboardInterrupt):
        command.search([*SMALL, *options])
    succeed("search", *SMALL, *options)
    assert [view.state for view in views()] == ["complete"]
