"""How fast an epoch of Fashion-MNIST is: this project, a bare PyTorch loop, and the book's package d2l.

``python benchmarks/epoch.py`` runs the three in turn, several times, each in a fresh process with the same
number of threads, and prints one table. What is timed and why: ``benchmarks/README.md``.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._children import ROOT, default_data_dir, run_child
from benchmarks.fashion_mnist import FILES, read_unpacked
from benchmarks.setup_d2l import D2L_PYTHON

__all__ = ["MODELS", "Measurement", "format_table", "main", "spread"]

HERE = ROOT / "benchmarks"
BATCH_SIZE = 128


@dataclass(frozen=True)
class Model:
    """A model to measure, and what it is to reach.

    Attributes:
        config: Its configuration, relative to ``configs/``.
        times_d2l: Images per second, at least this many times those of d2l.
        times_bare: Time per image, at most this many times that of the bare loop; None for no target.
    """

    config: str
    times_d2l: float
    times_bare: float | None = None


MODELS = {
    "softmax": Model("linear/softmax_regression_fashion_mnist.yaml", times_d2l=8),
    "mlp": Model("mlp/mlp_fashion_mnist.yaml", times_d2l=6),
    "lenet": Model("cnn/lenet_fashion_mnist.yaml", times_d2l=2, times_bare=1.15),
}
TIMES_BARE_MEMORY = 1.3
SIDES = ("zoo", "bare", "d2l")


@dataclass(frozen=True)
class Measurement:
    """One repetition of one side.

    Attributes:
        images_per_s: Training images per second over all epochs but the first.
        peak_bytes: Largest resident memory of the whole process.
    """

    images_per_s: float
    peak_bytes: int


def measure(side: str, model: str, *, epochs: int, threads: int, data_dir: Path) -> Measurement:
    """Run one side in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        folder.mkdir()
        result = folder / "result.json"
        if side == "zoo":
            command = [
                *(sys.executable, str(ROOT / "cli.py"), "fit", "--config", MODELS[model].config),
                *("--data", "FashionMNIST", "--data.batch_size", str(BATCH_SIZE)),
                *("--trainer.max_epochs", str(1 + epochs), "--trainer.default_root_dir", str(folder)),
                "--trainer.callbacks+=benchmarks.clock.EpochClock",
            ]
        elif side == "bare":
            command = [sys.executable, str(HERE / "bare_loop.py"), model, "--data", str(data_dir)]
        else:
            command = [str(D2L_PYTHON), str(HERE / "d2l_loop.py"), model]
            unpack_for_d2l(data_dir, folder.parent / "data")
        if side != "zoo":
            command += ["--epochs", str(epochs), "--output", str(result)]
        run = run_child(command, threads=threads, folder=folder, data_dir=data_dir)
        if side == "zoo":
            result = next(folder.rglob("epoch_clock.json"))
        counted = json.loads(result.read_text())
    return Measurement(counted["images"] / counted["seconds"], run.peak_bytes)


def unpack_for_d2l(data_dir: Path, target: Path) -> None:
    """Write the files where torchvision, and with it d2l, looks for them."""
    raw = target / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).write_bytes(read_unpacked(data_dir, name))


def spread(values: Sequence[float], digits: int) -> str:
    """Median, and the range in brackets."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def verdict(
    ratio: float, *, at_least: float | None = None, at_most: float | None = None, digits: int = 2
) -> str:
    """The ratio, with so many decimals, beside its target."""
    if at_least is not None:
        return f"{ratio:.{digits}f} (>= {at_least:g}: {'reached' if ratio >= at_least else 'MISSED'})"
    if at_most is not None:
        return f"{ratio:.{digits}f} (<= {at_most:g}: {'reached' if ratio <= at_most else 'MISSED'})"
    return f"{ratio:.{digits}f}"


def format_table(measured: dict[tuple[str, str], list[Measurement]]) -> str:
    """One Markdown table: a row for each model.

    A ratio is the median of the ratios within each repetition: what slows the machine down for a while slows
    down neighbours alike.

    Args:
        measured: Repetitions by model and side (``zoo``, ``bare``, ``d2l``); without ``d2l``, the table says
            that it was not measured.
    """
    header = [
        *("model", "zoo, images/s", "bare loop, images/s", "d2l, images/s"),
        *("zoo / d2l, speed", "zoo / bare, time", "zoo, peak MB", "bare, peak MB", "zoo / bare, memory"),
    ]
    rows = [header, ["---"] * len(header)]
    for name, model in MODELS.items():
        if (name, "zoo") not in measured:
            continue
        zoo, bare, d2l = measured[name, "zoo"], measured[name, "bare"], measured.get((name, "d2l"), [])
        over_d2l = [z.images_per_s / d.images_per_s for z, d in zip(zoo, d2l, strict=bool(d2l))]
        over_bare = [b.images_per_s / z.images_per_s for z, b in zip(zoo, bare, strict=True)]
        memory = [z.peak_bytes / b.peak_bytes for z, b in zip(zoo, bare, strict=True)]
        rows.append(
            [
                name,
                *(
                    spread([m.images_per_s for m in side], 0) if side else "not measured"
                    for side in (zoo, bare, d2l)
                ),
                verdict(statistics.median(over_d2l), at_least=model.times_d2l) if d2l else "not measured",
                verdict(statistics.median(over_bare), at_most=model.times_bare),
                *(f"{statistics.median(m.peak_bytes for m in side) / 1e6:,.0f}" for side in (zoo, bare)),
                verdict(statistics.median(memory), at_most=TIMES_BARE_MEMORY),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of an epoch, side by side.")
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="folder of the datasets")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of a run; one more comes before")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads that PyTorch computes with"
    )
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), help="models to measure")
    given = parser.parse_args()
    sides = SIDES if D2L_PYTHON.exists() else SIDES[:2]
    if "d2l" not in sides:
        print("d2l: not measured; `python benchmarks/setup_d2l.py` makes its environment", flush=True)
    measured: dict[tuple[str, str], list[Measurement]] = {}
    for name in given.only:
        for repetition in range(given.repetitions):
            for side in sides:
                result = measure(
                    side, name, epochs=given.epochs, threads=given.threads, data_dir=given.data.resolve()
                )
                measured.setdefault((name, side), []).append(result)
                speed, peak = f"{result.images_per_s:,.0f} images/s", f"{result.peak_bytes / 1e6:,.0f} MB"
                print(f"{name} {repetition + 1}/{given.repetitions}  {side}: {speed}, {peak}", flush=True)
    print(
        f"\nFashion-MNIST, batch {BATCH_SIZE}, {given.threads} threads, {given.epochs} epochs after the "
        f"first; median (range) of {given.repetitions} alternating repetitions\n"
    )
    print(format_table(measured))


if __name__ == "__main__":
    main()
