"""How fast sequence models are, beside the book's package d2l, and what long texts take.

``python benchmarks/sequence.py`` prints a table for each part: ``language_models`` and ``translation``
(training through the command line), ``generation``, ``beam`` (beam search), ``vocabulary`` and ``memory`` (of
a text file of a gigabyte). What is measured and why: ``benchmarks/README.md``.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._children import ROOT, default_data_dir, run_child
from benchmarks._tables import table
from benchmarks.epoch import spread, verdict
from benchmarks.setup_d2l import D2L_PYTHON

__all__ = ["COMPARED", "PARTS", "format_comparison", "main"]

HERE = ROOT / "benchmarks"
BEAMS_PER_SECOND = 10
VOCABULARY_SECONDS = 5
VOCABULARY_BYTES = 10_000_000
"""About as much as the training split of WikiText-2."""
PRIVATE_MB = 200
TOKENS = ("char", "word")


@dataclass(frozen=True)
class Comparison:
    """A part that both packages can do.

    Attributes:
        configs: Configuration of each model, relative to ``configs/``; empty where nothing is trained.
        models: Names of the models.
        unit: What is counted.
        times_d2l: How many times as many a second as d2l there are to be.
        flags: Of the command line, beside the configuration.
    """

    models: Sequence[str]
    unit: str
    times_d2l: float
    configs: Sequence[str] = ()
    flags: Sequence[str] = ()


COMPARED = {
    "language_models": Comparison(
        models=("RNNLM", "LSTMLM", "GRULM", "DeepGRULM"),
        unit="tokens/s",
        times_d2l=2,
        configs=[f"rnn/{name}_time_machine.yaml" for name in ("rnn", "lstm", "gru", "deep_gru")],
    ),
    "translation": Comparison(
        models=("Seq2Seq",),
        unit="target tokens/s",
        times_d2l=1.5,
        configs=("rnn/seq2seq_eng_fra.yaml",),
        flags=("--data.init_args.max_length", "9"),  # as many as the book's sentences have
    ),
    "generation": Comparison(models=("RNNLM", "LSTMLM", "GRULM"), unit="characters/s", times_d2l=3),
}


# Parts that are compared


def compare(part: str, given: argparse.Namespace) -> None:
    """Measure both packages in turn, and print a row for each model."""
    sides = ("zoo", "d2l") if D2L_PYTHON.exists() else ("zoo",)
    if "d2l" not in sides:
        print("d2l: not measured; `python benchmarks/setup_d2l.py` makes its environment", flush=True)
    rates: dict[tuple[str, str], list[float]] = {}
    for model in COMPARED[part].models:
        for repetition in range(given.repetitions):
            for side in sides:
                result = run(part, side, model, given)
                rate = result["count"] / result[given.clock]
                rates.setdefault((model, side), []).append(rate)
                shown = f"{rate:,.0f} {COMPARED[part].unit}"
                print(f"{part} {model} {repetition + 1}/{given.repetitions}  {side}: {shown}", flush=True)
    print(f"\n{settings(given)}\n\n{format_comparison(part, rates)}\n", flush=True)


def format_comparison(part: str, rates: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """A row for each model; a ratio is the median of the ratios within the repetitions.

    Args:
        part: A key of :data:`COMPARED`.
        rates: What is counted, a second, by model and side (``zoo``, ``d2l``); without d2l, the table says
            that it was not measured.
    """
    compared = COMPARED[part]
    rows = [["model", f"zoo, {compared.unit}", f"d2l, {compared.unit}", "zoo / d2l, speed"]]
    for model in compared.models:
        if (model, "zoo") not in rates:
            continue
        zoo, d2l = rates[model, "zoo"], rates.get((model, "d2l"), [])
        ratio = "not measured"
        if d2l:
            ratios = [z / d for z, d in zip(zoo, d2l, strict=True)]
            ratio = verdict(statistics.median(ratios), at_least=compared.times_d2l)
        rows.append([model, *(spread(side, 0) if side else "not measured" for side in (zoo, d2l)), ratio])
    return table(rows)


def run(part: str, side: str, model: str, given: argparse.Namespace) -> dict[str, float]:
    """One side of one model in a fresh process: a count, and the seconds by both clocks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        folder.mkdir()
        result = folder / "result.json"
        sizes = ["--characters", str(given.characters), "--repeats", str(given.repeats)]
        if side == "d2l":
            place_for_d2l(given.data, folder.parent / "data")
            command = [str(D2L_PYTHON), str(HERE / "_sequence_d2l.py"), part, model]
            command += [*sizes, "--epochs", str(given.epochs), "--output", str(result)]
        elif part == "generation":
            command = [sys.executable, str(HERE / "_sequence_steps.py"), part, "--model", model]
            command += [*sizes, "--output", str(result)]
        else:
            compared = COMPARED[part]
            config = dict(zip(compared.models, compared.configs, strict=True))[model]
            command = [
                *(sys.executable, str(ROOT / "cli.py"), "fit", "--config", config, *compared.flags),
                *("--trainer.max_epochs", str(1 + given.epochs)),
                *("--trainer.default_root_dir", str(folder)),
                "--trainer.callbacks+=benchmarks._sequence_clock.TokenClock",
            ]
        run_child(command, threads=given.threads, folder=folder, data_dir=given.data)
        if not result.exists():
            result = next(folder.rglob("token_clock.json"))
        measured: dict[str, float] = json.loads(result.read_text())
    return measured


