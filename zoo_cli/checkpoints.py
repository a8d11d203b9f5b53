"""Reading checkpoints: what they hold wins over class defaults, and loses to what the user says."""

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zoo._hparams import CLASS_PATH, UNSAVED, is_spec
from zoo.tasks.base import Task
from zoo_cli.errors import FAILED, USAGE, CommandError

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
    saved: dict[str, Any], explicit: Any, cls: type[Task], path: Path, where: Callable[[str], str]
) -> None:
    """Refuse settings that would put a checkpoint's weights into another network.

    Args:
        saved: The checkpoint's class path and arguments.
        explicit: What the user gave for the model: class path and arguments.
        cls: The model's class.
        path: The checkpoint.
        where: Function from a dotted key to the place where the user gave it.

    Raises:
        CommandError: If the class, or an argument that changes the network, differs.
    """
    class_path = explicit.get("class_path")
    if class_path is not None and class_path != saved["class_path"]:
        raise CommandError(
            f"{where('model.class_path')}: model is {class_path}, but the checkpoint {path} is of "
            f"{saved['class_path']}",
            USAGE,
        )
    given = explicit.get("init_args") or {}
    for name, value in given.items():
        if name in cls.training_arguments or name not in saved["init_args"]:
            continue
        old = saved["init_args"][name]
        plain = list(value) if isinstance(value, tuple) else value
        if plain != (list(old) if isinstance(old, tuple) else old):
            raise CommandError(
                f"{where(f'model.init_args.{name}')}: {name} is {value!r}, but the checkpoint {path} was "
                f"trained with {old!r}, and {name} changes the network",
                USAGE,
            )


def settings_to_restore(saved: dict[str, Any], explicit: Any, subcommand: str, path: Path) -> dict[str, Any]:
    """The checkpoint's settings that the user did not override.

    Raises:
        CommandError: If training is to be resumed with an optimizer that could not be saved, and none is
            given.
    """
    given = explicit.get("init_args") or {}
    init_args: dict[str, Any] = {}
    for name, value in saved["init_args"].items():
        if is_spec(value) and UNSAVED in value:
            if subcommand == "fit" and name not in given:
                raise CommandError(
                    f"--ckpt_path {path}: was made with {value[UNSAVED]}, which could not be saved; give "
                    f"--model.init_args.{name} to resume",
                    USAGE,
                )
            continue
        init_args[name] = value
    return {"class_path": saved["class_path"], "init_args": init_args}
