"""Cross-validation, the ensemble and its predictions."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.zoo_cli.conftest import Run

FLAGS = (
    *("--model", "LinearRegression", "--data", "CSVTable", "--data.init_args.file", "table.csv"),
    *(
        "--data.init_args.target",
        "y",
        "--data.init_args.batch_size",
        "full",
        "--data.init_args.log_target",
        "true",
    ),
    *("--model.init_args.closed_form", "true", "--trainer.max_epochs", "1"),
)


@pytest.fixture(autouse=True)
def table() -> None:
    """log y is linear in u, so that each fold's model is exact."""
    rows = [f"{i},{math.exp(0.1 * i + 1):.9f}" for i in range(20)]
    Path("table.csv").write_text("\n".join(["u,y", *rows]) + "\n")
    Path("new.csv").write_text("u\n30\n-5\n")


def test_folds_are_measured_and_the_ensemble_predicts(succeed: Run) -> None:
    out = succeed("kfold", *FLAGS, "--folds", "4", "--input", "new.csv", "--output", "out.csv").out
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("fold")] == [
        f"fold {i}/4" for i in (1, 2, 3, 4)
    ]
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [float(row["y"]) for row in rows] == pytest.approx([math.exp(4), math.exp(0.5)], rel=1e-3)
    (summary_path,) = Path("runs/LinearRegression_kfold/version_0").glob("summary.json")
    summary = json.loads(summary_path.read_text())
    assert len(summary["folds"]) == 4
    mean = sum(fold["val/mse"] for fold in summary["folds"]) / 4
    assert summary["metrics"]["kfold/mse"] == pytest.approx(mean)
    assert mean < 1e-6


def test_bad_number_of_folds(one_line_error: Callable[..., str]) -> None:
    assert "--folds is '1', but must be a whole number of at least 2" in one_line_error(
        2, "kfold", *FLAGS, "--folds", "1"
    )


def test_data_without_folds(one_line_error: Callable[..., str]) -> None:
    line = one_line_error(2, "kfold", "--model", "LeNet", "--data", "Digits")
    assert "datamodules.Digits has no folds; kfold needs a table" in line
