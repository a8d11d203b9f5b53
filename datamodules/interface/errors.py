"""Errors that are the user's to mend: one clear line, no traceback on the command line."""

__all__ = ["DataError", "not_utf8"]


class DataError(RuntimeError):
    """Data that is missing, damaged or not what was expected; the message names the file and the way out."""


def not_utf8(name: object, byte: int, offset: int) -> str:
    """What to say of a text that is not UTF-8.

    Args:
        name: What to call it.
        byte: The first byte that begins no character, in [0, 255].
        offset: Where it stands, in bytes from the beginning.
    """
    return (
        f"{name}: is not UTF-8: byte 0x{byte:02x} at offset {offset} begins no character; convert it, for "
        "instance with `iconv -f latin1 -t utf-8`"
    )
