"""What a hyperparameter search costs and finds.

``python benchmarks/search.py`` prints tables for each part: ``replay`` (search methods on recorded learning
curves, which ``record`` writes), ``simulate`` (schedulers with up to 1,000 virtual workers on synthetic
ones), ``overhead`` (what a search takes beyond training) and ``postgresql`` (many workers on one server).
What is compared and how: ``benchmarks/README.md``.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    # This file's own folder comes first in a script's path, and there `search` is this file, not the package.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import search_overhead, search_postgresql, search_record, search_replay, search_simulate
from benchmarks._children import ROOT

__all__ = ["PARTS", "main"]

PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "record": search_record.record,
    "replay": search_replay.compare,
    "simulate": search_simulate.compare,
    "overhead": search_overhead.compare,
    "postgresql": search_postgresql.compare,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Hyperparameter search: what it costs and finds.")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=["replay", "simulate"])
    parser.add_argument("--seeds", type=int, default=20, help="of parts replay and simulate")
    replay = parser.add_argument_group("part replay")
    models = search_replay.MODELS
    replay.add_argument("--models", nargs="+", choices=models, default=list(models))
    replay.add_argument("--trials", type=int, default=30, help="that random search trains to the end")
    replay.add_argument("--min_resource", type=int, help="first rung, if not the model's own")
    replay.add_argument("--reduction_factor", type=int, default=3)
    replay.add_argument("--curves", type=Path, default=ROOT / "benchmarks" / "curves", help="recorded curves")
    replay.add_argument("--pictures", type=Path, default=Path(), help="folder for the pictures")
    recorded = parser.add_argument_group("part record")
    recorded.add_argument("--study", type=Path, help="folder of a study that trained every trial to the end")
    simulate = parser.add_argument_group("part simulate")
    simulate.add_argument("--virtual_workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    overhead = parser.add_argument_group("part overhead")
    overhead.add_argument("--overhead_trials", type=int, default=12, help="of one worker, the cold one too")
    overhead.add_argument("--overhead_epochs", type=int, default=3)
    overhead.add_argument("--pair_trials", type=int, default=6, help="of each worker")
    overhead.add_argument(
        "--pair_epochs", type=int, default=50, help="a trial should take ten seconds or more"
    )
    overhead.add_argument("--repetitions", type=int, default=3, help="of one worker and of two, in turn")
    postgresql = parser.add_argument_group("part postgresql")
    postgresql.add_argument("--processes", type=int, default=50, help="workers")
    postgresql.add_argument("--process_trials", type=int, default=200, help="trials of each study")
    given = parser.parse_args()
    for part in given.part:
        PARTS[part](given)


if __name__ == "__main__":
    main()
