"""Runs of other programs, one at a time, with their wall time and peak memory."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Run", "default_data_dir", "run_child"]

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""


@dataclass(frozen=True)
class Run:
    """What a finished program took.

    Attributes:
        started_at: Time of day at its start, in seconds since 1970.
        seconds: Wall time.
        peak_bytes: Largest resident memory, of it or of a worker process that it waited for.
    """

    started_at: float
    seconds: float
    peak_bytes: int


def default_data_dir() -> Path:
    """``$ZOO_DATA_DIR``, else ``data`` in the checkout."""
    return Path(os.environ.get("ZOO_DATA_DIR") or ROOT / "data").resolve()


def run_child(command: list[str], *, threads: int, folder: Path, data_dir: Path) -> Run:
    """Run a program to its end, without showing what it prints.

    Args:
        command: The program and its arguments.
        threads: Threads that PyTorch computes with.
        folder: Folder to run in.
        data_dir: The program's ``$ZOO_DATA_DIR``.

    Raises:
        RuntimeError: If it fails; the message ends with what it printed.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "ZOO_DATA_DIR": str(data_dir),
    }
    started_at, start = time.time(), time.perf_counter()
    with (folder / "output.txt").open("w+") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        # Not process.wait(): this also tells the memory of this one child.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            raise RuntimeError(
                f"{' '.join(command)} failed with code {process.returncode}:\n{output.read()[-3000:]}"
            )
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts kilobytes
    return Run(started_at, seconds, usage.ru_maxrss * unit)
