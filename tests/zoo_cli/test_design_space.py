"""Networks from design spaces, trained, recorded and compared."""

import csv
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import zoo
from datamodules.interface.batches import ImageBatch
from datamodules.loaders import BatchSampler, TensorLoader
from tests.zoo_cli.conftest import Run
from zoo.cnn.design_space import error_edf
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
    first, second = (sorted(float(found[space, str(i)]["error"]) for i in range(2)) for space in "AE")
    assert command._summary({"A": first, "E": second})[-1] in out.splitlines()
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


def test_two_commands_do_not_work_in_one_folder(
    succeed: Run, monkeypatch: pytest.MonkeyPatch, one_line_error: Callable[..., str]
) -> None:
    """The second, started while the first trains, leaves everything as it is; afterwards it may go on."""
    second = (*FLAGS, "--spaces", "B", "--samples", "1")
    train = command._train

    def meanwhile(space: str, index: int, *rest: object) -> Row:
        if space == "A":
            line = one_line_error(1, *second)
            assert "--output out: another process is at work there; wait or choose another --output" in line
            succeed(*second[:-4], "--spaces", "C", "--samples", "1", "--output", "other")
        return train(space, index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "_train", meanwhile)
    succeed(*FLAGS, "--spaces", "A", "--samples", "1")
    assert set(rows()) == {("A", "0")}
    assert set(rows("other")) == {("C", "0")}
    succeed(*second)
    assert set(rows()) == {("A", "0"), ("B", "0")}


def test_a_last_batch_of_one_image_is_left_out(succeed: Run) -> None:
    """Digits has 1297 training images: two batches of 648, which are all but one."""
    flags = (*FLAGS[:5], "--batch_size", "648", *FLAGS[9:], "--spaces", "A", "--samples", "1")
    succeed(*flags)
    succeed(*flags, "--limit_train_batches", "2", "--output", "limited")
    succeed(*flags, "--limit_train_batches", "1", "--output", "less")
    assert without_time(rows()["A", "0"]) == without_time(rows("limited")["A", "0"])
    assert rows()["A", "0"]["loss"] != rows("less")["A", "0"]["loss"]


@pytest.mark.parametrize(
    ("images", "size", "limit", "expected"),
    [
        (32, 16, None, 2),
        (33, 16, None, 2),
        (34, 16, None, 3),
        (47, 16, None, 3),
        (33, 16, 3, 2),
        (33, 16, 1, 1),
        (34, 16, 3, 3),
        (34, 16, 9, 3),
        (16, 16, None, 1),
        (1, 16, None, 1),  # not none: that would be no training, without a word
    ],
)
def test_number_of_batches(images: int, size: int, limit: int | None, expected: int) -> None:
    data = ImageBatch(torch.zeros(images, 1, 2, 2), torch.zeros(images, dtype=torch.int64))
    loader = TensorLoader(data, BatchSampler(images, size, shuffle=True))
    datamodule = SimpleNamespace(train_dataloader=lambda: loader)
    options = Namespace(batch_size=size, limit_train_batches=limit)
    assert command._batches(datamodule, options) == expected


