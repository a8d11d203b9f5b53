"""A PostgreSQL server of Debian's package for tests, on a free port, in a temporary folder."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Server", "find_programs", "server"]


def find_programs() -> Path | None:
    """The folder with ``initdb`` and ``postgres``; None if PostgreSQL is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("initdb")
    return folders[-1] if folders else Path(on_path).parent if on_path else None


class Server:
    """A running server.

    Args:
        programs: Folder of its programs.
        folder: Its folder.
        port: Its port on this machine.
        fsync: Whether it waits for the disk, as servers do unless told otherwise.
    """

    def __init__(self, programs: Path, folder: Path, port: int, *, fsync: bool = False) -> None:
        self.programs = programs
        self.folder = folder
        self.port = port
        self.fsync = fsync

    @property
    def url(self) -> str:
        """Address of its database."""
        return f"postgresql://zoo@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync={self.fsync:d}"
        self._control("-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, whatever its clients do."""
        self._control("-w", "-m", "immediate", "stop")

    def initialise(self) -> None:
        """Make the folder."""
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-U", "zoo", "-A", "trust", "-E", "UTF8", "--no-sync")

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        if os.geteuid() == 0:  # it refuses to run as root
            user = pwd.getpwnam("postgres")
            command = [
                "setpriv",
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
                *command,
            ]
        subprocess.run(
            command,
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sys.stderr,
        )


@contextmanager
def server(folder: Path, *, fsync: bool = False) -> Iterator[Server]:
    """Start a server.

    Args:
        folder: An empty folder that all users may enter.
        fsync: Whether it waits for the disk.
    """
    programs = find_programs()
    assert programs is not None, "PostgreSQL is not installed (Debian: apt install postgresql)"
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Server(programs, folder, port, fsync=fsync)
    running.initialise()
    running.start()
    try:
        yield running
    finally:
        running.stop()
