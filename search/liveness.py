"""Which worker has a trial, and whether that worker is still there."""

import functools
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SECONDS_BETWEEN_BEATS", "SECONDS_UNTIL_STALE", "Watch", "new_owner", "process_is_gone", "shown"]

SECONDS_BETWEEN_BEATS = 60.0
SECONDS_UNTIL_STALE = 180.0


def new_owner() -> dict[str, Any]:
    """What a worker writes on a trial that it claims: no two claims are alike."""
    return {
        "claim": os.urandom(8).hex(),
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "pid_started": _started(os.getpid()),
    }


def shown(owner: Mapping[str, Any] | None) -> str | None:
    """``host:pid``."""
    return None if owner is None else f"{owner['host']}:{owner['pid']}"


def process_is_gone(owner: Mapping[str, Any]) -> bool:
    """Whether the owner was a process of this machine and has ended; False for those of other machines."""
    if owner["machine"] != _machine():
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is there, and is somebody else's
    started = _started(owner["pid"])
    return None not in (started, owner["pid_started"]) and started != owner["pid_started"]


@dataclass
class Watch:
    """Notices workers that no longer beat, by this process's own clock: clocks of machines differ.

    A worker that dies before its first beat counts too: the time runs from when its claim was first seen.

    Attributes:
        until_stale: Seconds without a beat after which a worker counts as dead.
        clock: Seconds from any moment on.
    """

    until_stale: float = SECONDS_UNTIL_STALE
    clock: Callable[[], float] = time.monotonic
    _seen: dict[int, tuple[tuple[Any, Any], float]] = field(default_factory=dict)
    _looked_at: float = 0.0

    def is_stale(self, trial: int, attrs: Mapping[str, Any]) -> bool:
        """Look at a running trial; this must be called every minute or so for time to pass.

        Args:
            trial: Its number.
            attrs: Its attributes ``owner`` and ``beat``.
        """
        owner = attrs.get("owner")
        sign = (owner and owner["claim"], attrs.get("beat"))
        now = self.clock()
        if now - self._looked_at > self.until_stale / 2:
            self._seen.clear()  # this process slept, and so did its view of the others
        self._looked_at = now
        last, since = self._seen.get(trial, (None, now))
        if last != sign:
            self._seen[trial] = (sign, now)
            since = now
        return (owner is not None and process_is_gone(owner)) or now - since > self.until_stale


@functools.cache
def _machine() -> str:
    """Names this machine, and the processes that are visible in this container; host names may be shared."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # not Linux
        return f"{socket.gethostname()} {os.uname().nodename}"


def _started(pid: int) -> str | None:
    """When a process started, since numbers of processes are used again; None where it cannot be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
