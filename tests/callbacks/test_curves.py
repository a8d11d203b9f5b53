from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from callbacks import Curves, RunRecord
from callbacks.curves import draw_curves, metrics_to_draw
from tests.callbacks.conftest import MakeTrainer, digits, lenet


def history(epochs: int, *, lr: float | None = None) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for epoch in range(epochs):
        step = 20 * (epoch + 1)
        rate = 0.1 if lr is None else 0.1 * lr**epoch
        rows.append({"epoch": epoch, "step": step - 10, "train/loss_step": 2.0 / (epoch + 1), "lr": rate})
        rows.append(
            {"epoch": epoch, "step": step, "train/loss": 1.5 / (epoch + 1), "val/loss": abs(epoch - 2) + 1.0}
        )
        rows[-1] |= {"train/acc": 0.5, "val/acc": 0.5, "val/acc_top5": 0.9}
    return rows


def test_panels_are_loss_accuracy_and_a_varying_learning_rate() -> None:
    figure = draw_curves(history(4, lr=0.5), title="run/version_0")
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    constant = draw_curves(history(4))
    assert constant is not None
    assert [axes.get_title() for axes in constant.axes] == ["loss", "accuracy"]


def test_curves_lie_on_the_epochs_that_ended() -> None:
    figure = draw_curves(history(4))
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_allclose(lines["train"].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(lines["train, recent steps"].get_xdata(), [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(lines["validation, best 1"].get_ydata(), [3, 2, 1, 2])


def test_steps_of_an_unfinished_epoch_go_on_at_the_same_pace() -> None:
    figure = draw_curves([*history(2), {"epoch": 2, "step": 50, "train/loss_step": 0.1}])
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_allclose(lines["train, recent steps"].get_xdata(), [0.5, 1.5, 2.5])


def test_the_best_accuracy_is_the_highest() -> None:
    rows = history(3)
    rows[3]["val/acc"] = 0.75
    figure = draw_curves(rows)
    assert figure is not None
    assert "validation, best 0.75" in [line.get_label() for line in figure.axes[1].get_lines()]


def test_a_metric_equal_to_the_loss_is_not_drawn_twice() -> None:
    rows = [
        {"epoch": 0, "step": 5, "train/loss": 1.0, "train/mse": 1.0, "train/mae": 0.5},
        {"epoch": 0, "step": 5, "val/loss": 2.0, "val/mse": 2.0, "val/mae": 0.7},
    ]
    assert metrics_to_draw(rows) == ["loss", "mae"]


def test_a_run_started_anew_in_the_same_folder_is_drawn_alone() -> None:
    figure = draw_curves([*history(4), *history(2)])
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert len(lines["train"].get_xdata()) == 2


def test_lost_values_do_not_prevent_a_picture() -> None:
    rows = history(2)
    rows[1]["val/loss"] = rows[3]["val/loss"] = rows[3]["train/loss"] = float("nan")
    assert draw_curves(rows) is not None


def test_nothing_logged_is_no_picture() -> None:
    assert draw_curves([]) is None
    assert draw_curves([{"epoch": 0, "step": 1, "lr": 0.1}]) is None


def test_a_run_leaves_a_picture(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr("callbacks.curves.save_figure", lambda figure, path: drawn.append(path))
    make_trainer(RunRecord(), Curves()).fit(lenet(), datamodule=digits())
    assert drawn == [tmp_path / "curves.png"]  # a short run is drawn once, at its end


def test_the_picture_is_a_png(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(RunRecord(), Curves()).fit(lenet(), datamodule=digits())
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] > 600
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_a_trial_of_a_few_batches_draws_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(Curves(), fast_dev_run=True).fit(lenet(), datamodule=digits())
    assert not (tmp_path / "curves.png").exists()
