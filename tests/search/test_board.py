import io
import re
import time
from typing import Any

import pytest
from rich.console import Console

from search.board import Board, format_seconds, seconds_left
from search.trials import TrialView
from tests.search.views import ACC, TWO, trial

SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def ended(*seconds: float, state: str = "complete") -> list[TrialView]:
    return [trial(n, state, 0.5, seconds=s) for n, s in enumerate(seconds)]


def running(number: int, seconds: float, **curve: float) -> TrialView:
    return trial(number, "running", seconds=seconds, curve={int(k[1:]): v for k, v in curve.items()})


# Time left


def test_nothing_is_left_of_a_study_that_is_over() -> None:
    assert seconds_left(ended(10, 20), num_trials=2, num_workers=3) == 0


def test_new_trials_take_as_long_as_those_before() -> None:
    # On average 15 s; 4 to come for one worker, then 2 rounds of 2, then 4 at once.
    views = ended(10, 20)
    assert [seconds_left(views, num_trials=6, num_workers=n) for n in (1, 2, 4)] == [60, 30, 15]
    # A fifth has to wait for a worker.
    assert seconds_left(views, num_trials=7, num_workers=4) == 30


def test_running_trials_are_part_done() -> None:
    # 20 s each: 15 s and 0 s are left of the two that run. The third goes to the one that is over time.
    views = [*ended(20), running(1, 5), running(2, 50)]
    assert seconds_left(views, num_trials=3, num_workers=2) == 15
    assert seconds_left(views, num_trials=4, num_workers=2) == 20
    assert seconds_left(views, num_trials=5, num_workers=2) == 35


def test_pruned_and_paused_trials_count_as_they_are_and_failed_ones_do_not() -> None:
    views = [
        trial(0, "complete", 0.5, seconds=30.0),
        trial(1, "pruned", seconds=3.0),
        trial(2, "paused", seconds=3.0),
    ]
    views += [trial(3, "failed", seconds=500.0)]
    # 12 s on average; of five trials two are to come, as the failed one is made up for.
    assert seconds_left(views, num_trials=5, num_workers=1) == 24


def test_more_workers_than_this_command_started_are_seen_by_their_trials() -> None:
    views = [*ended(10), running(1, 10), running(2, 10), running(3, 10)]
    assert seconds_left(views, num_trials=7, num_workers=1) == 10


def test_epochs_tell_before_any_trial_has_ended() -> None:
    views = [running(0, 6, e1=0.1, e2=0.2), running(1, 0)]
    assert seconds_left(views, num_trials=2, num_workers=2) is None
    # 3 s an epoch, 10 epochs, 6 s are over; the other has all before it.
    assert seconds_left(views, num_trials=2, num_workers=2, max_resource=10) == 30
    assert seconds_left(views[:1], num_trials=1, num_workers=2, max_resource=10) == 24
    assert seconds_left([running(0, 3)], num_trials=1, num_workers=1, max_resource=10) is None


