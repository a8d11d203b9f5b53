"""The command ``search``: how its trials go on, fail, stop and are measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from search.study import SharedStudy
from tests.zoo_cli.conftest import Run
from tests.zoo_cli.searches import LR, SMALL, curve_of, lr_space, rows_of, views
from zoo_cli import search as command
from zoo_cli import search_trial

pytestmark = pytest.mark.usefixtures("in_this_process")


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


@pytest.mark.parametrize("debug", ["0", "1"])
def test_trial_whose_loss_is_no_number_is_pruned(
    succeed: Run, space: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, debug: str
) -> None:
    monkeypatch.setenv("ZOO_DEBUG", debug)
    text = f"{LR}: {{type: categorical, choices: [1.0e+30, 1.0e-3]}}\n"
    options = ["--sampler", "grid", "--pruner", "none", "--trainer.max_epochs", "1"]
    succeed("search", *SMALL, "--space", space(text), *options)
    assert [view.state for view in views()] == ["pruned", "complete"]
    folder = Path("studies/study/trials/0000")
    assert "the training loss was not finite" in (folder / "log.txt").read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "pruned"
    assert "the training loss was not finite" in summary["error"]


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
    assert command.search([*SMALL, *options, *two]) == 130
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
    for view in views():
        trial = Path(f"studies/study/trials/{view.number:04d}")
        summary = json.loads((trial / "summary.json").read_text())
        assert summary["status"] == ("pruned" if view.state == "pruned" else "finished")
        assert summary["best_checkpoint"] is None or (trial / summary["best_checkpoint"]).is_file()
