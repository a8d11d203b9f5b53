"""Long texts are encoded once, into a file that later runs map into memory."""

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.interface.errors import DataError
from datamodules.interface.tokenizers import Tokenizer, tokenizer_from_dict
from datamodules.text.base import smallest_type

__all__ = ["TokenCache", "cache_folder"]

VERSION = 1  # of what is in the files


def cache_folder() -> Path:
    """``$ZOO_CACHE_DIR``, else ``$XDG_CACHE_HOME/d2l-zoo``, else ``~/.cache/d2l-zoo``."""
    if own := os.environ.get("ZOO_CACHE_DIR"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "d2l-zoo"


class TokenCache:
    """The tokens of one text under certain settings: a file of ids, and one of what they mean.

    The second is written last, so the ids are complete where both exist. Either may be deleted: where one is
    missing or damaged, the text is encoded anew. Processes that ask for the same text
    at once encode it once: the first holds a lock, the others wait.

    Args:
        settings: All that the ids depend on; plain values.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        text = json.dumps({**settings, "version": VERSION}, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.folder = cache_folder()
        self.ids_file = self.folder / f"{name}.tokens"
        self.about_file = self.folder / f"{name}.json"
        self._map: mmap.mmap | None = None

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the ids; None if there are no ids yet."""
        about = self._about()
        return None if about is None else tokenizer_from_dict(about["tokenizer"])

    def _about(self) -> dict[str, Any] | None:
        """What the ids mean; None if the file is missing or damaged, as after a crash of the machine."""
        try:
            about: dict[str, Any] = json.loads(self.about_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return about

    def _complete(self) -> bool:
        """Whether there are ids of the number and type that their description says."""
        about = self._about()
        if about is None or not self.ids_file.exists():
            return False
        size: int = sum(about["lengths"].values()) * _type_of(about).itemsize
        return self.ids_file.stat().st_size == size

    def fill(self, make_tokenizer: Callable[[], Tokenizer], splits: Mapping[str, Iterable[str]]) -> None:
        """Encode a text, if that was not done yet.

        Args:
            make_tokenizer: Makes or returns the tokenizer.
            splits: Pieces of the text of each split.

        Raises:
            DataError: If the folder cannot be written, or a text cannot be read.
        """
        if self._complete():
            return
        from filelock import FileLock

        part = self.ids_file.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.ids_file.with_suffix(".lock")):
                if self._complete():  # another process was faster
                    return
                try:
                    tokenizer = make_tokenizer()
                    lengths = _write(part, tokenizer, splits)
                    os.replace(part, self.ids_file)
                    about = {"tokenizer": tokenizer.to_dict(), "lengths": lengths}
                    part.write_text(json.dumps(about), encoding="utf-8")
                    os.replace(part, self.about_file)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot be written ({error.strerror or error}), but a long text is encoded "
                "into a file there; make room, or name another folder in $ZOO_CACHE_DIR"
            ) from error

    def read(self) -> dict[str, np.ndarray]:
        """The ids of each split, mapped into memory.

        Raises:
            DataError: If there are none.
        """
        about = self._about()
        if about is None or not self._complete():
            raise DataError(f"{self.ids_file}: is missing or damaged; prepare_data() makes it")
        ids = np.zeros(0, _type_of(about))
        if any(about["lengths"].values()):  # an empty file cannot be mapped
            with self.ids_file.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            ids = np.frombuffer(self._map, ids.dtype)
        ends = np.cumsum(list(about["lengths"].values()))
        return dict(zip(about["lengths"], np.split(ids, ends[:-1]), strict=True))

    def release(self) -> None:
        """Take the pages that were read out of this process's memory; they stay in the system's cache."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self._map.madvise(mmap.MADV_DONTNEED)


def _type_of(about: dict[str, Any]) -> np.dtype[Any]:
    return smallest_type(len(tokenizer_from_dict(about["tokenizer"])))


def _write(path: Path, tokenizer: Tokenizer, splits: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Write the ids of all splits one after the other; their numbers."""
    dtype = smallest_type(len(tokenizer))
    lengths = {}
    with path.open("wb") as file:
        for split, pieces in splits.items():
            lengths[split] = 0
            for piece in pieces:
                ids = tokenizer.encode_array(piece)
                file.write(ids.astype(dtype).data)
                lengths[split] += len(ids)
    return lengths
