"""Curves that a study leaves are those that a replay reads."""

import csv
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.search_record import COLUMNS, curves_of, record
from benchmarks.search_replay import read_curves
from tests.zoo_cli.searches import worker_in_this_process
from zoo_cli.main import main


def test_curves_of_a_study_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]
    model = ["--model", "LeNet", "--data", "Digits", "--trainer.max_epochs", "2", *small]
    space = ["--space", "configs/search/lenet.yaml", "--sampler", "random", "--pruner", "none"]
    with worker_in_this_process(monkeypatch):
        assert main(["search", *model, *space, "--trials", "2", "--study", "tiny"]) == 0
    study = Path("studies/tiny")
    rows = curves_of(study)
    assert [(row[0], row[3]) for row in rows] == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "2")]
    record(Namespace(study=study, curves=tmp_path))
    lines = (tmp_path / "tiny.csv").read_text().splitlines()
    assert lines[0].split(",") == COLUMNS
    first, second = read_curves(tmp_path / "tiny.csv")
    for recorded, number in ((first, 0), (second, 1)):
        metrics = list(csv.DictReader((study / f"trials/{number:04d}/metrics.csv").read_text().splitlines()))
        errors = [1 - float(row["val/acc"]) for row in metrics if row["val/acc"]]
        assert recorded.training.losses == pytest.approx(errors, abs=1e-6)
