"""Reading checkpoints: what they hold wins over class defaults, and loses to what the user says."""

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zoo._hparams import BUILDS, CLASS_PATH, UNSAVED, callable_from_spec, class_from_path, is_spec
from zoo.tasks.base import Task
from zoo_cli.errors import FAILED, CommandError
from zoo_cli.run_directory import run_of_checkpoint

__all__ = ["model_settings", "read_checkpoint", "refuse_other_network", "settings_to_restore"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, without running code that may hide in it.

    Raises:
        CommandError: If it is no checkpoint, or holds pickled objects.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are refused anyway
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise CommandError(f"--ckpt_path {path}: is not a checkpoint", FAILED) from error
        raise CommandError(
            f"--ckpt_path {path}: holds pickled objects, which could run code, and is refused; "
            "save it anew with plain tensors and values",
            FAILED,
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CommandError(f"--ckpt_path {path}: is not a checkpoint, or is cut short", FAILED) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CommandError(
            f"--ckpt_path {path}: is not a checkpoint of a training run (it has no state_dict)", FAILED
        )
    return checkpoint


def model_settings(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Class path and arguments of a checkpoint's model, in the form of a configuration file.

    Raises:
        CommandError: If it does not say how its model was made.
    """
    hparams = dict(checkpoint.get("hyper_parameters", {}))
    class_path = hparams.pop(CLASS_PATH, None)
    if class_path is None:
        raise CommandError(
            f"--ckpt_path {path}: does not say which model it is of; it was not made by the zoo", FAILED
        )
    return {"class_path": class_path, "init_args": hparams}


def refuse_other_network(
    saved: dict[str, Any], given: dict[str, Any], cls: type[Task], path: Path, where: Callable[[str], str]
) -> None:
    """Refuse settings that would put a checkpoint's weights into another network.

    Args:
        saved: The checkpoint's class path and arguments.
        given: The model's arguments that the user gave.
        cls: The model's class.
        path: The checkpoint.
        where: Function from a dotted key to the place where the user gave it.

    Raises:
        CommandError: If arguments that change the network differ.
    """
    other: dict[str, tuple[Any, Any]] = {}
    for name, value in sorted(given.items()):
        if name in cls.training_arguments | cls.start_arguments or name not in saved["init_args"]:
            continue
        old = saved["init_args"][name]
        plain = list(value) if isinstance(value, tuple) else value
        if plain != (list(old) if isinstance(old, tuple) else old):
            other[name] = (value, old)
    if not other:
        return
    places = {name: where(f"model.init_args.{name}") for name in other}
    first, *more = other
    message = f"{places[first]}: {first} is {other[first][0]!r}, but the checkpoint {path} was trained with "
    message += f"{other[first][1]!r}"
    for name in more:
        message += f"; {places[name]}: {name} is {other[name][0]!r}, but was {other[name][1]!r}"
    run = run_of_checkpoint(path)
    files = sorted({place.rpartition(":")[0] for place in places.values() if not place.startswith("--")})
    message += f"; {'they change' if more else f'{first} changes'} the network: "
    if not files:
        message += f"leave {'them' if more else 'it'} out"
    elif run is not None and (run / "config.yaml").is_file():
        message += f"give --config {run / 'config.yaml'} in place of {', '.join(files)}"
    else:
        message += f"leave --config {', '.join(files)} out and give --ckpt_path {path}"
    raise CommandError(message)


def settings_to_restore(
    saved: dict[str, Any], given: set[str], subcommand: str, path: Path
) -> dict[str, Any]:
    """The checkpoint's settings, as plain values.

    Args:
        saved: The checkpoint's class path and arguments.
        given: Names of the model's arguments that the user gave.
        subcommand: ``fit``, ``validate``, ``test`` or ``predict``.
        path: The checkpoint.

    Raises:
        CommandError: If training is to be resumed with an optimizer that could not be saved, and none is
            given; or if what is to build the optimizer or the schedule is no class of that kind.
    """
    init_args: dict[str, Any] = {}
    for name, value in saved["init_args"].items():
        if is_spec(value) and UNSAVED in value:
            if subcommand == "fit" and name not in given:
                raise CommandError(
                    f"--ckpt_path {path}: was made with {value[UNSAVED]}, which could not be saved; give "
                    f"--model.init_args.{name} to resume",
                )
            continue
        if name in BUILDS and is_spec(value):
            _refuse_other_callable(name, value, path)
        init_args[name] = list(value) if isinstance(value, tuple) else value
    settings: dict[str, Any] = json.loads(json.dumps(init_args))
    return {"class_path": saved["class_path"], "init_args": settings}


def _refuse_other_callable(name: str, spec: dict[str, Any], path: Path) -> None:
    """Refuse an optimizer or a schedule that is a function: the command line would call it."""
    try:
        class_from_path(spec["class_path"])  # the command line imports the model's package too
        callable_from_spec(name, spec)
    except (ValueError, ImportError, AttributeError) as error:
        raise CommandError(f"--ckpt_path {path}: {error}", FAILED) from error
