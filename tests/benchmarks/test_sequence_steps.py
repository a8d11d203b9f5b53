import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import datamodules
from benchmarks import _sequence_memory, _sequence_steps
from benchmarks._sequence_clock import Took
from benchmarks._sequence_memory import Memory, MemoryWatch
from datamodules.interface.tokenizers import CharTokenizer


def test_the_first_time_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    now = [0.0]

    def run() -> None:
        runs.append(1)
        now[0] += (100, 1, 9, 2)[len(runs) - 1]

    monkeypatch.setattr(_sequence_steps, "now", lambda: Took(now[0], now[0] / 2))
    assert _sequence_steps.median_time(run, 3) == Took(2.0, 1.0)
    assert len(runs) == 4


def test_so_many_characters_are_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizers = {"text": CharTokenizer.train(["abcdefghijklmnopqrstuvwxyz "])}
    data = SimpleNamespace(vocab_size=28, tokenizers=tokenizers)
    monkeypatch.setattr(datamodules, "TimeMachine", lambda: data)
    result = _sequence_steps.time_generation("GRULM", 7, 2)
    assert result["count"] == 7
    assert result["wall"] > 0


def test_beams_are_as_long_as_asked_for() -> None:
    sizes = {"beam_size": 2, "steps": 3, "hidden_size": 8, "vocab_size": 11, "sentences": 5, "repeats": 1}
    result = _sequence_steps.time_beam(**sizes)
    assert result["count"] == 5
    assert result["wall"] > 0


def test_vocabulary_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a b a\nc\n")
    assert _sequence_steps.time_vocabulary(path, "word", 1)["count"] == 4  # <unk> too
    assert _sequence_steps.time_vocabulary(path, "char", 1)["count"] == 6  # space and line end


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in Linux's way")


@on_linux
def test_memory_of_its_own_and_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "array"
    np.zeros(60_000_000, np.uint8).tofile(path)
    with MemoryWatch(interval=1e6) as watch:
        mapped = np.memmap(path, np.uint8, mode="r")
        assert mapped.sum() == 0
    assert 55e6 < watch.highest.private < 80e6
    assert watch.highest.anonymous < 20e6
    with MemoryWatch(interval=1e6) as watch:
        taken = np.ones(60_000_000, np.uint8)
    assert len(taken) == len(mapped)
    assert 55e6 < watch.highest.private < 80e6
    assert 55e6 < watch.highest.anonymous < 80e6


@on_linux
def test_it_is_read_again_and_again() -> None:
    with MemoryWatch(interval=0.001) as watch:
        taken = np.ones(60_000_000, np.uint8)
        while watch.highest.private < 55e6:
            assert taken[0] == 1
        del taken


def test_a_peak_that_is_gone_at_the_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([Memory(5, 1), Memory(90, 2), Memory(6, 50)])
    monkeypatch.setattr(_sequence_memory, "memory", lambda: next(readings))
    watch = MemoryWatch(interval=1e6)
    with watch:
        watch._note()
    assert watch.highest == Memory(85, 49)


@on_linux
def test_a_text_is_read_as_training_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path, output = tmp_path / "text.txt", tmp_path / "result.json"
    path.write_text("the cat sat on the mat and looked\n" * 400)
    flags = ["--file", str(path), "--tokens", "word", "--batches", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["", *flags])
    _sequence_memory.main()
    result = json.loads(output.read_text())
    assert result["vocab_size"] >= 8  # seven words and <unk>
    assert result["tokens_read"] > 1000
    assert result["private"] < 100e6
    assert [file.name for file in tmp_path.glob("small*")] == []
