import csv
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import SearchError
from search.leaderboard import (
    best_entry,
    format_leaderboard,
    fronts,
    ranking,
    write_leaderboard,
)
from search.names import format_objective, readable_parameters, short_names
from search.objectives import Objective, parse_objective, parse_objectives
from search.trials import TrialView
from tests.search.views import ACC, ERROR, TWO, trial

ROOT = Path(__file__).resolve().parent.parent.parent
SGD, ADAM = "torch.optim.SGD", "torch.optim.Adam"
LR = "model.init_args.optimizer.init_args.lr"


def order(views: list[TrialView], objectives: tuple[Objective, ...]) -> list[tuple[int | None, int]]:
    return [(entry.rank, entry.view.number) for entry in ranking(views, objectives)]


# Objectives


def test_objectives_are_parsed_from_text() -> None:
    assert parse_objective("val/acc:max") == Objective("val/acc", "maximize")
    assert parse_objectives(["val/loss:minimize", " parameters : min "]) == (
        Objective("val/loss", "minimize"),
        Objective("parameters", "minimize"),
    )
    assert str(parse_objective("a:b:max")) == "a:b:max"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["val/acc"], "objective 'val/acc' has no direction: write val/acc:max or val/acc:min"),
        (["val/acc:up"], "objective 'val/acc:up' ends in 'up', but must end in min or max: val/acc:max"),
        ([":max"], "objective ':max' has no name: write one such as val/acc:max"),
        (["a:max", "b:min", "a:min"], "objective 'a' is given 2 times, not once"),
        ([], "a study needs an objective, such as val/acc:max"),
    ],
)
def test_a_wrong_objective_is_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(SearchError, match=f"^{re.escape(message)}$"):
        parse_objectives(texts)


def test_a_loss_is_low_where_the_objective_is_good() -> None:
    high, low = Objective("a", "maximize"), Objective("a", "minimize")
    assert high.loss(0.9) < high.loss(0.8) < high.loss(-math.inf) == high.loss(math.nan)
    assert low.loss(0.8) < low.loss(0.9) < low.loss(math.inf) == low.loss(math.nan)


# Ranking


def test_complete_trials_come_by_value_then_pruned_ones_by_how_far_then_failed_ones() -> None:
    views = [
        trial(0, "failed", curve={1: 0.99, 9: 0.99}),
        trial(1, "pruned", curve={1: 0.8}),
        trial(2, "pruned", curve={1: 0.9, 3: 0.2}),
        trial(3, "pruned", curve={1: 0.1, 3: 0.7}),
        trial(4, "running"),
        trial(5, "paused", curve={2: 0.5}),
        trial(6, "complete", 0.5),
        trial(7, "complete", 0.6),
        trial(8, "complete", math.nan),
    ]
    best, worst = [(1, 7), (2, 6)], [(1, 6), (2, 7)]
    rest = [(None, n) for n in (5, 1, 4, 0)]
    assert order(views, ACC) == [*best, (None, 8), (None, 3), (None, 2), *rest]
    # As errors, the lower is better.
    assert order(views[::-1], ERROR) == [*worst, (None, 8), (None, 2), (None, 3), *rest]


def test_equal_values_share_a_rank_and_stay_in_order() -> None:
    views = [trial(n, "complete", value) for n, value in enumerate([0.5, 0.7, 0.5, 0.4])]
    assert order(views, ACC) == [(1, 1), (2, 0), (2, 2), (4, 3)]


def test_of_several_objectives_the_pareto_front_comes_first() -> None:
    points = [(0.9, 900.0), (0.8, 100.0), (0.85, 950.0), (0.8, 50.0), (math.nan, 1.0), (0.7, 120.0)]
    views = [trial(n, "complete", *values) for n, values in enumerate(points)]
    views += [trial(6, "running", curve={1: 0.99})]
    # 0 and 3 are beaten by none; 2 by 0, 1 by 3; 5 by 3 and 1.
    assert order(views, TWO) == [(1, 0), (1, 3), (2, 2), (2, 1), (3, 5), (None, 4), (None, 6)]
    assert ranking(views, TWO)[-1].values == (0.99, None)


