"""Where callbacks may write, and how: a reader never sees half a file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command that only writes files does without the seconds of that import
    import lightning as L

__all__ = ["may_write", "run_dir", "run_title", "write_atomically"]


def may_write(trainer: "L.Trainer") -> bool:
    """Whether this process writes files in this run: only one does, and none in a trial of a few batches."""
    return trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]


def run_dir(trainer: "L.Trainer") -> Path:
    """The folder of this run."""
    return Path(trainer.default_root_dir)


def run_title(folder: Path) -> str:
    """The last two parts of a run's folder: its name and version."""
    return "/".join(folder.resolve().parts[-2:])


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it.

    Raises:
        OSError: If the folder cannot be written or the disk is full; the file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