def test_the_rate_falls_to_zero_with_the_last_step(succeed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    schedules = []
    make = zoo.WarmupCosine

    def record(optimizer: torch.optim.Optimizer, *, total_steps: int) -> zoo.WarmupCosine:
        schedules.append(make(optimizer, total_steps=total_steps))
        return schedules[-1]

    monkeypatch.setattr(zoo, "WarmupCosine", record)
    flags = (*FLAGS[:5], "--batch_size", "648", *FLAGS[9:], "--spaces", "A", "--samples", "1")
    succeed(*flags, "--epochs", "2")
    last = schedules[-1]  # the first is the model's trial of its arguments
    assert last.total_steps == last.last_epoch == 4
    assert max(last.get_last_lr()) == 0


def test_other_settings_do_not_mix(succeed: Run, one_line_error: Callable[..., str]) -> None:
    succeed(*FLAGS, "--spaces", "A", "--samples", "1")
    line = one_line_error(2, *FLAGS, "--spaces", "A", "--samples", "1", "--seed", "3")
    assert "--seed is 3, but the samples in out were made with 0; choose another --output" in line


def test_settings_without_samples_bind_nobody(succeed: Run, one_line_error: Callable[..., str]) -> None:
    """A mistake in the first command must not be an obstacle to the second."""
    one_line_error(2, *FLAGS, "--data", "Digit")
    succeed(*FLAGS, "--spaces", "A", "--samples", "1")
    assert json.loads(Path("out/settings.json").read_text())["data"] == "Digits"


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
        (("--data", "ImageFolder"), "--data is ImageFolder, which needs root, but must be an image set that"),
        (("--depth", "3"), "unrecognized arguments: --depth 3"),
        (("--sample", "1"), "unrecognized arguments: --sample 1"),
    ],
)
def test_bad_options(one_line_error: Callable[..., str], flags: tuple[str, ...], message: str) -> None:
    assert message in one_line_error(2, *FLAGS, *flags)


def test_bounds_that_no_network_keeps(
    one_line_error: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.cnn.design_space.MAX_TRIES", 20)
    bounds = ("--min_multiplications", "1000001", "--max_multiplications", "1000002")
    line = one_line_error(2, *FLAGS, "--spaces", "E", *bounds)
    assert (
        "AnyNetE: of 20 networks that were drawn none needs between 1,000,001.0 and 1,000,002.0 mult" in line
    )
    bounds = ("--min_multiplications", "1", "--max_multiplications", "2")
    line = one_line_error(2, *FLAGS, "--spaces", "E", *bounds)
    assert (
        "AnyNetE: no network needs between 1.0 and 2.0 multiplications; for these images it takes from"
        in line
    )


def test_output_that_cannot_be_written(one_line_error: Callable[..., str]) -> None:
    Path("file").write_text("")
    line = one_line_error(1, *FLAGS, "--output", "file/runs")
    assert "--output file/runs: cannot be written" in line


HEAD = "space,index,error,loss,parameters,multiplications,seconds,stem_channels,depths,widths,"
HEAD += "bottleneck_ratios,group_widths"
GOOD = "A,0,0.5,1.0,1,1,1.0,8,1 1 1 1,8 8 8 8,1 1 1 1,1 1 1 1"


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ("space,index\nA,0\n", "its columns must be space, index, error,"),
        (f"{HEAD},more\n{GOOD},1\n", "its columns must be space, index, error,"),
        (f"{HEAD}\n{GOOD},1\n", "a row has 13 cells, but must have 12"),
        (f"{HEAD}\n{GOOD}\nA,1,0.5\n", "a row has 3 cells, but must have 12"),
        (f"{HEAD}\n{GOOD}\n".replace("0.5", "1.5"), "index 0 has error 1.5"),
        (f"{HEAD}\n{GOOD}\n".replace("0.5", "nan"), "index 0 has error nan"),
        (f"{HEAD}\n{GOOD}\n".replace("A,0", "A,x"), "invalid literal for int() with base 10: 'x'"),
        ("", "not enough values"),
    ],
)
def test_samples_that_cannot_be_read(
    one_line_error: Callable[..., str], monkeypatch: pytest.MonkeyPatch, samples: str, message: str
) -> None:
    """They are told apart before anything is read or trained, and stay."""
    monkeypatch.delattr(command, "_data")
    Path("out").mkdir()
    Path("out/settings.json").write_text("{}")
    Path("out/samples.csv").write_text(samples)
    line = one_line_error(1, *FLAGS)
    assert f"samples.csv: cannot be read ({message}" in line
    assert "choose another --output" in line
    assert Path("out/samples.csv").read_text() == samples


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "No such file or directory"),
        ("[]", "it holds no settings"),
        ('"seed"', "it holds no settings"),
        ("{", "Expecting property name"),
    ],
)
def test_settings_that_cannot_be_read(
    one_line_error: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    settings: str | None,
    message: str,
) -> None:
    """Samples of which nothing says how they were made are not mixed with others."""
    monkeypatch.delattr(command, "_data")
    Path("out").mkdir()
    Path("out/samples.csv").write_text(f"{HEAD}\n{GOOD}\n")
    if settings is not None:
        Path("out/settings.json").write_text(settings)
    line = one_line_error(1, *FLAGS)
    assert "settings.json: cannot be read (" in line
    assert message in line
    assert "choose another --output" in line


