import json
import math
from pathlib import Path
from typing import Any

import pytest

from callbacks import RunRecord
from callbacks.results import find_summaries, interval_95, main, results_table, t_975
from tests.callbacks.conftest import MakeTrainer, digits, lenet


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "name": "lenet/version_0",
        "status": "finished",
        "config": "cnn/lenet_fashion_mnist.yaml",
        "model": "zoo.LeNet",
        "seed": 0,
        "metrics": {"train/loss": 0.1, "test/loss": 0.3, "test/acc": 0.8},
        "best": {"epoch": 2, "step": 30, "val/loss": 0.2, "val/acc": 0.9},
        "epochs": 10,
        "parameters": 61706,
        "wall_time_s": 12.0,
        "images_per_s": 1000.0,
        "device": {"kind": "cpu", "name": "x86_64", "count": 1, "cpu_count": 2, "threads": 1},
        "written_at": "2026-01-01T00:00:00.000+00:00",
        **changes,
    }


def write(folder: Path, **changes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary(**changes)))


def rows(page: str) -> list[list[str]]:
    return [
        [c.strip() for c in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")
    ][2:]


def test_seeds_of_a_config_become_a_mean_and_an_interval() -> None:
    page = results_table([summary(seed=s, metrics={"test/acc": a}) for s, a in enumerate((0.7, 0.72, 0.74))])
    ((area, model, config, seeds, test, validation, *_),) = rows(page)
    assert (area, model, config, seeds) == ("cnn", "LeNet", "`cnn/lenet_fashion_mnist.yaml`", "3")
    assert test == "acc 0.7200 ± 0.05"  # 4.303 * 0.02 / sqrt(3) = 0.0497
    assert validation == "acc 0.9000 ± 0"
    assert "do not edit" in page


def test_one_seed_has_no_interval() -> None:
    ((*_, test, _, _, _, _, _, _),) = rows(results_table([summary()]))
    assert test == "acc 0.8000"


def test_interval_is_that_of_students_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 5, 10, 11, 12, 20, 31, 100):
        assert t_975(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=3e-4)
    mean, half = interval_95([1.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(12.706 * math.sqrt(2) / math.sqrt(2)))


def test_rows_are_sorted_by_area_and_model() -> None:
    page = results_table(
        [
            summary(config="mlp/mlp.yaml", model="zoo.MLP"),
            summary(config="cnn/b.yaml", model="zoo.NiN"),
            summary(config="cnn/a.yaml", model="zoo.AlexNet"),
        ]
    )
    assert [row[:2] for row in rows(page)] == [["cnn", "AlexNet"], ["cnn", "NiN"], ["mlp", "MLP"]]


def test_a_lost_run_is_not_left_out_of_the_mean() -> None:
    page = results_table([summary(), summary(seed=1, metrics={"test/acc": None})])
    assert rows(page)[0][4] == "acc missing in 1 of 2"


def test_only_finished_runs_count_and_a_repeated_seed_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0", seed=0, metrics={"test/acc": 0.1}, written_at="2026-01-02T00:00:00.000+00:00")
    write(tmp_path / "a" / "1", seed=0, metrics={"test/acc": 0.2}, written_at="2026-01-03T00:00:00.000+00:00")
    write(tmp_path / "a" / "2", seed=0, metrics={"test/acc": 0.3}, written_at="2026-01-01T00:00:00.000+00:00")
    write(tmp_path / "a" / "3", seed=1, status="failed")
    write(tmp_path / "a" / "4", seed=2, status="running")
    (found,) = find_summaries([tmp_path])
    assert found["metrics"] == {"test/acc": 0.2}


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "runs" / "a")
    assert main([str(tmp_path / "runs"), "--output", str(tmp_path / "results.md")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'results.md'}: 1 runs\n"
    assert main([str(tmp_path / "runs" / "a" / "summary.json"), "--output", "-"]) == 0
    assert (tmp_path / "results.md").read_text() == capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: no finished run under {tmp_path}\n"
    (tmp_path / "summary.json").write_text("{")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path}/summary.json: cannot be read as the record of a run"
    )


def test_the_record_of_a_real_run_makes_a_row(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(RunRecord(config="cnn/lenet_digits.yaml"), max_epochs=1)
    model = lenet()
    trainer.fit(model, datamodule=digits())
    trainer.test(model, datamodule=digits(), verbose=False)
    (row,) = rows(results_table(find_summaries([tmp_path])))
    assert row[:4] == ["cnn", "LeNet", "`cnn/lenet_digits.yaml`", "1"]
    assert row[4].startswith(f"acc {float(trainer.callback_metrics['test/acc']):#.4g}, acc_top5 ")
