"""``main``: which command, which error, which exit code."""

import os
import sys
from collections.abc import Callable

from zoo_cli.commands import COMMANDS, RUN_COMMANDS, top_help
from zoo_cli.errors import FAILED, USAGE, CommandError, print_error

__all__ = ["main"]


def main(args: list[str] | None = None) -> int:
    """Run one command.

    Args:
        args: Arguments without the program's name; None takes them from the command line.

    Returns:
        The exit code: 0, 1 for a run that failed, 2 for a command that was not understood.
    """
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print(top_help())
        return 0 if args else USAGE
    if args[0] == "--version":
        from importlib.metadata import version

        print(version("d2l-zoo"))
        return 0
    try:
        return _command(args[0])(args[1:])
    except CommandError as error:
        if os.environ.get("ZOO_DEBUG") == "1":
            raise
        print_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        # As with `| head`; the interpreter would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _command(name: str) -> Callable[[list[str]], int]:
    """The function behind a command; imported only now, since some are heavy."""
    if name in RUN_COMMANDS:
        from zoo_cli.run import run

        return lambda args: run(name, args)
    if name in ("models", "data"):
        from zoo_cli.listing import list_data_command, list_models_command

        return list_models_command if name == "models" else list_data_command
    if name == "kfold":
        from zoo_cli.kfold import kfold

        return kfold
    if name == "search":
        from zoo_cli.search import search

        return search
    if name == "search-worker":
        from zoo_cli.search_worker import search_worker

        return search_worker
    if name == "design-space":
        from zoo_cli.design_space import design_space

        return design_space
    if name == "results":
        from callbacks.results import main as results

        return results
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise CommandError(f"there is no command {name!r}{hint} (commands: {', '.join(COMMANDS)})")