def place_for_d2l(data_dir: Path, target: Path) -> None:
    """Copy the texts to where d2l looks for them before it downloads them."""
    target.mkdir()
    for name in ("timemachine/timemachine.txt", "fra-eng/fra-eng.zip"):
        shutil.copy(data_dir / name, target)


# Parts of this project alone


def measure_beam(given: argparse.Namespace) -> None:
    """Sentences a second of batched beam search."""
    results = [run_alone("beam", [], given) for _ in range(given.repetitions)]
    rates = [result["count"] / result[given.clock] for result in results]
    reached = verdict(statistics.median(rates), at_least=BEAMS_PER_SECOND, digits=1)
    rows = [["beam search, k = 4, 20 tokens, 256 units", "sentences/s"], [spread(rates, 1), reached]]
    print(f"\n{settings(given)}\n\n{table(rows)}\n", flush=True)


def measure_vocabulary(given: argparse.Namespace) -> None:
    """Seconds from a text of ten megabytes to its vocabulary."""
    rows = [["tokens", "entries", "s", "target"]]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "text.txt")
        write_repeated(file, real_text(given.data), VOCABULARY_BYTES)
        for tokens in TOKENS:
            flags = ["--file", str(file), "--tokens", tokens]
            results = [run_alone("vocabulary", flags, given) for _ in range(given.repetitions)]
            seconds = [result[given.clock] for result in results]
            reached = verdict(statistics.median(seconds), at_most=VOCABULARY_SECONDS)
            rows.append([tokens, f"{results[0]['count']:,.0f}", spread(seconds, 2), reached])
    print(f"\n{settings(given)}\n\n{table(rows)}\n", flush=True)


def measure_memory(given: argparse.Namespace) -> None:
    """Private memory of a large text file."""
    if sys.platform != "linux":
        print("memory: not measured; it is read in Linux's way", flush=True)
        return
    rows = [["tokens", "entries", "s", "private, MB", "anonymous, MB"]]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "text.txt")
        write_repeated(file, real_text(given.data), given.megabytes * 1_000_000)
        for tokens in TOKENS:
            flags = ["--file", str(file), "--tokens", tokens]
            result = run_alone(
                "memory", flags, given, script="_sequence_memory.py", cache=Path(name, "cache")
            )
            private = verdict(result["private"] / 1e6, at_most=PRIVATE_MB, digits=0)
            entries, seconds = f"{result['vocab_size']:,}", f"{result[given.clock]:,.0f}"
            rows.append([tokens, entries, seconds, private, f"{result['anonymous'] / 1e6:,.0f}"])
            shutil.rmtree(Path(name, "cache"), ignore_errors=True)
    print(f"\n{given.megabytes} MB; {settings(given)}\n\n{table(rows)}\n", flush=True)


def run_alone(
    part: str,
    flags: Sequence[str],
    given: argparse.Namespace,
    *,
    script: str = "_sequence_steps.py",
    cache: Path | None = None,
) -> dict[str, Any]:
    """What a process of this project measured."""
    with tempfile.TemporaryDirectory() as name:
        result = Path(name, "result.json")
        command = [sys.executable, str(HERE / script)]
        command += [*flags] if cache else [part, "--repeats", str(given.repeats), *flags]
        command += ["--output", str(result)]
        if cache is not None:
            command = ["env", f"ZOO_CACHE_DIR={cache}", *command]
        run_child(command, threads=given.threads, folder=Path(name), data_dir=given.data)
        measured: dict[str, Any] = json.loads(result.read_text())
    return measured


def real_text(data_dir: Path) -> str:
    """The validation text of WikiText-2, about a megabyte."""
    with zipfile.ZipFile(data_dir / "wikitext-2" / "wikitext-2-valid-test.zip") as archive:
        (member,) = [name for name in archive.namelist() if name.endswith("wiki.valid.tokens")]
        return archive.read(member).decode()


def write_repeated(path: Path, text: str, size: int) -> None:
    """Write a text again and again, until the file has at least so many bytes."""
    content = text.encode()
    with path.open("wb") as file:
        for _ in range(-(-size // len(content))):
            file.write(content)


# The command


def settings(given: argparse.Namespace) -> str:
    """What the figures were measured with."""
    clock = "wall time" if given.clock == "wall" else "CPU time"
    return f"{given.threads} threads, {clock}; median (range) of {given.repetitions} repetitions"


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "language_models": lambda given: compare("language_models", given),
    "translation": lambda given: compare("translation", given),
    "generation": lambda given: compare("generation", given),
    "beam": measure_beam,
    "vocabulary": measure_vocabulary,
    "memory": measure_memory,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of sequence models, side by side.")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, default=default_data_dir(), help="folder of the datasets")
    parser.add_argument("--repetitions", type=int, default=3, help="processes of each side, in turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that PyTorch computes with")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="`cpu` counts what a process computes, which other programs disturb less; only with one thread",
    )
    parser.add_argument("--epochs", type=int, default=20, help="timed epochs of a run; one more comes before")
    parser.add_argument("--characters", type=int, default=200, help="to generate")
    parser.add_argument("--repeats", type=int, default=5, help="of what is not trained, within a process")
    parser.add_argument("--megabytes", type=int, default=1000, help="of part memory's text")
    given = parser.parse_args()
    if given.clock == "cpu" and given.threads != 1:
        parser.error(f"--threads is {given.threads}, but must be 1 for --clock cpu")
    given.data = given.data.resolve()
    for part in given.part:
        PARTS[part](given)


if __name__ == "__main__":
    main()
