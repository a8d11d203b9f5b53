"""``fit``, ``validate``, ``test``, ``predict``: Lightning's command line, with errors of one line."""

import logging
import os
import re
import sys
import warnings
from typing import Any

from zoo_cli.errors import FAILED, INTERRUPTED, USAGE, CommandError
from zoo_cli.names import check_settings, names_of, with_full_names
from zoo_cli.sources import Sources

__all__ = ["run", "run_cli"]


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
    asks_for_help = any(arg.split("=")[0].endswith("help") or arg == "-h" for arg in args)
    if asks_for_help:
        for key in ("model", "data"):
            names_of(key)  # so that help can name the classes
    else:
        check_settings(sources, command)
    try:
        run_cli(command, sources)
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def run_cli(command: str, sources: Sources) -> Any:
    """Run Lightning's command line.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        sources: The settings.

    Returns:
        The command line object, with ``model``, ``datamodule`` and ``trainer``.

    Raises:
        CommandError: For everything that the user can mend.
        SystemExit: After ``--help`` and ``--print_config``.
    """
    _silence_what_is_not_ours()
    from zoo_cli.lightning_cli import ZooCLI
    from zoo_cli.run_directory import RUN_DIRECTORY

    failure: list[tuple[str, Exception]] = []
    stage: list[str] = []
    # Lightning starts further processes of a multi-device run by this command line.
    argv, sys.argv = sys.argv, [sys.argv[0], command, *sources.args]
    try:
        return ZooCLI(command, sources, failure, stage)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and not stage:
            raise  # --help or --print_config; within a run it is Lightning's answer to the keyboard
        message = "stopped by the keyboard; `--ckpt_path last` goes on from the last epoch"
        raise CommandError(message, INTERRUPTED) from None
    except CommandError:
        raise
    except Exception as error:
        if os.environ.get("ZOO_DEBUG") == "1":
            raise
        raise _explained(error, failure, bool(stage), sources) from error
    finally:
        sys.argv = argv
        os.environ.pop(RUN_DIRECTORY, None)


def _explained(
    error: Exception, failure: list[tuple[str, Exception]], running: bool, sources: Sources
) -> CommandError:
    """The error in one line that names its place."""
    for cause in _causes(error):
        if isinstance(cause, CommandError):
            return cause
    from datamodules.interface.errors import DataError

    if failure:
        key, error = failure[0]
        text = _one_line(str(error) or type(error).__name__)
        if isinstance(error, DataError):
            return CommandError(text, FAILED)
        named = sources.last(f"{key}.init_args.{text.split(' ')[0]}") or sources.last(
            f"{key}.{text.split(' ')[0]}"
        )
        where = named.where if named else sources.where(_likely_key(key, text, sources))
        return CommandError(f"{where}: {text}", USAGE)
    for cause in _causes(error):
        if isinstance(cause, DataError):
            return CommandError(_one_line(str(cause)), FAILED)
    if running:
        return CommandError(f"{_kind(error)}{_one_line(str(error))}", FAILED)
    return CommandError(parsing_error(str(error), sources), USAGE)


def _likely_key(key: str, text: str, sources: Sources) -> str:
    """The setting that a message such as "Invalid learning rate: -1" is about."""
    words = {"learning rate": "lr", "weight_decay": "weight_decay", "momentum": "momentum"}
    for phrase, name in words.items():
        if phrase in text:
            for setting in reversed(sources.settings):
                if setting.key.startswith(f"{key}.") and setting.key.endswith(f".{name}"):
                    return setting.key
    return key


def _kind(error: Exception) -> str:
    """The error's class, unless the message is written for the user."""
    from zoo.tasks.base import NonFiniteLossError

    return "" if isinstance(error, NonFiniteLossError | ValueError) else f"{type(error).__name__}: "


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _one_line(text: str) -> str:
    return " ".join(text.split())


def parsing_error(message: str, sources: Sources) -> str:
    """Jsonargparse's message, condensed: where, which key, what was given, what must be given."""
    keys = re.findall(r'(?:Parser key|Key|Option) [\'"]([\w.]+)[\'"]', message)
    if not keys:
        return _one_line(message)
    key = keys[0]
    for inner in keys[1:]:
        key = f"{key}.{inner}" if key != inner else key
    canonical = key.replace("model.", "model.init_args.", 1) if key.count(".") else key
    if key.startswith("data."):
        canonical = key.replace("data.", "data.init_args.", 1)
    where = sources.where(canonical)
    if re.search(r"Option '[\w.]+' is not accepted|is not expected", message):
        return f"{where}: there is no setting {key}"
    expected = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", message, re.MULTILINE)
    expected = [e for e in expected if "NoneType" not in e]
    # The innermost value is the one that does not fit.
    values = re.findall(r"(?:Got value|Given value): (.*)", message)
    if expected and values:
        kinds = [re.sub(r"<class '([\w.]+)'>|typing\.Literal\[(.*)\]", r"\1\2", e).strip() for e in expected]
        return f"{where}: {key} is {values[0].strip()!r}, but must be {' or '.join(dict.fromkeys(kinds))}"
    return f"{where}: {_one_line(message)}"


def _silence_what_is_not_ours() -> None:
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
