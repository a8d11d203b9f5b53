"""Reading text files piece by piece, where a piece ends between two tokens."""

import codecs
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from datamodules.interface.errors import DataError, not_utf8

__all__ = ["Block", "find_blocks", "find_cut", "read_pieces", "stat_of"]

CHUNK = 1 << 18  # bytes that are read at once

Block = tuple[int, int]
"""First byte, and the one after the last, of a part of a file."""

BETWEEN_WORDS = r"(?<=\S)(?=[ \t\r\n])"


def find_cut(tokens: str, normalization: str) -> re.Pattern[str]:
    """Where a text can be cut so that the tokens of its parts are the tokens of the whole.

    Args:
        tokens: Kind of the tokens.
        normalization: What is done to the text first.

    Returns:
        A pattern that matches nothing but the places.
    """
    if normalization == "letters":  # what lies between two words becomes one space
        return re.compile(r"(?<=[A-Za-z])(?=[^A-Za-z])")
    if tokens != "char":
        return re.compile(BETWEEN_WORDS)
    if normalization == "none":
        return re.compile(r"(?s:(?<=.)(?=.))")
    # Lower case of a Greek sigma depends on its neighbours; that of an English letter does not.
    return re.compile(r"(?<=[A-Za-z])(?=[A-Za-z])|" + BETWEEN_WORDS)


def find_blocks(path: Path, fractions: Sequence[float], cut: re.Pattern[str]) -> list[Block]:
    """Divide a file into blocks, one after the other.

    Args:
        path: A file in UTF-8; a byte order mark at its beginning belongs to no block.
        fractions: Where all blocks but the first begin, as shares of the file's bytes, ascending; they begin
            at the next place of ``cut``.
        cut: Where a text can be cut.

    Returns:
        A block more than fractions; the last ones are empty if the text cannot be cut so often.

    Raises:
        DataError: If the file cannot be read, is empty, or is not UTF-8 where it is to be cut.
    """
    with _open(path) as file:
        first = 3 if file.read(3) == codecs.BOM_UTF8 else 0
        size = file.seek(0, 2)
        if size == first:
            raise DataError(f"{path}: is empty, but must have text in it")
        ends = [first]
        for fraction in fractions:
            wanted = first + round(fraction * (size - first))
            ends.append(max(ends[-1], _next_cut(file, path, wanted, size, cut)))
    ends.append(size)
    return list(pairwise(ends))


def read_pieces(path: Path, block: Block, cut: re.Pattern[str]) -> Iterator[str]:
    """The text of a block, in pieces of about 256 kB that end where it can be cut.

    Raises:
        DataError: If the file cannot be read, or is not UTF-8.
    """
    position, end = block
    with _open(path) as file:
        file.seek(position)
        decoder = codecs.getincrementaldecoder("utf-8")()
        held = ""
        while position < end and (raw := file.read(min(CHUNK, end - position))):
            searched = len(held)
            held += _decode(decoder, raw, path, position, final=position + len(raw) == end)
            position += len(raw)
            if position < end and (place := _last_cut(held, searched, cut)):
                yield held[:place]
                held = held[place:]
        if held:
            yield held


def _last_cut(text: str, searched: int, cut: re.Pattern[str]) -> int:
    """The last place at which a text can be cut, beyond what was searched in vain; 0 if there is none."""
    for width in (256, 1 << 14, len(text)):  # it is most often near the end
        places = [match.start() for match in cut.finditer(text, max(len(text) - width, searched, 1))]
        if places:
            return places[-1]
    return 0


def _next_cut(file: BinaryIO, path: Path, wanted: int, size: int, cut: re.Pattern[str]) -> int:
    """The first place, in bytes, at which the file can be cut from a byte on; its end if there is none."""
    # From the character before, since a cut is found between two.
    back = max(wanted - 4, 0)
    file.seek(back)
    head = file.read(wanted - back)
    first = back + next((i for i in reversed(range(len(head))) if head[i] & 0xC0 != 0x80), len(head))
    file.seek(first)
    decoder = codecs.getincrementaldecoder("utf-8")()
    text, position = "", first
    while raw := file.read(CHUNK):
        searched = len(text)
        text += _decode(decoder, raw, path, position, final=position + len(raw) == size)
        position += len(raw)
        if match := cut.search(text, max(searched, 1)):
            return first + len(text[: match.start()].encode())
    return size


def _decode(decoder: codecs.IncrementalDecoder, raw: bytes, path: Path, position: int, *, final: bool) -> str:
    held = len(decoder.getstate()[0])  # bytes of a character that began in the chunk before
    try:
        return decoder.decode(raw, final)
    except UnicodeDecodeError as error:
        offset = position - held + error.start
        raise DataError(not_utf8(path, error.object[error.start], offset)) from error


def stat_of(path: Path) -> os.stat_result:
    """Size and time of a file.

    Raises:
        DataError: If there is none.
    """
    with _naming(path):
        return path.stat()


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    with _naming(path), path.open("rb") as file:
        yield file


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
