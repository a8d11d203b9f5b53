"""Errors that are the user's to mend: one clear line, no traceback on the command line."""

__all__ = ["DataError"]


class DataError(RuntimeError):
    """Data that is missing, damaged or not what was expected; the message names the file and the way out."""
