"""Where a study is kept, and the lock under which its workers decide.

Optuna's storages change one thing at a time. Deciding what a free worker does next reads many things and then
changes one, so it is done under a lock of the study's own: no trial goes to two workers and none is started
too many. The lock goes with the process (a file lock) or the connection (PostgreSQL), so that a killed worker
never leaves it behind.
"""

import contextlib
import json
import os
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import filelock
import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from search.errors import SearchError

__all__ = ["SECONDS_TO_TRY", "SQLiteStorage", "Storage", "open_storage"]

Result = TypeVar("Result")

SECONDS_TO_TRY = 600.0
"""How long a storage may be away, as while it restarts, before a worker gives up."""

ALIVE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Options of connections to PostgreSQL, by which each side notices within a minute that the other is gone."""


class Storage(ABC):
    """Optuna's storage, with a lock and with patience.

    Args:
        url: As the user gave it; None for the journal file.
        optuna_storage: Optuna's own.
    """

    def __init__(self, url: str | None, optuna_storage: BaseStorage) -> None:
        self.url = url
        self.optuna = optuna_storage

    @abstractmethod
    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study's lock; for short decisions only."""

    def locked(self, decide: Callable[[], Result]) -> Result:
        """Decide under the lock; if the storage goes away meanwhile, lock and decide anew.

        Args:
            decide: Reads, then changes; it must stand being called again.
        """

        def locked() -> Result:
            with self.lock():
                return decide()

        return self.patiently(locked)

    def patiently(self, act: Callable[[], Result]) -> Result:
        """Do something that may be repeated, again and again while the storage is away.

        Args:
            act: What to do.

        Raises:
            SearchError: If the storage does not come back.
        """
        begun, pause = time.monotonic(), 0.1
        while True:
            try:
                return act()
            except self.gone() as error:
                if time.monotonic() - begun > SECONDS_TO_TRY:
                    raise SearchError(
                        f"--storage {self.url}: cannot be reached ({one_line(error)})"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    def close(self) -> None:
        """Let go of connections."""
        self.optuna.remove_session()

    def gone(self) -> tuple[type[Exception], ...]:
        """Errors that mean that the storage is away for a while."""
        return ()


class FileStorage(Storage):
    """A journal file or an SQLite file, with a lock file.

    Args:
        url: None for a journal.
        optuna_storage: Optuna's own.
        lock_file: The lock file.
    """

    def __init__(self, url: str | None, optuna_storage: BaseStorage, lock_file: Path) -> None:
        super().__init__(url, optuna_storage)
        self._lock = filelock.FileLock(lock_file)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock file."""
        with self._lock.acquire(poll_interval=0.01):
            yield


class SQLiteStorage(FileStorage):
    """One worker only: several have been seen to get the same trial from Optuna on SQLite.

    Args:
        url: ``sqlite:///FILE``.
        optuna_storage: Optuna's own.
        lock_file: The lock file.
    """

    def __init__(self, url: str, optuna_storage: BaseStorage, lock_file: Path) -> None:
        super().__init__(url, optuna_storage, lock_file)
        self._process = filelock.FileLock(f"{lock_file}.process")

    def close(self) -> None:
        """Let others have it."""
        super().close()
        self._process.release()

    def lock_for_good(self) -> None:
        """Keep all others out until :meth:`close` or the end of this process.

        Raises:
            SearchError: If another process has it.
        """
        try:
            self._process.acquire(timeout=0)
        except filelock.Timeout:
            raise SearchError(
                f"--storage {self.url}: is in use by another search; SQLite serves one worker only, leave "
                "--storage out for several"
            ) from None


class PostgreSQLStorage(Storage):
    """Workers on many machines; the lock is an advisory lock of the server.

    Args:
        url: ``postgresql://...``
        study: Name of the study, which the lock is for.
    """

    def __init__(self, url: str, study: str) -> None:
        import sqlalchemy

        address = sqlalchemy.make_url(url)
        with_driver = address.set(drivername="postgresql+psycopg")
        # One connection for the storage and, while it decides, one for the lock: PostgreSQL serves about
        # a hundred by default.
        engine = {
            "pool_size": 1,
            "max_overflow": 1,
            "pool_pre_ping": True,
            "connect_args": ALIVE,
        }
        storage = _with_tables(with_driver.render_as_string(hide_password=False), engine)
        self._engine = storage.engine
        # With the cache that Optuna itself puts before it: ended trials are read once.
        super().__init__(address.render_as_string(hide_password=True), get_storage(storage))
        self._address = address.set(drivername="postgresql").render_as_string(hide_password=False)
        self._key = zlib.crc32(f"d2l-zoo study {study}".encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the advisory lock; it is gone with the connection."""
        import psycopg

        with psycopg.connect(self._address, autocommit=True, **ALIVE) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (self._key,))
            yield

    def close(self) -> None:
        """Let go of connections."""
        super().close()
        self._engine.dispose()

    def gone(self) -> tuple[type[Exception], ...]:
        """Lost connections, and a server that starts, stops or is full."""
        import psycopg
        import sqlalchemy.exc

        return (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            sqlalchemy.exc.OperationalError,
            sqlalchemy.exc.InterfaceError,
            sqlalchemy.exc.InternalError,
            sqlalchemy.exc.PendingRollbackError,
            sqlalchemy.exc.TimeoutError,
            optuna.exceptions.StorageInternalError,
        )


