"""How fast the convolutional networks train, beside torchvision's and beside the book's package d2l.

``python benchmarks/cnn.py`` prints a table for each part: ``steps`` (every network that torchvision has too,
in a bare loop), ``d2l`` (ResNet-18 at 96 pixels, through the command line, against d2l's Trainer) and
``accelerator`` (the same network compiled in bfloat16, where there is one). What is timed and why:
``benchmarks/README.md``.
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
from typing import Any

import torch

from benchmarks._children import ROOT, default_data_dir, run_child
from benchmarks._tables import table
from benchmarks.cnn_steps import SIDES, make_model, networks
from benchmarks.epoch import spread, unpack_for_d2l, verdict
from benchmarks.setup_d2l import D2L_PYTHON

__all__ = ["Steps", "format_accelerator", "format_d2l", "format_steps", "main"]

HERE = ROOT / "benchmarks"
TIMES_TORCHVISION = 1.03
TIMES_TORCHVISION_MEMORY = 1.05
TIMES_D2L = 1.8
LOST = 0.05
RESNET18 = ("--config", "cnn/resnet18_fashion_mnist.yaml")
IMAGE_SIZE = 96
"""Of the book's ResNet-18."""
WARMUP = 3
"""Steps of the command line that are not timed, as in ``clock.StepClock``."""
WARMUP_COMPILED = 20


@dataclass(frozen=True)
class Steps:
    """Training steps of one network on both sides.

    Attributes:
        zoo: Seconds of each step.
        torchvision: The same, of the step beside it.
        zoo_bytes: By how much the largest resident memory of a process grew that ran only the zoo's side.
        torchvision_bytes: The same of torchvision's side.
    """

    zoo: Sequence[float]
    torchvision: Sequence[float]
    zoo_bytes: int
    torchvision_bytes: int


def format_steps(measured: dict[str, Steps]) -> str:
    """A row for each network. The ratio of times is the median of those of neighbouring steps."""
    rows = [["network", "zoo, ms", "torchvision, ms", "time", "zoo, MB", "torchvision, MB", "memory"]]
    for name, steps in measured.items():
        ratio = statistics.median(z / t for z, t in zip(steps.zoo, steps.torchvision, strict=True))
        rows.append(
            [
                name,
                *(spread([1e3 * s for s in side], 0) for side in (steps.zoo, steps.torchvision)),
                verdict(ratio, at_most=TIMES_TORCHVISION, digits=3),
                *(f"{count / 1e6:,.0f}" for count in (steps.zoo_bytes, steps.torchvision_bytes)),
                verdict(
                    steps.zoo_bytes / steps.torchvision_bytes, at_most=TIMES_TORCHVISION_MEMORY, digits=3
                ),
            ]
        )
    return table(rows)


def format_d2l(zoo: Sequence[float], d2l: Sequence[float]) -> str:
    """Images per second of both sides, by repetition; d2l's may be empty, and is then not measured."""
    ratio = "not measured"
    if d2l:
        ratio = verdict(statistics.median(z / d for z, d in zip(zoo, d2l, strict=True)), at_least=TIMES_D2L)
    sides = [spread(side, 0) if side else "not measured" for side in (zoo, d2l)]
    return table([["zoo, bf16-mixed, images/s", "d2l, images/s", "zoo / d2l, speed"], [*sides, ratio]])


def format_accelerator(device: str, zoo: Sequence[float], bare: Sequence[float]) -> str:
    """Images per second through the command line and in a bare loop, by repetition.

    The share of time lost outside the step is what the run takes longer than the bare loop, as a share of the
    run.
    """
    lost = statistics.median(1 - z / b for z, b in zip(zoo, bare, strict=True))
    header = ["device", "zoo, images/s", "bare loop, images/s", "lost outside the step"]
    return table([header, [device, spread(zoo, 0), spread(bare, 0), verdict(lost, at_most=LOST, digits=3)]])


def measure_steps(name: str, given: argparse.Namespace) -> Steps:
    """Both sides in turn in one process for the times, each in its own for the memory."""
    flags = ["--batch_size", str(given.batch_size), "--image_size", str(given.image_size)]
    both = run_steps(name, [*flags, "--steps", str(given.steps)], given)["seconds"]
    grown = {
        side: run_steps(name, [*flags, "--steps", "2", "--sides", side], given)["grown_bytes"]
        for side in SIDES
    }
    return Steps(both["zoo"], both["torchvision"], grown["zoo"], grown["torchvision"])


