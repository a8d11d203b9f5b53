"""The one way in which datamodules get files: checked content, several mirrors, nothing half-written.

A file's SHA-256 is that of its unpacked content, since archives get repacked: the same data in another gzip
file is the same file. What lies in the folder already needs no network and is never deleted.
"""

import gzip
import hashlib
import logging
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from datamodules.interface.errors import DataError

__all__ = ["RemoteFile", "get_file", "read_file"]

logger = logging.getLogger(__name__)

ROUNDS = 2  # through the mirrors, for those that broke off or could not be reached
TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A public file.

    Attributes:
        name: Its public name; with the suffix ``.gz`` it is a gzip file.
        sha256: SHA-256 of the unpacked content, in hexadecimal digits.
        urls: Where it can be had, the first choice first.
    """

    name: str
    sha256: str
    urls: tuple[str, ...]


class _BadFileError(Exception):
    """What is wrong with a file's content, as the end of a sentence."""


def get_file(file: RemoteFile, places: Sequence[Path]) -> Path:
    """Find a file on this machine, or download it.

    Processes that ask for the same file at once download it once: the first holds a lock, the others wait.

    Args:
        file: What is wanted.
        places: Paths at which it may lie already, packed or not; it is downloaded to the first.

    Returns:
        The path of the file; its content has the right hash.

    Raises:
        DataError: If a file is there with wrong content (it is left as it is), if no mirror delivers, or if
            the folder cannot be written. Nothing half-written is left.
    """
    target = places[0]
    if found := _first_existing(places):
        return _checked(found, file)
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.exists():  # another process may have been faster
                _download(file, target)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror or error}); make room, or give another folder as "
            "data_dir or $ZOO_DATA_DIR"
        ) from error
    return _checked(target, file)


def read_file(places: Sequence[Path]) -> bytearray:
    """The content, unpacked if the name ends in ``.gz``, of the first of these paths that exists.

    Raises:
        DataError: If none exists, or it cannot be read or unpacked.
    """
    path = _first_existing(places)
    if path is None:
        raise DataError(f"{places[0]}: is missing; prepare_data() gets it")
    content = bytearray()  # writable, so that a tensor can share its memory
    with _naming(path), _open(path) as stream:
        while chunk := stream.read(1 << 20):
            content += chunk
    return content


def _first_existing(places: Sequence[Path]) -> Path | None:
    return next((path for path in places if path.exists()), None)


def _checked(path: Path, file: RemoteFile) -> Path:
    with _naming(path):
        _check(path, file)
    return path


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what goes wrong while reading a file that is not ours to delete into a DataError that names it."""
    try:
        yield
    except _BadFileError as error:
        raise DataError(
            f"{path} {error}; it was left as it is: move it away to have it downloaded again, or put the "
            "right file in its place"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def _open(path: Path) -> Iterator[BufferedIOBase]:
    """The unpacked content of a file as a stream."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast(BufferedIOBase, stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _BadFileError(f"is damaged: it is no complete gzip file ({str(error).rstrip('.')})") from error


def _check(path: Path, file: RemoteFile) -> None:
    with _open(path) as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise _BadFileError(f"has the wrong content: its SHA-256 is {found}, but must be {file.sha256}")


def _download(file: RemoteFile, target: Path) -> None:
    """Get the file from the first mirror that delivers it; the caller holds the lock."""
    import requests  # comes with pooch, which downloads with it
    from pooch import HTTPDownloader

    # The suffix stays, since it says how to unpack; what a killed download left under this name is replaced.
    part = target.with_name(f".part-{target.name}")
    get = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=TIMEOUT)
    causes: dict[str, str] = {}
    urls = list(file.urls)
    try:
        for _ in range(ROUNDS):
            unreached: list[str] = []
            for url in urls:
                try:
                    get(url, str(part), None)
                    _check(part, file)
                except requests.HTTPError as error:
                    causes[url] = str(error).partition(" for url")[0]  # "404 Client Error: Not Found"
                except requests.RequestException as error:
                    causes[url] = f"no connection: {_innermost(error)}"
                    unreached.append(url)
                except _BadFileError as error:
                    causes[url] = f"the download {error}"
                    logger.warning("%s: the download %s; it is deleted", url, error)
                else:
                    os.replace(part, target)
                    return
            urls = unreached
    finally:
        part.unlink(missing_ok=True)
    listed = "; ".join(f"{url} ({cause})" for url, cause in causes.items())
    raise DataError(
        f"{file.name} could not be downloaded: {listed}; check the network, or put the file there by hand: "
        f"{target}"
    )


def _innermost(error: BaseException) -> str:
    """The plain cause inside the exceptions that requests and urllib3 wrap around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(getattr(error, "strerror", None) or error)