def test_without_a_number_of_trials_nothing_can_be_told() -> None:
    assert seconds_left(ended(10), num_trials=None, num_workers=1) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (150, "2 min"), (5900, "98 min"), (7500, "2 h 5 min")],
)
def test_times_read_well(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


# Plain lines


def lines_of(board: Board, capsys: pytest.CaptureFixture[str], *views: TrialView) -> list[str]:
    board.update(views)
    return capsys.readouterr().out.splitlines()


def test_a_line_when_a_trial_starts_and_when_it_ends(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    board = Board(ACC, num_trials=3, num_workers=1, live=False)
    assert lines_of(board, capsys) == []
    params = {"model.init_args.optimizer.init_args.lr": 0.0123456, "data.init_args.batch_size": 64}
    begun = trial(0, "running", params=params)
    assert lines_of(board, capsys, begun) == ["trial 0 starts  lr 0.0123  batch_size 64"]
    assert lines_of(board, capsys, trial(0, "running", params=params, curve={1: 0.5})) == []
    first = trial(0, "complete", 0.9, params=params, curve={10: 0.9}, seconds=12.345)
    assert lines_of(board, capsys, first) == [
        "trial 0 complete  val/acc 0.9000  epochs 10  12.3 s   best 0.9000 (trial 0)   "
        "1 of 3 done, about 25 s left"
    ]
    second = trial(1, "pruned", curve={1: 0.4}, seconds=1.0)
    assert lines_of(board, capsys, first, second) == [
        "trial 1 starts  lr 0.1",
        "trial 1 pruned  val/acc 0.4000  epochs 1  1.0 s   best 0.9000 (trial 0)   "
        "2 of 3 done, about 7 s left",
    ]
    third = trial(2, "failed", error="CUDA out of memory")
    assert lines_of(board, capsys, first, second, third) == [
        "trial 2 starts  lr 0.1",
        "trial 2 failed  CUDA out of memory   2 of 3 done, about 7 s left",
    ]


def test_a_line_when_a_trial_is_paused_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(ACC, num_trials=None, live=False, unit="fold")
    lines_of(board, capsys, trial(0, "running"))
    assert lines_of(board, capsys, trial(0, "paused", curve={1: 0.2, 3: 0.3}, seconds=2.0)) == [
        "trial 0 paused  val/acc 0.3000  folds 3  2.0 s   best 0.3000 (trial 0)   0 done"
    ]
    assert lines_of(board, capsys, trial(0, "running", curve={3: 0.3})) == ["trial 0 goes on after 3 folds"]


def test_a_study_that_goes_on_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    views = [trial(0, "complete", 0.7), trial(1, "pruned"), trial(2, "failed"), trial(3, "running")]
    board = Board(ACC, num_trials=9, live=False)
    assert lines_of(board, capsys, *views) == [
        "the study goes on: 2 of 9 done, 1 complete, 1 pruned, 1 running, 1 failed   best 0.7000 (trial 0)"
    ]
    assert lines_of(board, capsys, *views) == []


def test_the_pareto_front_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    views = [trial(0, "complete", 0.9, 5e5), trial(1, "complete", 0.8, 4e5), trial(2, "complete", 0.7, 6e5)]
    (line,) = lines_of(Board(TWO, num_trials=4, live=False), capsys, *views)
    assert line.endswith("   best 0.9000, 500,000 (trial 0 and 1 more on the Pareto front)")


def test_the_deadline_is_told_where_it_comes_first(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    def told(deadline: float | None, num_trials: int | None) -> str:
        board = Board(ACC, num_trials=num_trials, deadline=deadline, live=False)
        board.update([])
        return lines_of(board, capsys, trial(0, "complete", 0.5, seconds=60.0))[1].rpartition("   ")[2]

    assert told(clock.now + 50, 2) == "1 of 2 done, stops in 50 s"
    assert told(clock.now + 70, 2) == "1 of 2 done, about 60 s left"
    assert told(clock.now - 1, None) == "1 done, stops in 0 s"
    assert told(None, None) == "1 done"


def test_the_end_is_one_line(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with Board(ACC, num_trials=4, live=False) as board:
        board.update([trial(0, "complete", 0.5), trial(1, "failed")])
        clock.now += 75
        capsys.readouterr()
    assert capsys.readouterr().out == "1 of 4 done after 75 s: 1 complete, 1 failed\n"


def test_it_tells_whether_something_happened() -> None:
    board = Board(ACC, num_trials=4, live=False)
    assert not board.update([])
    assert board.update([trial(0, "running")])
    assert not board.update([trial(0, "running", curve={1: 0.5})])
    assert board.update([trial(0, "paused", curve={1: 0.5})])
    assert board.update([trial(0, "running", curve={1: 0.5})])
    assert board.update([trial(0, "complete", 0.5)])
    assert not board.update([trial(0, "complete", 0.5)])
    assert Board(ACC, num_trials=4, live=False).update([trial(0, "complete", 0.5)])


def test_a_file_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Board(ACC, num_trials=1) as board:
        board.update([trial(0, "running")])
    assert capsys.readouterr().out.startswith("trial 0 starts  lr 0.1\n")


# Panel


def panel(*views: TrialView, width: int = 80, height: int = 24, **arguments: Any) -> tuple[list[str], str]:
    """Lines of the last panel, and all that went to the terminal."""
    output = io.StringIO()
    console = Console(file=output, width=width, height=height, force_terminal=True, color_system="standard")
    arguments = {"num_trials": 30, "max_resource": 10} | arguments
    board = Board(ACC, console=console, live=True, **arguments)
    with board:
        board.update(())
        before = len(output.getvalue())
        board.update(views)
        shown = output.getvalue()[before:]
    text = SEQUENCES.sub(lambda move: "\n" if move[0].endswith(("A", "K")) else "", shown)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    first = max(k for k, line in enumerate(lines) if " done, " in line and "so far" in line)
    return lines[first:], shown


PARAMS = {"model.init_args.name": "x" * 200, "data.init_args.batch_size": 64}


def test_the_panel_shows_what_runs_and_what_is_best(clock: Clock) -> None:
    views = [
        trial(0, "complete", 0.75, params={"lr": 0.5}, seconds=10.0),
        trial(1, "pruned", curve={1: 0.5}, params={"lr": 0.25}, seconds=2.0),
        trial(2, "paused", params={"lr": 0.5}, curve={1: 0.9}, seconds=3.0),
        trial(3, "failed", params={"lr": 0.5}, error="boom"),
        trial(4, "running", params={"lr": 0.1}, curve={1: 0.2, 2: 0.3}, seconds=5.0),
        trial(5, "running", params={"lr": 0.2}),
    ]
    lines, shown = panel(*views, deadline=clock.now + 40)
    assert "trial 3 failed  boom" in shown
    assert lines[0] == "2 of 30 done, 0 s so far, stops in 40 s"
    assert set(lines[1]) <= set("━╺╸ ")
    assert lines[2:] == [
        "1 complete, 1 pruned, 1 paused, 2 running, 1 failed",
        "best val/acc 0.7500  trial 0  lr 0.5",
        "trial  epoch  val/acc  seconds  parameters",
        "    4   2/10   0.3000      5.0  lr 0.1",
        "    5   0/10        -      0.0  lr 0.2",
    ]


def test_before_a_trial_is_complete_the_best_is_the_one_that_went_furthest() -> None:
    lines, _ = panel(trial(0, "running", curve={1: 0.9}), trial(1, "running", curve={1: 0.1, 2: 0.3}))
    assert "best val/acc 0.3000  trial 1 after 2 epochs  lr 0.1" in lines
    assert "no value yet" in panel(trial(0, "running"))[0]


@pytest.mark.parametrize("width", [40, 80])
def test_the_panel_fits_the_terminal(width: int) -> None:
    views = [trial(0, "complete", 0.75, params=PARAMS)]
    views += [trial(n, "running", params=PARAMS, curve={1: 0.5}, seconds=5.0) for n in range(1, 65)]
    lines, _ = panel(*views, width=width)
    assert max(map(len, lines)) <= width
    assert len(lines) < 24
    assert lines[-1] == "... 48 more running"
    row = next(line for line in lines if line.startswith("    1 "))
    assert "0.5000      5.0" in row
    assert row.endswith("…")


def test_the_panel_has_colours_unless_they_are_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    views = [trial(0, "complete", 0.5), trial(1, "running")]
    color = re.compile(r"\x1b\[[\d;]*\b(3[0-7]|9[0-7])m")
    assert color.search(panel(*views)[1])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not color.search(panel(*views)[1])
    assert panel(*views)[0][2:4] == ["1 complete, 1 running", "best val/acc 0.5000  trial 0  lr 0.1"]