def _with_tables(address: str, engine: dict[str, Any]) -> RDBStorage:
    """Optuna's storage; where several workers come first at once, all but one find the tables half made."""
    import sqlalchemy.exc

    for _ in range(10):
        with contextlib.suppress(sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            return RDBStorage(address, engine_kwargs=engine)
        time.sleep(0.5)
    return RDBStorage(address, engine_kwargs=engine)


class _JournalLock(JournalFileOpenLock):
    """The lock of the journal file itself, which also cuts off what a killed writer left half-written.

    Optuna's own locks stay behind when their process is killed, and a torn last line makes the file
    unreadable for good.

    Args:
        journal: The journal file.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self.journal = journal
        self._lock = filelock.FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        """Wait for the lock, and make the file whole."""
        self._lock.acquire(poll_interval=0.005)
        with self.journal.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - 65536)
            file.seek(start)
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(start + tail.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let others write."""
        self._lock.release()


def _check_journal(journal: Path) -> None:
    """Refuse a file that is no journal: Optuna skips a last line that it cannot read, and fails at others.

    Raises:
        SearchError: If a line is no entry; it names the line.
    """
    with journal.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                # The rest of a last line may be about to be written, or never was.
                good = "op_code" in json.loads(line) if line.endswith(b"\n") else line.startswith(b"{")
            except (ValueError, TypeError):
                good = False
            if not good:
                raise SearchError(
                    f"{journal}:{number}: cannot be read as an entry of a study's journal; put the file back "
                    "as it was, or choose another --study"
                )


def open_storage(url: str | None, directory: Path, study: str, *, seconds_to_try: float = 0.0) -> Storage:
    """Open a study's storage.

    Args:
        url: ``sqlite:///FILE``, ``postgresql://...``, or None for a journal file in the study's directory.
        directory: The study's directory.
        study: The study's name.
        seconds_to_try: How long to wait for a server that does not answer.

    Raises:
        SearchError: If the address is of no known kind, nothing answers there, or the journal is damaged.
    """
    begun = time.monotonic()
    while True:
        try:
            return _open(url, directory, study)
        except SearchError as error:
            if not isinstance(error.__cause__, Exception) or time.monotonic() - begun >= seconds_to_try:
                raise
        time.sleep(1.0)


def _open(url: str | None, directory: Path, study: str) -> Storage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        journal = directory / "journal.log"
        journal.touch()
        _check_journal(journal)
        backend = JournalFileBackend(str(journal), lock_obj=_JournalLock(journal))
        return FileStorage(None, JournalStorage(backend), directory / ".lock")
    scheme = url.partition(":")[0].partition("+")[0]
    try:
        if scheme == "sqlite":
            return SQLiteStorage(url, get_storage(url), directory / ".lock")
        if scheme in ("postgresql", "postgres"):
            return PostgreSQLStorage(f"postgresql:{url.partition(':')[2]}", study)
    except Exception as error:  # whatever SQLAlchemy or the driver make of an address
        raise SearchError(
            f"--storage {_without_password(url)}: cannot be reached ({one_line(error)})"
        ) from error
    raise SearchError(
        f"--storage is {url!r}, but must be sqlite:///FILE or postgresql://USER@HOST/DATABASE; leave it out "
        "for a file in the study's directory"
    )


def one_line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}@{tail}" if at else url
