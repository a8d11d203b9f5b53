"""Recorded learning curves for ``benchmarks/search.py --part replay``, from a study that trained every trial.

``python cli.py search --config CONFIG --space configs/search/lenet.yaml --sampler random --pruner none
--trials 60`` makes such a study; ``python benchmarks/search.py --part record --study studies/NAME`` writes
its curves into ``benchmarks/curves/NAME.csv``.
"""

import argparse
import csv
import json
from pathlib import Path

from callbacks._files import write_atomically
from search.setup import StudyFile, open_study
from search.space import path_of
from search.storage import open_storage

__all__ = ["COLUMNS", "curves_of", "record"]

COLUMNS = ["trial", "lr", "batch_size", "epoch", "error", "loss", "seconds"]


def record(given: argparse.Namespace) -> None:
    """Write the curves of the study in ``given.study`` into the folder ``given.curves``."""
    if given.study is None:
        raise SystemExit("--study is missing, but must be the folder of a study, such as studies/lenet")
    path = given.curves / f"{given.study.name}.csv"
    lines = [",".join(map(str, row)) for row in [COLUMNS, *curves_of(given.study)]]
    write_atomically(path, ("\n".join(lines) + "\n").encode())
    print(f"{path}: {len(lines) - 1} epochs")


def curves_of(folder: Path) -> list[list[str]]:
    """A row for each epoch of each complete trial.

    Args:
        folder: The study's folder, with a journal.
    """
    file = StudyFile.read(folder)
    if file is None:
        raise SystemExit(f"{folder}: is no folder of a study")
    rows = []
    for view in open_study(file, open_storage(None, folder, file.name)).views():
        if view.state != "complete":
            continue
        trial = folder / "trials" / f"{view.number:04d}"
        params = {path_of(name).rpartition(".")[2]: value for name, value in view.params.items()}
        seconds = json.loads((trial / "summary.json").read_text())["wall_time_s"] / len(view.curve)
        for row in csv.DictReader((trial / "metrics.csv").read_text().splitlines()):
            if not row["val/acc"]:
                continue
            error, loss = 1 - float(row["val/acc"]), float(row["val/loss"])
            settings = [repr(params["lr"]), str(params["batch_size"])]
            figures = [str(int(row["epoch"]) + 1), f"{error:.6f}", f"{loss:.6g}", f"{seconds:.2f}"]
            rows.append([str(view.number), *settings, *figures])
    return rows