def test_fronts_are_those_of_the_definition() -> None:
    points = [(float(7 * n % 11), float(5 * n % 13)) for n in range(40)]

    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    expected: dict[int, int] = {}
    while rest := [n for n in range(40) if n not in expected]:
        front = [n for n in rest if not any(dominates(points[m], points[n]) for m in rest)]
        expected |= dict.fromkeys(front, 1 + max(expected.values(), default=0))
    assert fronts(points) == [expected[n] for n in range(40)]
    assert max(expected.values()) > 3
    assert fronts([]) == []


def test_the_best_is_complete_or_else_went_furthest() -> None:
    views = [trial(0, "failed", curve={9: 0.9}), trial(1, "running"), trial(2, "running", curve={1: 0.3})]
    assert best_entry(ranking(views[:2], ACC)) is None
    best = best_entry(ranking(views, ACC))
    assert best is not None
    assert (best.view.number, best.values) == (2, (0.3,))
    best = best_entry(
        ranking([*views, trial(3, "complete", 0.1), trial(4, "pruned", curve={5: math.nan})], ACC)
    )
    assert best is not None
    assert best.view.number == 3
    assert best_entry(ranking([trial(0, "complete", math.nan)], ACC)) is None


# Names and values


def test_names_are_the_shortest_that_tell_paths_apart() -> None:
    paths = [
        LR,
        "model.init_args.lr",
        "data.init_args.batch_size",
        "model.init_args.optimizer.class_path",
        "trainer.max_epochs",
        "max_epochs",
    ]
    assert list(short_names(paths).values()) == [
        "optimizer.lr",
        "model.lr",
        "batch_size",
        "optimizer",
        "trainer.max_epochs",
        "max_epochs",
    ]
    assert list(short_names(paths)) == paths


def test_parameters_read_well() -> None:
    views = [
        trial(
            0, params={"m.opt": SGD, "m.opt.init_args.lr@torch.optim.SGD": 0.012345678, "layers": "[16, 32]"}
        ),
        trial(1, params={"m.opt": ADAM, "m.opt.init_args.lr@torch.optim.Adam": 1e-5, "layers": 3, "x": None}),
    ]
    assert readable_parameters(views) == [
        {"opt": "SGD", "lr": "0.0123", "layers": "[16, 32]"},
        {"opt": "Adam", "lr": "1e-05", "layers": "3", "x": "None"},
    ]
    both = [
        trial(0, params={"opt": SGD}),
        trial(1, params={"opt": "zoo.SGD"}),
        trial(2, params={"opt": ADAM}),
    ]
    assert [row["opt"] for row in readable_parameters(both)] == ["optim.SGD", "zoo.SGD", "Adam"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.912345, "0.9123"),
        (0.91, "0.9100"),
        (1.0, "1.000"),
        (61706.0, "61,706"),
        (517.0, "517"),
        (999.97, "1,000"),
        (12.345, "12.35"),
        (-0.5, "-0.5000"),
        (0.0, "0"),
        (1.5e-7, "1.5e-07"),
        (3.25e20, "3.25e+20"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (None, "-"),
    ],
)
def test_objectives_read_well(value: float | None, text: str) -> None:
    assert format_objective(value) == text


# Table


def test_the_table_shows_what_there_is() -> None:
    views = [
        trial(0, "pruned", curve={1: 0.5, 2: 0.6}, seconds=2.04, params={"m.opt": SGD, f"{LR}@{SGD}": 1 / 3}),
        trial(1, "complete", 0.91, curve={4: 0.91}, seconds=1234.5, params={"m.opt": ADAM, "bs": 128}),
        trial(2, "failed", error="out of memory"),
    ]
    assert format_leaderboard(views, ACC).splitlines() == [
        "rank  trial  state     val/acc  epochs  seconds  opt      lr   bs",
        "   1      1  complete   0.9100       4  1,234.5  Adam      -  128",
        "   -      0  pruned     0.6000       2      2.0  SGD   0.333    -",
        "   -      2  failed          -       -      0.0  -       0.1    -",
    ]
    assert "  folds  " in format_leaderboard(views, ACC, unit="fold")
    assert format_leaderboard([], ACC) == "no trials yet"


