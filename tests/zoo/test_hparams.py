"""Optimizers and schedules in checkpoints: what is written, and what a foreign checkpoint may not do."""

import pydoc
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo._hparams import UNSAVED


def softmax(**arguments: Any) -> zoo.SoftmaxRegression:
    return zoo.SoftmaxRegression(image_size=6, num_classes=4, **arguments)


def checkpoint(path: Path, **hparams: Any) -> Path:
    """A checkpoint whose hyperparameters somebody has changed."""
    model = softmax()
    content = {
        "state_dict": model.state_dict(),
        "hyper_parameters": {**model.hparams, **hparams},
        "pytorch-lightning_version": "2.6.0",
    }
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ["optimizer", "lr_scheduler"])
def test_checkpoint_runs_no_function_that_it_names(name: str, tmp_path: Path) -> None:
    spec = {"class_path": "pydoc.pipepager", "init_args": {"cmd": "touch ran"}}
    path = checkpoint(tmp_path / "evil.ckpt", **{name: spec})
    assert pydoc.__name__ in sys.modules  # else it would be refused for that
    with pytest.raises(ValueError, match=rf"{name} is pydoc\.pipepager, but must be a class derived from"):
        zoo.SoftmaxRegression.load_from_checkpoint(path)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("name", "class_path"),
    [
        ("optimizer", "torch.nn.Linear"),
        ("optimizer", "torch.optim.lr_scheduler.StepLR"),
        ("lr_scheduler", "torch.optim.SGD"),
    ],
)
def test_other_classes_are_refused(name: str, class_path: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is {class_path}, but must be a class derived from"):
        softmax(**{name: {"class_path": class_path, "init_args": {}}})


def test_checkpoint_imports_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing runs code too."""
    (tmp_path / "uninvited.py").write_text(
        "import pathlib, torch\npathlib.Path('ran').touch()\nclass SGD(torch.optim.SGD): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = checkpoint(tmp_path / "evil.ckpt", optimizer={"class_path": "uninvited.SGD", "init_args": {}})
    with pytest.raises(ValueError, match=r"optimizer is uninvited\.SGD, but must .* import uninvited first"):
        zoo.SoftmaxRegression.load_from_checkpoint(path)
    assert not Path("ran").exists()
    assert "uninvited" not in sys.modules


def test_only_optimizer_and_schedule_are_specs() -> None:
    """The value of another argument stays a dict, whatever its keys."""

    class Labelled(zoo.SoftmaxRegression):
        def __init__(self, *, note: Any = None) -> None:
            super().__init__(image_size=6)
            self.note = note

    note = {"class_path": "builtins.print", "init_args": {}}
    assert Labelled(note=note).note == note


def own_rate(p: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": p, "lr": 1.0}], lr=0.1)


def changed_after(p: Any) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(p, lr=0.1)
    optimizer.param_groups[0]["lr"] = 1.0
    return optimizer


@pytest.mark.parametrize("build", [own_rate, changed_after])
def test_groups_with_a_rate_of_their_own_are_not_saved_as_another_rate(build: Any) -> None:
    assert softmax(optimizer=build).hparams["optimizer"] == {UNSAVED: f"optimizer={build.__qualname__}"}


def test_schedule_that_changes_the_optimizer_is_not_saved_without_that() -> None:
    def build(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        optimizer.param_groups[0]["momentum"] = 0.5
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=3)

    assert UNSAVED in softmax(lr_scheduler=build).hparams["lr_scheduler"]


def test_schedule_that_starts_low_is_saved() -> None:
    """Building it changes the optimizer's rate, so it must be built anew on another to be compared."""
    model = softmax(
        lr_scheduler=lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=0.5, total_iters=4)
    )
    spec = model.hparams["lr_scheduler"]
    assert spec["class_path"] == "torch.optim.lr_scheduler.LinearLR"
    assert spec["init_args"] == {"start_factor": 0.5, "end_factor": 1.0, "total_iters": 4}