NEITHER = "neither of AnyNetA and AnyNetE dominates the other"
FEW = "AnyNetA and AnyNetE are not compared, for which each needs 10 networks"


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ([0.1, 0.2] * 5, [0.2, 0.3] * 6, "AnyNetA dominates AnyNetE (10 networks of AnyNetA, 12 of AnyNetE)"),
        ([0.2, 0.3] * 6, [0.1, 0.3] * 5, "AnyNetE dominates AnyNetA (12 networks of AnyNetA, 10 of AnyNetE)"),
        ([0.1, 0.4] * 5, [0.2, 0.3] * 5, f"{NEITHER} (10 networks of AnyNetA, 10 of AnyNetE)"),
        ([0.1, 0.2] * 5, [0.2, 0.1] * 5, f"{NEITHER} (10 networks of AnyNetA, 10 of AnyNetE)"),
        ([0.1] * 9, [0.2] * 10, f"{FEW} (9 networks of AnyNetA, 10 of AnyNetE)"),
        ([0.1] * 10, [0.2], f"{FEW} (10 networks of AnyNetA, 1 of AnyNetE)"),
    ],
)
def test_which_space_dominates(first: list[float], second: list[float], line: str) -> None:
    assert command._summary({"A": first, "E": second})[2:] == [line]


def test_summary_and_picture_are_of_all_networks_in_the_folder(
    succeed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only of the spaces and of as many networks as the last command names."""
    drawn = []
    draw = command._draw

    def record(errors: dict[str, list[float]]) -> object:
        drawn.append(errors)
        return draw(errors)

    monkeypatch.setattr(command, "_draw", record)
    succeed(*FLAGS, "--spaces", "E", "--samples", "2")
    out = succeed(*FLAGS, "--spaces", "A", "--samples", "1").out
    found = {key: float(row["error"]) for key, row in rows().items()}
    expected = {"A": [found["A", "0"]], "E": [found["E", "0"], found["E", "1"]]}
    assert drawn[-1] == expected
    assert [*drawn[-1]] == ["A", "E"]
    assert out.splitlines()[-4:-1] == command._summary(expected)
    assert "(1 networks of AnyNetA, 2 of AnyNetE)" in out
    again = succeed(*FLAGS, "--spaces", "E", "--samples", "1").out
    assert again.splitlines()[:-1] == command._summary(expected)
    assert drawn[-1] == expected


def test_the_curves_are_the_distribution_functions() -> None:
    errors = {"A": [0.5, 0.2, 0.5, 0.9], "E": [0.3, 0.1, 0.2]}
    axes = command._draw(errors).axes[0]
    points = torch.tensor(
        [error + shift for values in errors.values() for error in values for shift in (-0.01, 0, 0.01)],
        dtype=torch.float64,
    )
    for line, (space, values) in zip(axes.lines, errors.items(), strict=True):
        assert line.get_drawstyle() == "steps-post"  # at an error, the height that begins there
        edges, heights = torch.from_numpy(line.get_xydata().T.copy())
        assert edges[0] < points.min()
        assert edges[-1] > points.max()
        drawn = heights[torch.searchsorted(edges, points, right=True) - 1]
        torch.testing.assert_close(drawn, error_edf(torch.tensor(values, dtype=torch.float64), points))
        assert str(line.get_label()).startswith(f"AnyNet{space}: {len(values)} networks, median ")
    low, high = axes.get_xlim()
    assert low < points.min()
    assert high > points.max()


def test_help(succeed: Run) -> None:
    out = succeed("design-space", "--help").out
    assert "--max_multiplications" in out
    assert "design-space" in succeed("--help").out
