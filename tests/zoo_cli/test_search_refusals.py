"""The command ``search``: what it refuses before anything is trained."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.zoo_cli.conftest import Run
from tests.zoo_cli.searches import LR, SMALL, lr_space
from zoo_cli import search_tried
from zoo_cli.errors import INTERRUPTED, CommandError

pytestmark = pytest.mark.usefixtures("in_this_process")


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
    assert f"--space: {LR}.low is 0.001, but 0.0001 in studies/study/space.yaml, with which" in line
    assert "--study (study)" in line
    space(f"# The same.\n{LR}:\n  type: float\n  low: 1.0e-4\n  high: 1.0e-2\n  log: true\n")
    succeed("search", *SMALL, "--space", "space.yaml", *options)


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
    "model.init_args.hidden: {type: int, low: 1, high: 2}": (
        "space.yaml:1: model.init_args.hidden: zoo.LeNet has no argument"
    ),
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
    "model.init_args.activation: {type: categorical, choices: [relu, rleu]}": (
        "space.yaml:1: model.init_args.activation is 'rleu', but must be one of"
    ),
    f"{LR}: {{type: float, low: -1.0, high: 0.1}}": f"space.yaml:1: {LR}: Invalid learning rate: -1.0",
    f"{LR}r: {{type: float, low: 0.1, high: 1}}": (
        f"space.yaml:1: there is no setting {LR}r; did you mean lr?"
    ),
    "data.init_args.batch_size: {type: float, low: 16, high: 32}": (
        "space.yaml:1: data.init_args.batch_size is '16.0', but must be int or 'full'; its type in the space "
        "is float, so make it int"
    ),
    "data.init_args.batch_size: {tpye: float, low: 1, high: 2}": (
        "data.init_args.batch_size: type is missing, but must be one of float, int, categorical, class; "
        "there is no 'tpye'; did you mean type"
    ),
    "model.init_args.lr_scheduler: {type: class, choices: {zoo.FactorDecay: {factor: "
    "{type: float, low: -3, high: 1}}}}": (
        "space.yaml:1: model.init_args.lr_scheduler.init_args.factor is -3.0, but must be in"
    ),
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
    assert not Path("studies").exists()
    assert not Path("x.db").exists()


def test_neither_configuration_nor_model(
    one_line_error: Callable[..., str], space: Callable[[str], str]
) -> None:
    line = one_line_error(2, "search", "--space", lr_space(space))
    assert "neither --config FILE nor --model NAME and --data NAME is given" in line


@pytest.mark.parametrize("studies", ["/proc/nope", "a_file"])
def test_folder_that_cannot_be_made_is_as_storage_that_cannot_be_reached(
    one_line_error: Callable[..., str], space: Callable[[str], str], studies: str
) -> None:
    Path("a_file").touch()
    line = one_line_error(2, "search", *SMALL, "--space", lr_space(space), "--studies", studies)
    assert line.startswith(f"error: {studies}")


def test_damaged_study_is_left_as_it_is(
    one_line_error: Callable[..., str], space: Callable[[str], str]
) -> None:
    folder = Path("studies/study")
    folder.mkdir(parents=True)
    (folder / "study.json").write_text("{}\n")
    line = one_line_error(2, "search", *SMALL, "--space", lr_space(space))
    assert f"{folder}/study.json: cannot be read as the file of a study (it has no 'settings')" in line
    assert [path.name for path in folder.iterdir()] == ["study.json"]


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
    kept = "studies/mine/configs/mine.yaml"
    assert f"--config: trainer.max_epochs is 2, but 1 in {kept}, with which the study was begun" in line


def test_interrupt_while_the_space_is_tried_ends_the_command(
    run: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def run_cli(*arguments: Any) -> Any:
        calls.append(1)
        raise CommandError("stopped", INTERRUPTED)

    monkeypatch.setattr(search_tried, "run_cli", run_cli)
    result = run("search", *SMALL, "--space", lr_space(space))
    assert (result.code, result.err) == (130, "stopped; nothing has been trained\n")
    assert calls == [1]


def test_sigterm_while_the_space_is_tried_ends_the_command(
    run: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_cli(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(search_tried, "run_cli", run_cli)
    before = signal.getsignal(signal.SIGTERM)
    result = run("search", *SMALL, "--space", lr_space(space))
    assert (result.code, result.err) == (143, "stopped; nothing has been trained\n")
    assert signal.getsignal(signal.SIGTERM) is before
