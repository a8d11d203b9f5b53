import json
import sys
import zipfile
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

import zoo
from benchmarks import _sequence_clock, sequence
from benchmarks._sequence_clock import TokenClock, Took, count_tokens
from datamodules.interface.batches import SequenceBatch, TranslationBatch

# Tables


def row(table: str, index: int = 0) -> dict[str, str]:
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return dict(zip(head, rows[index], strict=True))


def test_ratios_are_those_of_neighbours() -> None:
    # Ratios 3, 1 and 2; the ratio of the medians would be 200 / 100.
    rates = {("RNNLM", "zoo"): [300.0, 100, 800], ("RNNLM", "d2l"): [100.0, 100, 400]}
    cells = row(sequence.format_comparison("language_models", rates))
    assert cells["zoo, tokens/s"] == "300 (100-800)"
    assert cells["d2l, tokens/s"] == "100 (100-400)"
    assert cells["zoo / d2l, speed"] == "2.00 (>= 2: reached)"
    rates["RNNLM", "zoo"] = [190.0, 190, 760]
    assert row(sequence.format_comparison("language_models", rates))["zoo / d2l, speed"].endswith("MISSED)")


def test_what_was_not_measured_is_said() -> None:
    table = sequence.format_comparison("generation", {("GRULM", "zoo"): [5.0]})
    assert len(table.splitlines()) == 3
    assert row(table)["d2l, characters/s"] == row(table)["zoo / d2l, speed"] == "not measured"


@pytest.mark.parametrize(
    ("part", "target"), [("language_models", 2), ("translation", 1.5), ("generation", 3)]
)
def test_targets(part: str, target: float) -> None:
    assert sequence.COMPARED[part].times_d2l == target
    assert set(sequence.COMPARED[part].models) <= set(zoo.list_models())


def test_the_models_are_those_of_their_configurations() -> None:
    for part in ("language_models", "translation"):
        compared = sequence.COMPARED[part]
        for model, name in zip(compared.models, compared.configs, strict=True):
            config = yaml.safe_load((sequence.ROOT / "configs" / name).read_text())
            assert config["model"]["class_path"] == f"zoo.{model}"
            assert config["trainer"]["gradient_clip_val"] == 1  # as on d2l's side
            assert "init_args" not in config["model"]


