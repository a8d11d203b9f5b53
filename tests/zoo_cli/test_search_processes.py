"""The command ``search`` with its worker processes: interrupts, kills, several commands on one study."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from search.setup import StudyFile, open_study
from search.storage import open_storage
from search.trials import TrialView
from tests.search.postgresql import Server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LR = "model.init_args.optimizer.init_args.lr"
EPOCHS = 8
MODEL = [
    *("--model", "LeNet", "--model.init_args.activation", "relu", "--model.init_args.optimizer", "Adam"),
    *("--data", "Digits", "--data.init_args.batch_size", "32", "--trainer.max_epochs", str(EPOCHS)),
    *("--seed_everything", "1", "--space", "space.yaml", "--study", "s"),
]
FULL = ["--pruner", "none"]
Start = Callable[..., subprocess.Popen[str]]


def listen() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite that runs in the background ignores it


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a search in the test's folder."""
    Path("space.yaml").write_text(f"{LR}: {{type: float, low: 1.0e-4, high: 1.0e-3, log: true}}\n")
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "zoo_cli", "search", *MODEL, *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process: subprocess.Popen[str] = subprocess.Popen(
            command,
            env=environment,
            text=True,
            cwd=tmp_path,
            preexec_fn=listen,
            **pipes,  # type: ignore[call-overload]
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def views(url: str | None = None) -> list[TrialView]:
    file = StudyFile.read(Path("studies/s"))
    if file is None:
        return []
    with closing(open_storage(url, file.folder, file.name)) as storage:
        return open_study(file, storage).views()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == code, out
    return out


def epochs_of(number: int) -> list[int]:
    rows = csv.DictReader(Path(f"studies/s/trials/{number:04d}/metrics.csv").read_text().splitlines())
    return [int(row["epoch"]) for row in rows if row["val/acc"]]


def workers() -> list[int]:
    """Processes that have running trials."""
    return [int((view.worker or "").rpartition(":")[2]) for view in views() if view.state == "running"]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_workers_share_a_study(start: Start) -> None:
    out = finish(start("--trials", "5", "--workers", "2", "--trainer.max_epochs", "2", *FULL))
    found = views()
    assert [view.state for view in found] == ["complete"] * 5
    assert len({view.worker for view in found}) == 2
    assert len({view.params[LR] for view in found}) == 5
    assert "fit --config studies/s/best.yaml" in out
    assert {path.name for path in Path("studies/s/pictures").iterdir()} >= {"history.png", "curves.png"}


@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGINT], 130), ([signal.SIGTERM, signal.SIGTERM], 143)],  # as `timeout` does
)
def test_interrupt_hands_the_trial_back_and_the_same_command_goes_on(
    start: Start, signals: list[signal.Signals], code: int
) -> None:
    options = ["--trials", "2", *FULL]
    process = start(*options)
    wait_for(lambda: any(len(view.curve) >= 2 for view in views()), process)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.2)
    out = finish(process, code)
    assert out.splitlines()[-1] == "stopped; the same command goes on"
    assert [view.state for view in views()] == ["paused"]
    (before,) = views()
    finish(start(*options))
    first, second = views()
    assert (first.state, second.state) == ("complete", "complete")
    assert {epoch: first.curve[epoch] for epoch in before.curve} == before.curve
    assert epochs_of(0) == epochs_of(1) == list(range(EPOCHS))
    assert Path("studies/s/trials/0000/log.txt").read_text().count("LeNet with") == 2


def test_second_sigterm_ends_the_command_at_once(start: Start) -> None:
    options = ["--trials", "2", *FULL]
    process = start(*options)
    wait_for(lambda: any(view.curve for view in views()), process)
    (worker,) = workers()
    os.kill(worker, signal.SIGSTOP)  # it cannot hand its trial back
    process.terminate()
    time.sleep(1.5)
    assert process.poll() is None
    process.terminate()
    assert finish(process, 143).splitlines()[-1] == "stopped; the same command goes on"
    assert not alive(worker)
    assert [view.state for view in views()] == ["running"]


def test_worker_that_is_killed_is_replaced_and_its_trial_goes_on(start: Start) -> None:
    process = start("--trials", "2", *FULL)
    wait_for(lambda: any(len(view.curve) >= 2 for view in views()), process)
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    finish(process)
    assert [view.state for view in views()] == ["complete"] * 2
    assert views()[0].worker != f"{os.uname().nodename}:{worker}"
    assert epochs_of(0) == list(range(EPOCHS))


def test_workers_end_when_their_command_is_killed(start: Start) -> None:
    process = start("--trials", "2", *FULL)
    wait_for(lambda: any(view.curve for view in views()), process)
    (worker,) = workers()
    process.kill()
    end = time.monotonic() + 60
    while alive(worker):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [view.state for view in views()] == ["paused"]
    finish(start("--trials", "2", *FULL))
    assert [view.state for view in views()] == ["complete"] * 2


def test_time_over_ends_the_command_and_more_time_goes_on(start: Start) -> None:
    finish(start("--trials", "2", "--timeout", "1", *FULL))
    assert len(views()) < 2 or any(view.state == "paused" for view in views())
    finish(start("--trials", "2", *FULL))
    assert [view.state for view in views()] == ["complete"] * 2


def test_two_commands_share_a_study_on_postgresql(start: Start, postgresql: Server) -> None:
    name = f"{os.getpid()}"
    shared = ["--storage", postgresql.url, "--studies", f"studies-{name}", "--trials", "6"]
    options = [*shared, "--study", f"s{name}", "--trainer.max_epochs", "4", "--pruner", "asha_promotion"]
    first = start(*options)
    second = start(*options)
    finish(first)
    finish(second)
    file = StudyFile.read(Path(f"studies-{name}/s{name}"))
    assert file is not None
    with closing(open_storage(postgresql.url, file.folder, file.name)) as storage:
        found = open_study(file, storage).views()
    assert len(found) == 6
    assert {view.state for view in found} == {"complete", "pruned"}
    for view in found:
        rows = csv.DictReader(
            (file.folder / "trials" / f"{view.number:04d}" / "metrics.csv").read_text().splitlines()
        )
        assert [int(row["epoch"]) + 1 for row in rows if row["val/acc"]] == list(view.curve)


def test_trial_on_two_devices_is_pruned_on_both(start: Start) -> None:
    two = ["--devices-per-trial", "2", "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"]
    finish(
        start(
            "--trials",
            "3",
            *two,
            "--trainer.max_epochs",
            "3",
            "--sampler",
            "random",
            "--reduction-factor",
            "2",
        )
    )
    found = views()
    assert len(found) == 3
    assert {view.state for view in found} == {"complete", "pruned"}
    for view in found:
        summary = json.loads(Path(f"studies/s/trials/{view.number:04d}/summary.json").read_text())
        assert summary["device"]["count"] == 2


def test_failing_configuration_ends_with_its_message(start: Start) -> None:
    process = start("--trials", "2", "--trainer.max_epochs", "1", "--trainer.default_root_dir", "x", *FULL)
    wait_for(lambda: Path("studies/s").is_dir(), process)
    Path("studies/s/trials").write_text("a file, where a folder should be\n")
    assert "2 trials have failed, so the search ends" in finish(process, 1).splitlines()[-1]
