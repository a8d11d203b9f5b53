"""The script `benchmarks/search.py`: its parts, and how it starts."""

import subprocess
import sys

from benchmarks import search
from benchmarks._children import ROOT


def test_the_parts_that_are_asked_for_run(monkeypatch):
    ran = []
    monkeypatch.setattr(search, "PARTS", {"replay": ran.append, "simulate": None})
    monkeypatch.setattr(sys, "argv", ["", "--part", "replay", "--models", "lenet", "--seeds", "3"])
    search.main()
    (given,) = ran
    assert (given.models, given.seeds, given.trials, given.reduction_factor) == (["lenet"], 3, 30, 3)
    assert given.curves == ROOT / "benchmarks" / "curves"


def test_the_script_is_not_taken_for_the_package():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "search.py", "--help"], cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--virtual_workers" in done.stdout
