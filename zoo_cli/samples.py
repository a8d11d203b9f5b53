"""The folder of ``design-space``: its lock, the settings that its samples share, and the samples."""

import csv
import io
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from callbacks._files import write_atomically
from zoo_cli.errors import FAILED, CommandError

__all__ = ["Row", "claim", "lock", "not_writable", "read_rows", "write_rows"]

COLUMNS = (
    *("space", "index", "error", "loss", "parameters", "multiplications", "seconds"),
    *("stem_channels", "depths", "widths", "bottleneck_ratios", "group_widths"),
)
Row = dict[str, str]


def lock(output: Path) -> AbstractContextManager[Any]:
    """Keep other processes out of a folder until the context ends, or this process.

    Raises:
        CommandError: If one is there, or nothing can be written.
    """
    from filelock import FileLock, Timeout

    try:
        output.mkdir(parents=True, exist_ok=True)
        return FileLock(output / ".lock").acquire(timeout=0)
    except Timeout:
        message = f"--output {output}: another process is at work there; wait or choose another --output"
        raise CommandError(message, FAILED) from None
    except OSError as error:
        raise not_writable(output, error) from error


def claim(output: Path, shared: dict[str, Any], *, has_samples: bool) -> None:
    """Write down the settings that all samples in a folder share, or compare them with those there.

    Args:
        output: The folder.
        shared: The settings.
        has_samples: Whether there are samples. If not, settings that are there are replaced.

    Raises:
        CommandError: If the samples there come from other settings, or nothing can be written.
    """
    path = output / "settings.json"
    if not has_samples:
        _write(path, json.dumps(shared, indent=2) + "\n")
        return
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(there, dict):
        raise _unreadable(path, "it holds no settings")
    for name, value in shared.items():
        if there.get(name) != value:
            raise CommandError(
                f"--{name} is {value}, but the samples in {output} were made with {there.get(name)}; choose "
                "another --output"
            )


def read_rows(path: Path) -> list[Row]:
    """The samples in a folder.

    Raises:
        CommandError: If the file holds anything else.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="") as stream:
            head, *rows = csv.reader(stream, strict=True)
        if head != list(COLUMNS):
            raise ValueError(f"its columns must be {', '.join(COLUMNS)}")
        samples = []
        for row in rows:
            if len(row) != len(COLUMNS):
                raise ValueError(f"a row has {len(row)} cells, but must have {len(COLUMNS)}")
            sample = dict(zip(COLUMNS, row, strict=True))
            if int(sample["index"]) < 0 or not 0 <= float(sample["error"]) <= 1:
                raise ValueError(f"index {sample['index']} has error {sample['error']}")
            samples.append(sample)
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error
    return samples


def _unreadable(path: Path, why: object) -> CommandError:
    return CommandError(f"{path}: cannot be read ({why}); choose another --output", FAILED)


def not_writable(output: Path, error: OSError) -> CommandError:
    """The line for a folder that takes no files."""
    return CommandError(f"--output {output}: cannot be written ({error.strerror})", FAILED)


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write the samples, all at once.

    Raises:
        CommandError: If nothing can be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue())


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise not_writable(path.parent, error) from error
