from pathlib import Path

import pytest

from callbacks import MetricsCSV
from callbacks.metrics_csv import read_metrics


def lines(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def test_columns_come_in_order_of_appearance_and_one_step_is_one_row(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"train/loss_step": 0.5, "lr": 0.1}, step=1)
    log.log_metrics({"val/loss": 0.25, "epoch": 0}, step=1)
    log.log_metrics({"lr": 0.1}, step=2)
    log.finalize("success")
    assert lines(tmp_path) == ["epoch,step,train/loss_step,lr,val/loss", "0,1,0.5,0.1,0.25", ",2,,0.1,"]


def test_a_row_already_written_still_takes_values_of_its_step(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"a": 1.0, "b": 1.0}, step=1)
    log.log_metrics({"a": 1.0}, step=2)
    log.save()
    log.log_metrics({"b": 2.0}, step=2)
    log.save()
    log.log_metrics({"a": 3.0}, step=3)
    log.save()
    assert lines(tmp_path) == ["epoch,step,a,b", ",1,1.0,1.0", ",2,1.0,2.0", ",3,3.0,"]


def test_a_later_start_never_empties_the_file(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    first.log_metrics({"a": 1.0}, step=1)
    first.finalize("failed")
    second = MetricsCSV(tmp_path)
    assert lines(tmp_path) == ["epoch,step,a", ",1,1.0"]
    second.log_metrics({"b": 2.0}, step=2)
    second.finalize("success")
    assert lines(tmp_path) == ["epoch,step,a,b", ",1,1.0,", ",2,,2.0"]


def test_new_columns_keep_all_rows(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path, flush_every=2)
    for step in range(7):
        log.log_metrics({"a": step / 2}, step=step)
    log.log_metrics({"b": 1.0}, step=7)
    log.finalize("success")
    assert read_metrics(tmp_path / "metrics.csv") == [
        *({"step": step, "a": step / 2} for step in range(7)),
        {"step": 7, "b": 1.0},
    ]


def test_rewind_drops_rows_past_the_checkpoint_and_the_last_row_goes_on(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    for step in (10, 20, 30):
        first.log_metrics({"a": float(step), "b": 0.0}, step=step)
    first.finalize("failed")
    resumed = MetricsCSV(tmp_path)
    resumed.rewind(20)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == [10, 20]
    resumed.log_metrics({"b": 5.0}, step=20)
    resumed.log_metrics({"a": 31.0}, step=30)
    resumed.finalize("success")
    assert lines(tmp_path) == ["epoch,step,a,b", ",10,10.0,0.0", ",20,20.0,5.0", ",30,31.0,"]


def test_rewind_to_the_last_row_lets_it_grow(tmp_path: Path) -> None:
    first = MetricsCSV(tmp_path)
    first.log_metrics({"a": 1.0, "b": 1.0}, step=1)
    first.log_metrics({"a": 2.0}, step=2)
    first.finalize("failed")
    resumed = MetricsCSV(tmp_path)
    resumed.rewind(2)
    resumed.log_metrics({"b": 2.0}, step=2)
    resumed.finalize("success")
    assert lines(tmp_path) == ["epoch,step,a,b", ",1,1.0,1.0", ",2,2.0,2.0"]


def test_a_row_torn_by_a_crash_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,a\n0,1,0.5\n0,2,0.")
    log = MetricsCSV(tmp_path)
    log.log_metrics({"a": 0.25}, step=2)
    log.finalize("success")
    assert lines(tmp_path) == ["epoch,step,a", "0,1,0.5", ",2,0.25"]


def test_rows_stay_in_memory_until_there_are_enough(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path, flush_every=3)
    for step in range(3):
        log.log_metrics({"a": 0.0}, step=step)
    assert not (tmp_path / "metrics.csv").exists()
    log.log_metrics({"a": 0.0}, step=3)
    assert len(lines(tmp_path)) == 5


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    log.log_metrics({"a": 0.1 + 0.2, "b": float("nan")}, step=1)
    log.save()
    row = read_metrics(tmp_path / "metrics.csv")[0]
    assert row["a"] == 0.1 + 0.2
    assert row["b"] != row["b"]


def test_flush_every_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flush_every is 0, but must be at least 1"):
        MetricsCSV(tmp_path, flush_every=0)