# Clocks


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Both clocks, to be set by hand."""
    clocks = SimpleNamespace(wall=0.0, cpu=0.0)
    monkeypatch.setattr(_sequence_clock.time, "perf_counter", lambda: clocks.wall)
    monkeypatch.setattr(_sequence_clock.time, "process_time", lambda: clocks.cpu)
    return clocks


def sequences(windows: int) -> SequenceBatch:
    tokens = torch.zeros(windows, 5, dtype=torch.int64)
    return SequenceBatch(tokens, tokens, torch.zeros(windows, dtype=torch.bool))


def test_padding_and_what_is_given_are_not_counted() -> None:
    assert count_tokens(sequences(3)) == 15
    ids, length = torch.zeros(2, 7, dtype=torch.int64), torch.tensor([7, 4])
    assert count_tokens(TranslationBatch(ids, length, ids, length, ids[:, None])) == 9


def test_the_first_epoch_and_validation_are_not_timed(tmp_path: Path, time: SimpleNamespace) -> None:
    clock, module = TokenClock(), torch.nn.Module()

    def passes(seconds: float) -> None:
        time.wall += seconds
        time.cpu += seconds / 4

    for epoch in range(3):
        trainer: Any = SimpleNamespace(current_epoch=epoch, default_root_dir=str(tmp_path))
        clock.on_train_epoch_start(trainer, module)
        for i in range(2):
            passes(100 if epoch == 0 else 1)
            clock.on_train_batch_end(trainer, module, None, sequences(3), i)
        clock.on_validation_start(trainer, module)
        passes(1000)
        clock.on_validation_end(trainer, module)
        passes(0.5)  # checkpoints
    clock.on_train_end(trainer, module)
    assert json.loads((tmp_path / "token_clock.json").read_text()) == {
        "count": 2 * 2 * 15,
        "wall": 2 * 2 * 1 + 2 * 0.5,
        "cpu": (2 * 2 * 1 + 2 * 0.5) / 4,
    }


def test_both_clocks_are_read(time: SimpleNamespace) -> None:
    time.wall, time.cpu = 3.0, 2.0
    assert _sequence_clock.now() == Took(wall=3.0, cpu=2.0)


# Runs, with children that only write results


@pytest.fixture
def given(tmp_path: Path) -> Namespace:
    data = tmp_path / "data"
    for name in ("timemachine/timemachine.txt", "fra-eng/fra-eng.zip"):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_text(name)
    (data / "wikitext-2").mkdir()
    with zipfile.ZipFile(data / "wikitext-2" / "wikitext-2-valid-test.zip", "w") as archive:
        archive.writestr("wikitext-2/wiki.valid.tokens", "é\n")
        archive.writestr("wikitext-2/wiki.test.tokens", "test\n")
    return Namespace(
        **{"threads": 1, "data": data, "repetitions": 2, "clock": "cpu", "epochs": 7},
        **{"characters": 30, "repeats": 4, "megabytes": 1},
    )


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, given: Namespace) -> list[list[str]]:
    """Commands of the children: the zoo counts 1,200 in 4 s of CPU time, d2l 1,200 in 12 s."""
    commands: list[list[str]] = []

    def run_child(command: list[str], *, threads: int, folder: Path, data_dir: Path) -> None:
        assert threads == 1
        assert data_dir == given.data
        commands.append(command)
        cpu = 4 * (3 if "_sequence_d2l" in command[1] else 1)
        result: dict[str, float] = {"count": 1200, "wall": 1e9, "cpu": cpu}
        if "memory" in " ".join(command):
            result = {"private": 150e6, "anonymous": 7e6, "vocab_size": 99, "wall": 1e9, "cpu": 60}
        path = folder / "fit" / "version_0" / "token_clock.json"
        if "--output" in command:
            path = Path(value(command, "--output"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result))
        if "_sequence_d2l" in command[1]:
            beside = {file.name for file in (folder.parent / "data").iterdir()}
            assert beside == {"timemachine.txt", "fra-eng.zip"}
        if "--file" in command:
            text = Path(value(command, "--file")).read_bytes()
            asked = 1_000_000 if "memory" in " ".join(command) else sequence.VOCABULARY_BYTES
            assert text.startswith("é\né\n".encode())
            assert asked <= len(text) < asked + 3

    monkeypatch.setattr(sequence, "run_child", run_child)
    return commands


def value(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_training_takes_turns(
    children: list[list[str]], given: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setattr(sequence, "D2L_PYTHON", tmp_path)
    sequence.PARTS["translation"](given)
    assert ["_sequence_d2l" in command[1] for command in children] == [False, True, False, True]
    ours, theirs, *_ = children
    assert ours[1:3] == [str(sequence.ROOT / "cli.py"), "fit"]
    assert value(ours, "--config") == "rnn/seq2seq_eng_fra.yaml"
    assert value(ours, "--data.init_args.max_length") == "9"
    assert value(ours, "--trainer.max_epochs") == "8"
    assert theirs[2:4] == ["translation", "Seq2Seq"]
    assert value(theirs, "--epochs") == "7"
    shown = capsys.readouterr().out
    assert "| Seq2Seq | 300 (300-300) | 100 (100-100) | 3.00 (>= 1.5: reached) |" in shown
    assert "1 threads, CPU time" in shown


def test_generation_is_asked_for_alike(
    children: list[list[str]], given: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sequence, "D2L_PYTHON", tmp_path)
    sequence.PARTS["generation"](given)
    assert len(children) == 3 * 2 * 2
    for ours, theirs in zip(children[::2], children[1::2], strict=True):
        assert value(ours, "--model") == theirs[3]
    for command in children:
        assert value(command, "--characters") == "30"
        assert value(command, "--repeats") == "4"


def test_the_book_is_not_measured_without_its_package(
    children: list[list[str]], given: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setattr(sequence, "D2L_PYTHON", tmp_path / "missing")
    sequence.PARTS["translation"](given)
    assert len(children) == 2
    assert "d2l: not measured; `python benchmarks/setup_d2l.py`" in capsys.readouterr().out


def test_beam_and_vocabulary_are_held_against_their_targets(
    children: list[list[str]], given: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sequence, "VOCABULARY_BYTES", 1000)
    sequence.PARTS["beam"](given)
    assert "| 300.0 (300.0-300.0) | 300.0 (>= 10: reached) |" in capsys.readouterr().out
    sequence.PARTS["vocabulary"](given)
    out = capsys.readouterr().out
    for tokens in ("char", "word"):
        assert f"| {tokens} | 1,200 | 4.00 (4.00-4.00) | 4.00 (<= 5: reached) |" in out
    assert [command[2] for command in children] == ["beam"] * 2 + ["vocabulary"] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in Linux's way")
def test_memory_is_held_against_its_target(children: list[list[str]], given: Namespace, capsys: Any) -> None:
    sequence.PARTS["memory"](given)
    assert "| word | 99 | 60 | 150 (<= 200: reached) | 7 |" in capsys.readouterr().out
    assert [value(command, "--tokens") for command in children] == ["char", "word"]
    for command in children:
        # Nothing is left in the user's cache.
        assert command[0] == "env"
        assert command[1].startswith("ZOO_CACHE_DIR=")
        cache = Path(command[1].partition("=")[2])
        assert cache.parent == Path(value(command, "--file")).parent
        assert not cache.parent.exists()


def test_cpu_time_needs_one_thread(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--clock", "cpu", "--threads", "2"])
    with pytest.raises(SystemExit):
        sequence.main()
    assert "--threads is 2, but must be 1 for --clock cpu" in capsys.readouterr().err


def test_the_parts_that_are_asked_for_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, Namespace]] = []
    parts = {name: lambda given, name=name: ran.append((name, given)) for name in sequence.PARTS}
    monkeypatch.setattr(sequence, "PARTS", parts)
    monkeypatch.setattr(sys, "argv", ["", "--part", "memory", "beam", "--data", "somewhere"])
    sequence.main()
    assert [name for name, _ in ran] == ["memory", "beam"]
    assert ran[0][1].data == Path.cwd() / "somewhere"
    assert ran[0][1].clock == "wall"
