import re
import sys

import pytest

from callbacks import PlainProgress, RichProgress, progress_bar
from callbacks.progress import seconds_left
from tests.callbacks.conftest import MakeTrainer, digits, lenet


def test_an_epoch_is_one_line_with_its_own_metrics(
    make_trainer: MakeTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(PlainProgress())
    trainer.fit(lenet(), datamodule=digits())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    number = r"[\d.e-]+"
    names = ("train/loss", "train/acc", "val/loss", "val/acc", "val/acc_top5")
    metrics = "  ".join(f"{name} {number}" for name in names)
    assert len(lines) == 2
    assert re.fullmatch(rf"epoch 1/2  {metrics}  \d+\.\d s, ETA \d+ s", lines[0])
    assert re.fullmatch(rf"epoch 2/2  {metrics}  \d+\.\d s", lines[1])
    assert f"train/loss {float(trainer.callback_metrics['train/loss']):.4g} " in lines[1]


@pytest.mark.parametrize("terminal", [False, True])
def test_an_evaluation_prints_each_metric_once(
    make_trainer: MakeTrainer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    trainer = make_trainer(progress_bar())
    trainer.test(lenet(), datamodule=digits(), verbose=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "test/acc " in line]
    assert line == f"test/acc       {float(trainer.callback_metrics['test/acc']):.4f}"
    trainer.validate(lenet(), datamodule=digits(), verbose=False)
    assert capsys.readouterr().out.count("val/acc ") == 1


def test_a_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert isinstance(progress_bar(), RichProgress)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert isinstance(progress_bar(), PlainProgress)


def test_the_bar_shows_losses_and_the_time_left(make_trainer: MakeTrainer) -> None:
    seen = []

    class Watching(RichProgress):
        def get_metrics(self, *args):  # type: ignore[no-untyped-def]
            seen.append(super().get_metrics(*args))
            return seen[-1]

    make_trainer(Watching()).fit(lenet(), datamodule=digits())
    assert {"train/loss_step", "ETA"} <= set(seen[6])
    assert set(seen[-1]) <= {"train/loss_step", "val/loss", "val/acc", "ETA"}
    assert {"val/loss", "val/acc"} <= set(seen[-1])


def test_time_left_counts_only_what_was_done_since_the_start() -> None:
    assert seconds_left(4, 10, 2, 20.0) == 60.0
    assert seconds_left(10, 10, 2, 20.0) == 0.0
    assert seconds_left(2, 10, 2, 20.0) is None
    assert seconds_left(4, -1, 2, 20.0) is None
    assert seconds_left(4, None, 2, 20.0) is None