def test_the_table_has_ten_rows_and_says_what_is_left() -> None:
    views = [trial(n, "complete", float(n)) for n in range(13)]
    lines = format_leaderboard(views, ACC).splitlines()
    assert len(lines) == 12
    assert [line.split()[1] for line in lines[1:-1]] == [str(n) for n in range(12, 2, -1)]
    assert lines[-1] == "... 3 more in leaderboard.csv"
    assert "more in" not in format_leaderboard(views[:10], ACC)


def test_the_table_marks_the_pareto_front() -> None:
    views = [trial(0, "complete", 0.9, 5e5), trial(1, "complete", 0.8, 4e5), trial(2, "complete", 0.7, 6e5)]
    lines = format_leaderboard(views, TWO).splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["1*", "0"], ["1*", "1"], ["2", "2"]]
    assert lines[4].startswith("* Pareto front: ")
    assert "*" not in format_leaderboard([trial(0, "complete", 0.9)], ACC)


def test_the_table_fits_a_narrow_terminal() -> None:
    params = {f"model.init_args.parameter_{n}": "x" * 100 for n in range(4)}
    views = [trial(0, "complete", 0.9, params=params), trial(1, "complete", 0.8, params=params)]
    lines = format_leaderboard(views, ACC, width=80).splitlines()
    assert max(map(len, lines[:3])) <= 80
    assert "parameter_0" in lines[0]
    assert lines[1].endswith(f"  {'x' * 27}…")
    assert lines[3] == "not shown here, but in leaderboard.csv: parameter_1, parameter_2, parameter_3"
    width = len(lines[0])
    assert "x" in format_leaderboard(views, ACC, width=max(map(len, lines[:3]))).splitlines()[1]
    assert "parameter_0" not in format_leaderboard(views, ACC, width=width - 1).splitlines()[0]
    tiny = format_leaderboard(views, ACC, width=10).splitlines()[0]
    assert tiny.split() == ["rank", "trial", "state", "val/acc", "epochs", "seconds"]


# File


def test_the_file_has_all_trials_with_whole_names_and_all_digits(tmp_path: Path) -> None:
    views = [
        trial(
            0, "complete", 0.1, curve={3: 0.1}, params={"m.opt": SGD, f"{LR}@{SGD}": 1 / 3, "w": "[16, 32]"}
        ),
        trial(
            1,
            "failed",
            params={"m.opt": ADAM, f"{LR}@{ADAM}": 1e-17, "bs": 64},
            error='no "x", a\n',
            worker="h:1",
        ),
        trial(2, "complete", 2 / 3, seconds=0.1 + 0.2, params={"m.opt": "zoo.SGD"}),
        *(trial(n, "pruned", curve={1: math.nan}) for n in range(3, 20)),
    ]
    path = tmp_path / "new" / "leaderboard.csv"
    write_leaderboard(path, views, ACC)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["2", "0", *map(str, range(3, 20)), "1"]
    assert [row["rank"] for row in rows] == ["1", "2", *[""] * 18]
    assert list(rows[0]) == [
        "rank", "trial", "state", "val/acc", "epochs", "seconds", "m.opt", LR, "w", "bs", "worker", "error"
    ]  # fmt: skip
    first, second, pruned, *_, failed = rows
    assert (first["val/acc"], first["seconds"], first[LR]) == (repr(2 / 3), repr(0.1 + 0.2), "")
    assert (second[LR], second["w"], second["m.opt"], second["epochs"]) == (repr(1 / 3), "[16, 32]", SGD, "3")
    assert pruned["val/acc"] == "nan"
    assert (failed["val/acc"], failed[LR], failed["bs"]) == ("", "1e-17", "64")
    assert (failed["error"], failed["worker"]) == ('no "x", a\n', "h:1")


def test_the_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "leaderboard.csv"
    write_leaderboard(path, [trial(0, "complete", 0.5)], ACC)
    before = path.read_bytes()

    def full_disk(self: Path, data: bytes) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_leaderboard(path, [trial(0, "complete", 0.6)], ACC)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_it_needs_neither_torch_nor_lightning() -> None:
    code = "import search.leaderboard, sys; print([m for m in ('torch', 'lightning') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
