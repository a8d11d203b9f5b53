"""Starts a study's workers on this machine, shows how it goes, and writes what came out."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from callbacks._files import write_atomically
from callbacks.run_record import record_end
from search.board import Board
from search.leaderboard import best_entry, format_leaderboard, ranking, write_leaderboard
from search.objectives import parse_objectives
from search.pictures import draw_all
from search.setup import StudyFile, open_study
from search.storage import Storage
from search.trials import TrialView
from zoo_cli.errors import FAILED, INTERRUPTED, CommandError
from zoo_cli.search_trial import trial_folder
from zoo_cli.search_worker import GIVEN_UP, SECONDS_LEFT, STORAGE
from zoo_cli.sources import Sources

__all__ = ["Supervisor", "devices_of_workers"]

RESTARTS = 3
"""So often each worker is started again when something killed it, before another trial has ended."""


class Supervisor:
    """Looks after the workers of one command.

    Args:
        file: The study.
        storage: Where it is kept.
        storage_url: Its address as the user gave it.
        devices: Environment of each worker process, by which it has its own devices.
        deadline: When to stop, by :func:`time.monotonic`; None for never.
    """

    def __init__(
        self,
        *,
        file: StudyFile,
        storage: Storage,
        storage_url: str | None,
        devices: Sequence[dict[str, str]],
        deadline: float | None,
    ) -> None:
        self.file = file
        self.storage_url = storage_url
        self.devices = devices
        self.deadline = deadline
        self.study = open_study(file, storage)
        self.objectives = parse_objectives(file.settings.objectives)
        self._restarts = 0
        self._ended = 0
        self._error: str | None = None

    def run(self) -> int:
        """Run workers until the study is over, the time is, or the user interrupts.

        Returns:
            The exit code.

        Raises:
            CommandError: If the user interrupted, or no trial could be run.
        """
        workers: dict[int, subprocess.Popen[bytes]] = {}
        interrupted = False
        try:
            try:
                self._look_after(workers)
            except KeyboardInterrupt:
                interrupted = True
                print("stopping: each worker hands its trial back (Ctrl-C again kills them)", file=sys.stderr)
                self._stop(workers)
            finally:
                for worker in workers.values():
                    _kill(worker)
            views = self.study.views()
            missing = self._write(views, pictures=True)
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            table = format_leaderboard(views, self.objectives, unit=self.file.settings.unit, width=width)
            print("\n".join([table, *missing]))
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            raise CommandError("stopped; the same command goes on", INTERRUPTED)
        if self._error is not None:
            raise CommandError(self._error, FAILED)
        best = self.file.folder / "best.yaml"
        if best.is_file():
            print(f"{best}: train it with `python cli.py fit --config {best}`")
        return 0

    def _look_after(self, workers: dict[int, subprocess.Popen[bytes]]) -> None:
        """Start workers, and others in place of those that were killed, until all have ended."""
        board = Board(
            self.objectives,
            num_trials=self.study.num_trials(),
            deadline=self.deadline,
            num_workers=len(self.devices),
            max_resource=self.file.settings.max_resource,
            unit=self.file.settings.unit,
        )
        for number in range(len(self.devices)):
            workers[number] = self._start(number)
        with board:
            while workers:
                self._show(board)
                time.sleep(0.5)
                self._replace_dead(workers)
            self._show(board)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        logs = self.file.folder / "logs"
        logs.mkdir(exist_ok=True)
        environment = {**os.environ, **self.devices[number]}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        if self.storage_url is not None:
            environment[STORAGE] = self.storage_url
        if self.deadline is not None:
            environment[SECONDS_LEFT] = str(self.deadline - time.monotonic())
        with (logs / f"{os.uname().nodename}-{os.getpid()}-{number}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "zoo_cli", "search-worker", str(self.file.folder)],
                env=environment,
                stdin=subprocess.PIPE,  # it ends with this process, however that ends
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C comes to this process alone, which passes it on
            )

    def _replace_dead(self, workers: dict[int, subprocess.Popen[bytes]]) -> None:
        for number, worker in list(workers.items()):
            code = worker.poll()
            if code is None:
                continue
            del workers[number]
            _kill(worker)  # what is left of a trial on several devices
            if code == 0:
                continue
            if code == GIVEN_UP or self._restarts >= RESTARTS * len(self.devices):
                logs = self.file.folder / "logs"
                self._error = self._last_line(number) or f"a worker ended with exit code {code}; see {logs}"
                continue
            self._restarts += 1
            workers[number] = self._start(number)

    def _last_line(self, number: int) -> str | None:
        logs = sorted((self.file.folder / "logs").glob(f"*-{os.getpid()}-{number}.log"))
        lines = logs[-1].read_text(errors="replace").splitlines() if logs else []
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return errors[-1] if errors else None

    def _stop(self, workers: dict[int, subprocess.Popen[bytes]]) -> None:
        for worker in workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGINT)
        for worker in workers.values():
            worker.wait()

    def _show(self, board: Board) -> None:
        views = self.study.views()
        self.study.observe()
        if board.update(views):
            self._write(views, pictures=False)
        ended = sum(view.state in ("complete", "pruned", "failed") for view in views)
        if ended > self._ended:
            self._ended, self._restarts = ended, 0

    def _write(self, views: list[TrialView], *, pictures: bool) -> list[str]:
        """Write what came out so far; say why pictures are missing."""
        folder = self.file.folder
        write_leaderboard(folder / "leaderboard.csv", views, self.objectives, unit=self.file.settings.unit)
        best = best_entry(ranking(views, self.objectives))
        if best is not None:
            self._write_best(best.view)
        for view in views:
            if view.state in ("pruned", "failed"):  # nothing will go on from these
                trial = trial_folder(folder, view.number)
                for checkpoints in trial.glob("**/checkpoints"):
                    shutil.rmtree(checkpoints, ignore_errors=True)
                record_end(trial, view.state)
                for fold in trial.glob("fold_*"):
                    record_end(fold)
        if not pictures:
            return []
        _, missing = draw_all(
            folder / "pictures",
            views,
            self.objectives,
            title=self.file.name,
            distributions=self.study.space.distributions(),
            rungs=self.study.scheduler.rungs(),
            unit=self.file.settings.unit,
        )
        return missing

    def _write_best(self, view: TrialView) -> None:
        folder = trial_folder(self.file.folder, view.number)
        config = next(
            (p for p in (folder / "config.yaml", folder / "fold_0" / "config.yaml") if p.is_file()), None
        )
        if config is None:
            return
        text = config.read_text(encoding="utf-8")
        if config.parent != folder:
            settings = yaml.safe_load(text)
            settings["data"]["init_args"].pop("fold", None)
            text = yaml.safe_dump(settings, sort_keys=False)
        values = view.values or (view.curve[max(view.curve)],)
        known = zip(self.objectives[: len(values)], values, strict=True)
        shown = ", ".join(f"{objective.name} {value:.4g}" for objective, value in known)
        head = f"# Trial {view.number} of the study {self.file.name}: {shown}\n"
        target = self.file.folder / "best.yaml"
        if not target.is_file() or target.read_text(encoding="utf-8") != head + text:
            write_atomically(target, (head + text).encode())


def _kill(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and the processes of its trial's further devices."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)


def devices_of_workers(sources: Sources, workers: int, per_trial: int) -> list[dict[str, str]]:
    """Environment of each worker: its own devices, or its share of the processor's cores.

    Args:
        sources: The settings of ``fit``.
        workers: Number of workers on this machine.
        per_trial: Devices of one trial.

    Raises:
        CommandError: If there are too few devices.
    """
    count = 0 if sources.value("trainer.accelerator") == "cpu" else torch.cuda.device_count()
    if not count:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = {"OMP_NUM_THREADS": str(max(1, cores // (workers * per_trial)))}
        return [{} if "OMP_NUM_THREADS" in os.environ else threads] * workers
    if workers * per_trial > count:
        raise CommandError(
            f"--workers {workers} with --devices-per-trial {per_trial} needs {workers * per_trial} devices, "
            f"but there are {count}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(count)]
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(names[number * per_trial : (number + 1) * per_trial])}
        for number in range(workers)
    ]