def run_steps(name: str, flags: list[str], given: argparse.Namespace) -> Any:
    """Run ``cnn_steps.py`` and read what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, str(HERE / "cnn_steps.py"), name, *flags, "--output", str(result)]
        run_child(command, threads=given.threads, folder=Path(folder), data_dir=given.data)
        return json.loads(result.read_text())


def measure_run(side: str, given: argparse.Namespace, *, on_accelerator: bool = False) -> float:
    """Images per second of ResNet-18 through the command line, or through d2l's Trainer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        folder.mkdir()
        result = folder / "step_clock.json"
        if side == "zoo":
            warmup = WARMUP_COMPILED if on_accelerator else WARMUP
            steps = warmup + (given.accelerator_steps if on_accelerator else given.run_steps)
            overlay = "trainer/gpu_bf16.yaml" if on_accelerator else "trainer/cpu_bf16.yaml"
            command = [
                *(sys.executable, str(ROOT / "cli.py"), "fit", *RESNET18, "--config", overlay),
                *("--data.batch_size", str(given.run_batch_size), "--channels_last", "true"),
                *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", str(steps)),
                *("--trainer.limit_val_batches", "1", "--trainer.default_root_dir", str(folder)),
                "--trainer.callbacks+=benchmarks.clock.StepClock",
                f"--trainer.callbacks.warmup={warmup}",
            ]
            if on_accelerator:
                command += ["--trainer.devices", "1", "--compile", "true"]
        else:
            command = [
                *(str(D2L_PYTHON), str(HERE / "d2l_loop.py"), "resnet18", "--steps", str(given.run_steps)),
                *("--batch_size", str(given.run_batch_size), "--image_size", str(IMAGE_SIZE)),
                *("--output", str(result)),
            ]
            unpack_for_d2l(given.data, folder.parent / "data")
        run_child(command, threads=given.threads, folder=folder, data_dir=given.data)
        counted = json.loads(next(folder.rglob("step_clock.json")).read_text())
    return float(counted["images"] / counted["seconds"])


def compare_steps(given: argparse.Namespace) -> None:
    """Measure the networks against torchvision's, and print the table."""
    measured = {}
    for name in given.only:
        with torch.device("meta"):
            parameters = sum(p.numel() for p in make_model(name, given.image_size).parameters())
        if parameters > given.max_parameters:
            print(f"{name}: left out, {parameters:,} parameters; see --max_parameters", flush=True)
            continue
        steps = measured[name] = measure_steps(name, given)
        print(f"{name}: {spread([1e3 * s for s in steps.zoo], 0)} ms", flush=True)
    if measured:
        print(
            f"\nTraining step, batch {given.batch_size}, {given.image_size} pixels, float32, {given.threads} "
            f"threads; median (range) of {given.steps} alternating steps\n\n{format_steps(measured)}\n"
        )


def compare_d2l(given: argparse.Namespace) -> None:
    """Measure ResNet-18 through the command line against d2l's Trainer, and print the table."""
    sides = ("zoo", "d2l") if D2L_PYTHON.exists() else ("zoo",)
    if "d2l" not in sides:
        print("d2l: not measured; `python benchmarks/setup_d2l.py` makes its environment", flush=True)
    speeds: dict[str, list[float]] = {"zoo": [], "d2l": []}
    for repetition in range(given.repetitions):
        for side in sides:
            speeds[side].append(measure_run(side, given))
            print(f"resnet18 {repetition + 1}/{given.repetitions}  {side}: {speeds[side][-1]:,.1f} images/s")
    print(
        f"\nThe book's ResNet-18, {IMAGE_SIZE} pixels, batch {given.run_batch_size}, {given.threads} "
        f"threads, {given.run_steps} steps after the first {WARMUP}; median (range) of {given.repetitions} "
        f"alternating repetitions\n\n{format_d2l(speeds['zoo'], speeds['d2l'])}\n"
    )


def measure_accelerator(given: argparse.Namespace) -> None:
    """Measure ResNet-18 on the accelerator, and print the table."""
    if not torch.cuda.is_available():
        print("accelerator: not measured; there is none")
        return
    speeds: dict[str, list[float]] = {"zoo": [], "bare": []}
    flags = ["--batch_size", str(given.run_batch_size), "--image_size", str(IMAGE_SIZE)]
    flags += ["--warmup", str(WARMUP_COMPILED), "--steps", str(given.accelerator_steps)]
    for _ in range(given.repetitions):
        speeds["zoo"].append(measure_run("zoo", given, on_accelerator=True))
        speeds["bare"].append(given.run_batch_size / run_steps("accelerator", flags, given)["seconds"])
    print(
        f"\nThe book's ResNet-18, {IMAGE_SIZE} pixels, batch {given.run_batch_size}, bfloat16, compiled, "
        f"channels last, {given.accelerator_steps} steps; median (range) of {given.repetitions} alternating "
        f"repetitions\n\n"
        f"{format_accelerator(torch.cuda.get_device_name(), speeds['zoo'], speeds['bare'])}\n"
    )


PARTS = {"steps": compare_steps, "d2l": compare_d2l, "accelerator": measure_accelerator}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of the convolutional networks, side by side.")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="folder of the datasets")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads PyTorch computes with")
    parser.add_argument("--repetitions", type=int, default=3, help="of parts d2l and accelerator")
    steps = parser.add_argument_group("part steps")
    known = networks()
    steps.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME")
    steps.add_argument("--max_parameters", type=float, default=50e6, help="larger networks are left out")
    steps.add_argument("--batch_size", type=int, default=8)
    steps.add_argument("--image_size", type=int, default=96)
    steps.add_argument("--steps", type=int, default=10, help="timed steps of each side")
    runs = parser.add_argument_group("parts d2l and accelerator")
    runs.add_argument("--run_batch_size", type=int, default=128)
    runs.add_argument("--run_steps", type=int, default=10, help="timed steps on the processor")
    runs.add_argument("--accelerator_steps", type=int, default=300)
    given = parser.parse_args()
    given.data = given.data.resolve()
    for part in given.part:
        PARTS[part](given)


if __name__ == "__main__":
    main()
