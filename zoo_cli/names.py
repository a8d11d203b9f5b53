"""Short class names (``--model LeNet``), and errors for classes and arguments that do not exist."""

import importlib
import inspect
from typing import Any

from datamodules.interface.registry import near_names
from zoo_cli.errors import CommandError
from zoo_cli.sources import Setting, Sources

__all__ = ["PACKAGES", "check_settings", "class_of", "with_full_names"]

PACKAGES = {"model": "zoo", "data": "datamodules"}
"""The package that answers the short names of each key."""


def names_of(key: str) -> list[str]:
    """The registered names for ``model`` or ``data``; imports all of them."""
    package = importlib.import_module(PACKAGES[key])
    names: list[str] = package.list_models() if key == "model" else package.list_datamodules()
    return names


def with_full_names(args: list[str]) -> list[str]:
    """The arguments with ``--model LeNet`` written as ``--model zoo.LeNet``, and ``--data`` likewise."""
    result: list[str] = []
    previous = ""
    for arg in args:
        flag, equals, value = arg.partition("=")
        if equals and flag in _CLASS_FLAGS:
            arg = f"{flag}={_full_name(_CLASS_FLAGS[flag], value)}"
        elif previous in _CLASS_FLAGS:
            arg = _full_name(_CLASS_FLAGS[previous], arg)
        previous = arg
        result.append(arg)
    return result


_CLASS_FLAGS = {
    "--model": "model",
    "--model.class_path": "model",
    "--model.help": "model",
    "--data": "data",
    "--data.class_path": "data",
    "--data.help": "data",
}


def _full_name(key: str, name: str) -> str:
    return name if "." in name or name.startswith("-") else f"{PACKAGES[key]}.{name}"


def class_of(key: str, setting: Setting) -> Any:
    """The class that a setting of ``model`` or ``data`` names.

    Raises:
        CommandError: If there is none; names similar ones.
    """
    path = setting.value or ""
    module_name, _, name = path.rpartition(".")
    package = PACKAGES[key]
    noun = "model" if key == "model" else "datamodule"
    if not module_name:
        near = near_names(path, names_of(key))
        raise CommandError(
            f"{setting.where}: {key} is {path!r}, but must be a full path such as {package}.{path}{near}"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        if not module_name.startswith(str(error.name)):
            raise  # the module exists, and fails on its own account
        near = near_names(name, names_of(key))
        raise CommandError(f"{setting.where}: {path}: there is no module {module_name}{near}") from error
    cls = getattr(module, name, None)
    if not inspect.isclass(cls):
        near = near_names(name, names_of(key))
        command = "models" if key == "model" else "data"
        raise CommandError(
            f"{setting.where}: there is no {noun} {path}{near} (`python cli.py {command}` lists all)"
        )
    return cls


def check_settings(sources: Sources) -> None:
    """Check the classes of model and data, and the names of their arguments.

    Raises:
        CommandError: For the first class or argument that does not exist.
    """
    for key in PACKAGES:
        chosen = sources.last(f"{key}.class_path") or sources.last(key)
        for setting in sources.settings:  # --model after a file's class_path wins, and the other way round
            if setting.key in (key, f"{key}.class_path") and setting.value is not None:
                chosen = setting
        if chosen is None or chosen.value is None:
            continue
        cls = class_of(key, chosen)
        known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        for setting in sources.settings:
            parts = setting.key.split(".")
            if parts[0] != key or len(parts) < 2 or parts[1] in ("class_path", "dict_kwargs", "help"):
                continue
            if parts[1] == "init_args":
                parts = parts[1:]
            if len(parts) < 2 or parts[1] in known:
                continue
            earlier_class = any(
                s.key == f"{key}.class_path"
                and s.value != chosen.value
                and s.where.split(":")[0] == setting.where.split(":")[0]
                for s in sources.settings
            )
            if earlier_class:
                continue  # written for the class that a later setting replaced
            raise CommandError(
                f"{setting.where}: {chosen.value} has no argument {parts[1]!r}{near_names(parts[1], known)} "
                f"(it takes {', '.join(known)})"
            )
