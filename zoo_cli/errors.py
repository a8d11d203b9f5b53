"""Errors of the command line: one line for the user, and the exit code."""

import sys

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "CommandError", "print_error"]

USAGE = 2
"""Exit code of a command that was not understood: nothing has run."""
FAILED = 1
"""Exit code of a run that failed."""

INTERRUPTED = 130
"""Exit code after the user's interrupt."""


class CommandError(Exception):
    """A message for the user, in one line, that says what to do.

    Args:
        message: The line.
        exit_code: What the process exits with.
    """

    def __init__(self, message: str, exit_code: int = USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def print_error(message: str) -> None:
    """Write one line to standard error."""
    print(f"error: {message}", file=sys.stderr)
