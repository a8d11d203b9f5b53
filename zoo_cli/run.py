"""``fit``, ``validate``, ``test``, ``predict``: Lightning's command line, with errors of one line."""

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli.errors import INTERRUPTED, CommandError
from zoo_cli.explain import explained
from zoo_cli.names import check_settings, names_of, with_full_names
from zoo_cli.sources import Sources

if TYPE_CHECKING:
    from zoo_cli.trial import TrialRun

__all__ = ["run", "run_cli", "silence_what_is_not_ours"]


def run(command: str, args: list[str]) -> int:
    """Run one of Lightning's commands.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        args: The arguments after it.

    Returns:
        The exit code.

    Raises:
        CommandError: For everything that the user can mend.
    """
    sources = Sources(with_full_names(args))
    asks_for_help = any(_asks(arg, "help") or arg == "-h" for arg in args)
    if asks_for_help:
        for key in ("model", "data"):
            names_of(key)  # so that help can name the classes
    else:
        check_settings(sources, command)
        if command == "predict" and not any(_asks(arg, "print_config") for arg in args):
            from zoo_cli.generate import predict_texts

            silence_what_is_not_ours()
            if predict_texts(sources):
                return 0
    try:
        run_cli(command, sources)
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def _asks(arg: str, what: str) -> bool:
    """Whether an argument is ``--help``, ``--model.help=LeNet`` and the like, and no value."""
    return arg.startswith("--") and arg.split("=")[0].endswith(what)


def run_cli(command: str, sources: Sources, trial: "TrialRun | None" = None) -> Any:
    """Run Lightning's command line.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        sources: The settings.
        trial: The trial of a search that this run is, if it is one.

    Returns:
        The command line object, with ``model``, ``datamodule`` and ``trainer``.

    Raises:
        CommandError: For everything that the user can mend.
        SystemExit: After ``--help`` and ``--print_config``.
    """
    silence_what_is_not_ours()
    from zoo_cli.lightning_cli import ZooCLI
    from zoo_cli.run_directory import RUN_DIRECTORY
    from zoo_cli.trial import trial_of_environment

    failure: list[tuple[str, Exception]] = []
    stage: list[str] = []
    root = Path(sources.value("trainer.default_root_dir") or "runs")
    root_is_new = not root.exists()
    # Lightning starts further processes of a multi-device run by this command line.
    argv, sys.argv = sys.argv, [sys.argv[0], command, *sources.args]
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        return ZooCLI(command, sources, failure, stage, trial or trial_of_environment())
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not stage:
            raise  # --help or --print_config; within a run it is Lightning's answer to the keyboard
        message = "stopped; `--ckpt_path last` goes on from the last epoch"
        raise CommandError(message, INTERRUPTED) from None
    except CommandError:
        raise
    except Exception as error:
        if os.environ.get("ZOO_DEBUG") == "1":
            raise
        raise explained(error, failure, bool(stage), sources) from error
    finally:
        sys.argv = argv
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)  # Lightning ignores it once it has had one
        made = os.environ.pop(RUN_DIRECTORY, None)
        if made is not None:
            run = Path(made)
            above = [run.parent] if run.name.startswith("version_") else []
            # Only what is empty: nothing has run.
            for folder in (run, *above, *([root] if root_is_new else [])):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def silence_what_is_not_ours() -> None:
    """Drop Lightning's advertisements and its use of deprecated interfaces; warnings about the run stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    for text in (
        "does not have many workers",
        "callbacks used to create the checkpoint",
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",
        "number of training batches .* is smaller than the logging interval",
    ):
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="jsonargparse.*")
