"""Networks from design spaces, trained, recorded and compared."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.zoo_cli.conftest import Run
from zoo_cli import design_space as command

# A stem of 8 channels and four stages of one narrow block need about 100,000 multiplications.
FLAGS = (
    *("design-space", "--data", "Digits", "--image_size", "8", "--batch_size", "16"),
    *("--limit_train_batches", "2", "--limit_val_batches", "2"),
    *("--min_multiplications", "1e4", "--max_multiplications", "1e5", "--output", "out"),
)
Row = dict[str, str]


def rows(folder: str = "out") -> dict[tuple[str, str], Row]:
    with (Path(folder) / "samples.csv").open(newline="") as stream:
        return {(row["space"], row["index"]): row for row in csv.DictReader(stream)}


def without_time(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "seconds"}


def test_networks_are_trained_recorded_and_compared(succeed: Run) -> None:
    out = succeed(*FLAGS, "--spaces", "A", "E", "--samples", "2").out
    found = rows()
    assert set(found) == {("A", "0"), ("A", "1"), ("E", "0"), ("E", "1")}
    for (space, _), row in found.items():
        assert 0 <= float(row["error"]) <= 1
        assert float(row["loss"]) > 0
        assert 1e4 <= int(row["multiplications"]) <= 1e5
        if space == "E":
            widths = [int(width) for width in row["widths"].split()]
            assert widths == sorted(widths)
    assert len({row["parameters"] for row in found.values()}) == 4
    for space in "AE":
        errors = sorted(float(found[space, str(i)]["error"]) for i in range(2))
        median = sum(errors) / 2
        assert f"AnyNet{space}  networks 2  least error {errors[0]:.4f}  median {median:.4f}" in out
    assert "dominates" in out
    assert Path("out/edf.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("out/settings.json").read_text())["image_size"] == 8


def test_a_second_start_goes_on_and_changes_nothing(
    succeed: Run, monkeypatch: pytest.MonkeyPatch, one_line_error: Callable[..., str]
) -> None:
    """Stopped after one of four, the rest is as in a run that was not stopped."""
    flags = (*FLAGS, "--spaces", "A", "C", "--samples", "2")
    train = command._train
    trained: list[tuple[str, int]] = []

    def stop_at_second(space: str, index: int, *rest: object) -> Row:
        if len(trained) == 1:
            raise command.CommandError("stopped; the same command goes on with this network", 130)
        trained.append((space, index))
        return train(space, index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "_train", stop_at_second)
    assert "goes on with this network" in one_line_error(130, *flags)
    assert set(rows()) == {("A", "0")}

    def record(space: str, index: int, *rest: object) -> Row:
        trained.append((space, index))
        return train(space, index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "_train", record)
    succeed(*flags)
    assert trained == [("A", 0), ("C", 0), ("A", 1), ("C", 1)]
    stopped = rows()
    succeed(*flags[:-1], "2", "--output", "other")
    whole = rows("other")
    assert {key: without_time(row) for key, row in stopped.items()} == {
        key: without_time(row) for key, row in whole.items()
    }
    trained.clear()
    assert "AnyNetA  networks 2" in succeed(*flags).out
    assert trained == []


def test_other_settings_do_not_mix(succeed: Run, one_line_error: Callable[..., str]) -> None:
    succeed(*FLAGS, "--spaces", "A", "--samples", "1")
    line = one_line_error(2, *FLAGS, "--spaces", "A", "--samples", "1", "--seed", "3")
    assert "--seed is 3, but the samples in out were made with 0; choose another --output" in line


def test_a_network_that_diverges_has_error_1(succeed: Run) -> None:
    """A rate that makes the loss infinite in the second step."""
    succeed(*FLAGS, "--spaces", "A", "--samples", "1", "--lr", "1e30")
    assert rows()["A", "0"]["error"] == "1.000000"
    assert rows()["A", "0"]["loss"] == "nan"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--spaces", "A", "F"), "--spaces is 'F', but must be some of A, B, C, D, E"),
        (("--samples", "0"), "--samples is 0, but must be at least 1"),
        (("--samples", "few"), "argument --samples: invalid int value: 'few'"),
        (("--epochs", "0"), "--epochs is 0, but must be at least 1"),
        (("--limit_train_batches", "0"), "--limit_train_batches is 0, but must be at least 1"),
        (("--lr", "0"), "--lr is 0.0, but must be positive"),
        (
            ("--min_multiplications", "2e6", "--max_multiplications", "1e6"),
            "--min_multiplications is 2e+06, but must be between 0 and --max_multiplications, 1e+06",
        ),
        (("--data", "HousePrices"), "--data is HousePrices, but must be an image set"),
        (("--data", "Digit"), "there is no datamodule datamodules.Digit; did you mean Digits?"),
        (("--depth", "3"), "unrecognized arguments: --depth 3"),
    ],
)
def test_bad_options(one_line_error: Callable[..., str], flags: tuple[str, ...], message: str) -> None:
    assert message in one_line_error(2, *FLAGS, *flags)


def test_bounds_that_no_network_keeps(
    one_line_error: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.cnn.design_space.MAX_TRIES", 20)
    bounds = ("--min_multiplications", "1", "--max_multiplications", "2")
    line = one_line_error(2, *FLAGS, "--spaces", "E", *bounds)
    assert "AnyNetE: of 20 networks that were drawn none needs between 1.0 and 2.0 mult" in line


def test_output_that_cannot_be_written(one_line_error: Callable[..., str]) -> None:
    Path("file").write_text("")
    line = one_line_error(1, *FLAGS, "--output", "file/runs")
    assert "--output file/runs: cannot be written" in line


def test_samples_that_cannot_be_read(one_line_error: Callable[..., str]) -> None:
    Path("out").mkdir()
    Path("out/samples.csv").write_text("space,index\nA,0\n")
    assert "samples.csv: cannot be read" in one_line_error(1, *FLAGS)


def test_help(succeed: Run) -> None:
    out = succeed("design-space", "--help").out
    assert "--max_multiplications" in out
    assert "design-space" in succeed("--help").out
