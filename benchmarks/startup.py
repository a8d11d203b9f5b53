"""How fast the command line starts, against the import of Lightning that it cannot do without.

``python benchmarks/startup.py`` runs three programs in turn, several times, each in a fresh process:
``import lightning.pytorch``, ``cli.py --help``, and ``cli.py fit`` up to the end of its first step.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks._children import ROOT, default_data_dir, run_child
from benchmarks.epoch import spread, verdict

__all__ = ["format_startup", "main"]

PROGRAMS = ("import", "help", "fit")
HELP_TIMES_IMPORT = 1.15
SECONDS_TO_FIRST_STEP = 3.0


def measure(program: str, *, config: str, threads: int, data_dir: Path) -> float:
    """Seconds that a program took; for ``fit``, until its first step was done."""
    cli = [sys.executable, str(ROOT / "cli.py")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = {
            "import": [sys.executable, "-c", "import lightning.pytorch"],
            "help": [*cli, "--help"],
            "fit": [
                *(*cli, "fit", "--config", config, "--trainer.default_root_dir", name),
                *("--trainer.max_steps", "1", "--trainer.callbacks+=benchmarks.clock.FirstStepClock"),
            ],
        }[program]
        run = run_child(command, threads=threads, folder=folder, data_dir=data_dir)
        if program != "fit":
            return run.seconds
        stepped_at: float = json.loads(next(folder.rglob("first_step.json")).read_text())
        return stepped_at - run.started_at


def format_startup(seconds: dict[str, list[float]]) -> str:
    """A Markdown table of ``import``, ``help`` and ``fit``; differences are taken within each repetition."""
    imports = seconds["import"]
    times_import = statistics.median(h / i for h, i in zip(seconds["help"], imports, strict=True))
    beyond_import = statistics.median(f - i for f, i in zip(seconds["fit"], imports, strict=True))
    rows = [
        ("program", "seconds", "against the import"),
        ("---", "---", "---"),
        ('`python -c "import lightning.pytorch"`', spread(imports, 2), ""),
        (
            "`python cli.py --help`",
            spread(seconds["help"], 2),
            f"times {verdict(times_import, at_most=HELP_TIMES_IMPORT)}",
        ),
        (
            "`python cli.py fit`, first step done",
            spread(seconds["fit"], 2),
            f"plus {verdict(beyond_import, at_most=SECONDS_TO_FIRST_STEP)} s",
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time until the command line does something.")
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="folder of the datasets")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads that PyTorch computes with"
    )
    parser.add_argument("--config", default="cnn/lenet_fashion_mnist.yaml", help="what `fit` trains")
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {program: [] for program in PROGRAMS}
    for repetition in range(-1, given.repetitions):
        for program in PROGRAMS:
            took = measure(program, config=given.config, threads=given.threads, data_dir=given.data.resolve())
            if repetition >= 0:  # the first round fills the file cache
                seconds[program].append(took)
                print(f"{repetition + 1}/{given.repetitions}  {program}: {took:.2f} s", flush=True)
    print(f"\n{given.threads} threads; median (range) of {given.repetitions} alternating repetitions\n")
    print(format_startup(seconds))


if __name__ == "__main__":
    main()
