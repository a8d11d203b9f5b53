"""Short class names (``--model LeNet``), and errors for classes and arguments that do not exist.

Optimizers and schedules have short names too. They are completed here, since the parser gives up where two
packages have a class of one name.
"""

import importlib
import inspect
from typing import Any

from datamodules.interface.registry import near_names
from zoo_cli.commands import TEXT_OPTIONS
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
            arg = f"{flag}={_full_name(flag, value)}"
        elif previous in _CLASS_FLAGS:
            arg = _full_name(previous, arg)
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
    **{
        f"--model{init_args}.{key}{end}": key
        for init_args in ("", ".init_args")
        for key in ("optimizer", "lr_scheduler")
        for end in ("", ".class_path", ".help")
    },
}


def _full_name(flag: str, name: str) -> str:
    key = _CLASS_FLAGS[flag]
    if not name.isidentifier() or name == "null":
        return name
    if key in PACKAGES:
        return f"{PACKAGES[key]}.{name}"
    known = _optimizers() if key == "optimizer" else _schedules()
    if name not in known:
        raise CommandError(f"{flag}: there is no {name}{near_names(name, list(known))}")
    return known[name]


def _optimizers() -> dict[str, str]:
    """Short names of optimizers: torch's."""
    from torch import optim

    return {
        name: f"torch.optim.{name}"
        for name, cls in vars(optim).items()
        if inspect.isclass(cls) and issubclass(cls, optim.Optimizer) and cls is not optim.Optimizer
    }


def _schedules() -> dict[str, str]:
    """Short names of learning rate schedules: torch's, and ours."""
    from torch.optim import lr_scheduler

    from zoo.optim import schedules

    ours = {name: f"zoo.{name}" for name in schedules.__all__ if name != "WarmupSchedule"}
    # Lightning's knows the metric that it watches.
    plateau = {"ReduceLROnPlateau": "lightning.pytorch.cli.ReduceLROnPlateau"}
    torchs = {
        name: f"torch.optim.lr_scheduler.{name}" for name in lr_scheduler.__all__ if name != "LRScheduler"
    }
    return {**torchs, **plateau, **ours}


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
        near = _variant_hint(key, name) or near_names(name, names_of(key))
        command = "models" if key == "model" else "data"
        raise CommandError(
            f"{setting.where}: there is no {noun} {path}{near} (`python cli.py {command}` lists all)"
        )
    return cls


def _variant_hint(key: str, name: str) -> str:
    """A clause for a name such as ``ResNet50``, which is no class but a variant of one."""
    if key != "model":
        return ""
    import zoo

    names_of(key)
    entry = zoo.MODELS.with_variant(name.lower())
    if entry is None:
        return ""
    flags = [
        f" --model.init_args.{key} {value}" for key, value in entry.variant_arguments(name.lower()).items()
    ]
    return f"; write --model {entry.name}{''.join(flags)}"


def check_settings(sources: Sources, command: str) -> None:
    """Check the names of all settings, and the classes of model and data.

    Raises:
        CommandError: For the first setting or class that does not exist.
    """
    _check_top(sources, command)
    for key in PACKAGES:
        chosen = sources.chosen_class(key)
        if chosen is not None:
            _check_arguments(key, chosen, sources)


def _check_top(sources: Sources, command: str) -> None:
    from lightning.pytorch import Trainer

    known = ["seed_everything", "trainer", "model", "data", "compile", "channels_last", "ckpt_path", "config"]
    known += ["print_config"]
    if command == "predict":
        known += ["input", "output", *TEXT_OPTIONS]
    of_trainer = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]
    for setting in sources.settings:
        first, _, rest = setting.key.partition(".")
        second = rest.partition(".")[0]
        if first == "trainer" and second and second not in of_trainer:
            near = near_names(setting.key, [f"trainer.{name}" for name in of_trainer])
        elif first not in known:
            near = near_names(setting.key, known + [f"trainer.{name}" for name in of_trainer])
        else:
            continue
        raise CommandError(f"{setting.where}: there is no setting {setting.key}{near}")


def _check_arguments(key: str, chosen: Setting, sources: Sources) -> None:
    cls = class_of(key, chosen)
    known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    for name in sorted(sources.given_arguments(key) - set(known)):
        where = sources.where(f"{key}.init_args.{name}")
        raise CommandError(
            f"{where}: {chosen.value} has no argument {name!r}{near_names(name, known)} "
            f"(it takes {', '.join(known)})"
        )
