"""The one way in which datamodules get files: checked content, several mirrors, nothing half-written.

A hash is that of the unpacked content where it can be, since archives get repacked: the same data in another
gzip file is the same file. What lies in the folder already needs no network and is never deleted.
"""

import gzip
import hashlib
import logging
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from datamodules.interface.errors import DataError

__all__ = ["RemoteFile", "get_file", "read_file", "read_members"]

logger = logging.getLogger(__name__)

ROUNDS = 2  # through the mirrors, for those that broke off or could not be reached
TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A public file.

    One of the three hashes is given, in hexadecimal digits: SHA-256, or what else was published.

    Attributes:
        name: Its public name; with the suffix ``.gz`` it is a gzip file.
        urls: Where it can be had, the first choice first.
        sha256: SHA-256 of the unpacked content; of a ``.zip``, of the archive itself.
        sha1: SHA-1 of the content, likewise.
        members_md5: For a ``.tar.gz`` or a ``.zip``, the MD5 of each file in it that is used, by its name as
            in :func:`read_members`. Such an archive may lie there unpacked: a folder with these files.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    sha1: str | None = None
    members_md5: Mapping[str, str] | None = field(default=None, hash=False)


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
            the folder cannot be written. Nothing is left behind, no empty folder either.
    """
    target = places[0]
    if found := _first_existing(places):
        return _checked(found, file)
    from filelock import FileLock

    lock = target.with_name(f".{target.name}.lock")
    try:
        with _folder_of(target), FileLock(lock):
            try:
                if not target.exists():  # another process may have been faster
                    _download(file, target)
            finally:
                if not target.exists():
                    with suppress(OSError):  # Windows keeps a file that is open
                        lock.unlink()  # while it is held, so that nobody else can hold it
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


def read_members(places: Sequence[Path], names: Sequence[str]) -> dict[str, bytes]:
    """The content of some files, by name, from the first of these folders and archives that exists.

    Args:
        places: Folders that hold the files, and ``.tar.gz`` and ``.zip`` files that hold them in some folder.
        names: Names of the files, or the ends of their paths, such as ``one.txt`` or ``train/one.txt``.

    Raises:
        DataError: If no place exists, or a file cannot be read from the first that does.
    """
    path = _first_existing(places)
    if path is None:
        raise DataError(f"{places[0]}: is missing; prepare_data() gets it")
    with _naming(path):
        return dict(_members(path, names))


def _first_existing(places: Sequence[Path]) -> Path | None:
    return next((path for path in places if path.exists()), None)


@contextmanager
def _folder_of(target: Path) -> Iterator[None]:
    """Make the folder of a file; where there is no file in the end, remove the folders that were made."""
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        if not target.exists():
            for folder in made:  # the innermost first
                with suppress(OSError):  # one that is not empty, or that could not be made
                    folder.rmdir()


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
    if file.members_md5 is not None:
        for name, content in _members(path, list(file.members_md5)):
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
            _compare(f"{name} in it has", "MD5", found, file.members_md5[name])
        return
    algorithm = "sha256" if file.sha256 else "sha1"
    with _open(path) as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    _compare("has", "SHA-256" if file.sha256 else "SHA-1", found, file.sha256 or file.sha1)


def _compare(which: str, algorithm: str, found: str, expected: str | None) -> None:
    if found != expected:
        raise _BadFileError(f"{which} the wrong content: its {algorithm} is {found}, but must be {expected}")


def _members(path: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each of these files, in a folder or in an archive."""
    missing = list(names)
    if path.is_dir():
        for name in names:
            if (path / name).is_file():
                missing.remove(name)
                yield name, (path / name).read_bytes()
    else:
        with _archive(path) as members:
            for member, read in members:
                for name in missing:
                    if f"/{member}".endswith(f"/{name}"):
                        missing.remove(name)
                        yield name, read()
                        break
                if not missing:
                    break
    if missing:
        raise _BadFileError(f"is not complete: it holds no {missing[0]}")


@contextmanager
def _archive(path: Path) -> Iterator[Iterator[tuple[str, Callable[[], bytes]]]]:
    """The path of each file in an archive, and what reads it before the next one is asked for."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                files = (member for member in packed.infolist() if not member.is_dir())
                yield ((member.filename, partial(packed.read, member)) for member in files)
        else:
            with _open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                regular = ((m.name, tar.extractfile(m)) for m in tar if m.isreg())
                yield ((name, content.read) for name, content in regular if content is not None)
    except tarfile.TarError as error:
        raise _BadFileError(f"is damaged: it is no complete tar archive ({error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last if it is encrypted
        raise _BadFileError(f"is damaged: it is no complete zip archive ({error})") from error


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
