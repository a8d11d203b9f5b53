"""Files with a text in each line: read with clear errors, written wholly or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from datamodules.interface.errors import not_utf8
from zoo_cli.errors import FAILED, CommandError

__all__ = ["Line", "line_writer", "lines_of_file", "lines_of_stream"]

LINES_AT_ONCE = 64
"""Most lines that are handed over, and translated, at once."""
STANDARD_INPUT = "standard input"


class Line(NamedTuple):
    """A text to begin with.

    Attributes:
        place: Flag, or file and line.
        text: The text.
    """

    place: str
    text: str


def lines_of_file(path: Path) -> Iterator[list[Line]]:
    """The lines of a file, all of which are checked before the first is used."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CommandError(f"--input {path}: there is no such file", FAILED) from None
    except OSError as error:
        raise CommandError(f"--input {path}: cannot be read ({error.strerror})", FAILED) from error
    if not content:
        raise CommandError(f"--input {path}: is empty, but must have a text in each line", FAILED)
    lines = _decoded(content.removesuffix(b"\n").split(b"\n"), str(path), 1, 0)
    for start in range(0, len(lines), LINES_AT_ONCE):
        yield lines[start : start + LINES_AT_ONCE]


def lines_of_stream(stream: BinaryIO) -> Iterator[list[Line]]:
    """The whole lines of what has arrived, without waiting for more."""
    rest, number, offset = b"", 1, 0
    read: Callable[[int], bytes] = stream.read1  # type: ignore[attr-defined]  # of all buffered streams
    while chunk := read(1 << 16):
        *whole, rest = (rest + chunk).split(b"\n")
        for start in range(0, len(whole), LINES_AT_ONCE):
            part = whole[start : start + LINES_AT_ONCE]
            yield _decoded(part, STANDARD_INPUT, number, offset)
            number, offset = number + len(part), offset + sum(len(line) + 1 for line in part)
    if rest:
        yield _decoded([rest], STANDARD_INPUT, number, offset)
    elif number == 1:
        raise CommandError(f"{STANDARD_INPUT} is empty, but must have a text in each line", FAILED)


def _decoded(lines: list[bytes], name: str, number: int, offset: int) -> list[Line]:
    """Lines as text.

    Args:
        lines: The lines without their ends.
        name: The file's name.
        number: Number of the first line.
        offset: Where in the file it begins, in bytes.
    """
    decoded = []
    for raw in lines:
        try:
            text = raw.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            message = not_utf8(f"{name}:{number}", raw[error.start], offset + error.start)
            raise CommandError(message, FAILED) from None
        if number == 1:
            text = text.removeprefix("\ufeff")  # the mark that some editors put before the text
        if not text.strip():
            raise CommandError(f"{name}:{number}: the line is empty, but must have a text", FAILED)
        decoded.append(Line(f"{name}:{number}", text))
        number, offset = number + 1, offset + len(raw) + 1
    return decoded


@contextmanager
def line_writer(output: str) -> Iterator[Callable[[str], None]]:
    """Write lines to standard output as they come, or to a file that appears when it is complete."""
    if output == "-":
        yield lambda text: print(text, flush=True)
        return
    path = Path(output)
    if path.is_dir():
        raise CommandError(f"--output {path}: is a folder, but must be a file", FAILED)
    partial = path.with_name(f".{path.name}.{os.getpid()}")

    def write(text: str) -> None:
        try:
            file.write(f"{text}\n")
        except OSError as error:
            raise _not_writable(path, error) from error

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("w", encoding="utf-8")
    except OSError as error:
        raise _not_writable(path, error) from error
    try:
        with file:
            yield write
            try:
                file.flush()
            except OSError as error:
                raise _not_writable(path, error) from error
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _not_writable(path: Path, error: OSError) -> CommandError:
    return CommandError(f"--output {path}: cannot be written ({error.strerror})", FAILED)
