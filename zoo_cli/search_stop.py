"""How a search ends before its time: Ctrl-C, and SIGTERM as ``timeout``, Slurm and Docker send it."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from zoo_cli.errors import INTERRUPTED

__all__ = ["TERMINATED", "Once", "Stop"]

TERMINATED = 143
"""Exit code after SIGTERM."""


class Once:
    """A handler of signals that raises KeyboardInterrupt, but not twice for one wish.

    ``timeout`` sends a signal to a process and then to its group, Slurm to all processes of a job, of which
    some pass it on to others.

    Args:
        seconds: Signals within so many seconds after one that counted do not count.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last: float | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if self._last is None or now - self._last >= self.seconds:
            self._last = now
            raise KeyboardInterrupt


class Stop:
    """Lets SIGTERM be another Ctrl-C, which leaves another exit code.

    Attributes:
        exit_code: Of a command that was stopped.
    """

    def __init__(self) -> None:
        self.exit_code = INTERRUPTED
        self._once = Once(seconds=1.0)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to SIGTERM within; only a process's first thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self.exit_code = TERMINATED
        self._once(signum, frame)
