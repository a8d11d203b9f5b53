import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from callbacks import ProgressBoard
from callbacks.progress_board import in_notebook
from tests.callbacks.conftest import MakeTrainer, digits, lenet


def test_a_line_gets_the_mean_of_each_n_points(tmp_path: Path) -> None:
    board = ProgressBoard(path=tmp_path / "b.png")
    for x in range(10):
        board.draw(x, torch.tensor([float(x * x)]), "square", every_n=4)
        board.draw(x, -x, "minus")
    assert board.lines["square"] == [(1.5, (0 + 1 + 4 + 9) / 4), (5.5, (16 + 25 + 36 + 49) / 4)]
    assert board.lines["minus"][-1] == (9.0, -9.0)


def test_outside_of_a_notebook_it_is_a_file(tmp_path: Path) -> None:
    board = ProgressBoard(xlabel="x", ylabel="y", yscale="log", xlim=(0, 3), path=tmp_path / "b.png")
    for x in range(1, 4):
        board.draw(x, x, "line")
    board.show()
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (495, 330)
    (axes,) = board.figure().axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("x", "y", "log")
    assert axes.get_xlim() == (0, 3)
    assert list(axes.get_lines()[0].get_xdata()) == [1, 2, 3]


def test_in_a_notebook_one_picture_is_updated_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    handle = SimpleNamespace(update=lambda figure: shown.append(("update", figure)))

    def display(figure: Any, *, display_id: bool) -> Any:
        assert display_id
        shown.append(("display", figure))
        return handle

    notebook = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", notebook)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))  # type: ignore[arg-type]
    board = ProgressBoard(path=tmp_path / "b.png")
    board.draw(0, 1.0, "a")
    board.draw(1, 2.0, "a")
    board.show()
    assert [how for how, _ in shown] == ["display", "update"]
    assert not (tmp_path / "b.png").exists()


def test_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))  # type: ignore[arg-type]
    assert not in_notebook()


def test_as_a_callback_it_draws_loss_and_validation_against_epochs(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    board = ProgressBoard(every_n_steps=5)
    make_trainer(board).fit(lenet(), datamodule=digits())
    assert [x for x, _ in board.lines["train/loss"]] == pytest.approx([5 / 11, 10 / 11, 15 / 11, 20 / 11])
    assert [x for x, _ in board.lines["val/acc"]] == [1, 2]
    assert set(board.lines) == {"train/loss", "val/loss", "val/acc", "val/acc_top5"}
    assert (tmp_path / "progress.png").is_file()


def test_a_trial_of_a_few_batches_draws_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(ProgressBoard(every_n_steps=1), fast_dev_run=True).fit(lenet(), datamodule=digits())
    assert not (tmp_path / "progress.png").exists()


def test_every_n_steps_must_be_positive() -> None:
    with pytest.raises(ValueError, match="every_n_steps is 0, but must be at least 1"):
        ProgressBoard(every_n_steps=0)
