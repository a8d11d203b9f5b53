"""Values that the data knows and the model needs: passed on when the two are made, never silently."""

import inspect
from collections.abc import Callable
from typing import Any

from datamodules.interface.links import LINKED_VALUES
from zoo_cli.errors import CommandError

__all__ = ["LINKED_VALUES", "linked_value"]

MISSING = object()


def linked_value(
    name: str, *, data: Any, model_class: type, explicit: Any, where: Callable[[str], str], saved: bool
) -> Any:
    """The value of a model's argument that the data may know.

    Args:
        name: The argument.
        data: The datamodule.
        model_class: The model's class.
        explicit: The value that the user or a checkpoint gave, or MISSING.
        where: Function from a dotted key to the place where the user gave it.
        saved: Whether the explicit value is a checkpoint's.

    Raises:
        CommandError: If the explicit value is not the data's, or neither says what the model needs.
    """
    if name not in inspect.signature(model_class.__init__).parameters:  # type: ignore[misc]
        return None
    # Not getattr with a default: it would hide an AttributeError from within a property.
    offered = getattr(data, name) if name in dir(data) else None
    model_name, data_name = model_class.__name__, type(data).__name__
    if offered is None:
        if explicit is MISSING:
            raise CommandError(
                f"{model_name} needs {name} ({LINKED_VALUES[name]}), which {data_name} does not offer: "
                f"choose data that fits, or give --model.init_args.{name}"
            )
        return explicit
    if explicit is not MISSING and explicit != offered:
        given = "the checkpoint's" if saved else where(f"model.init_args.{name}") + ":"
        raise CommandError(
            f"{given} model.init_args.{name} is {explicit!r}, but the data ({data_name}) has {offered!r}; "
            + ("choose the data it was trained on" if saved else "leave it out")
        )
    return offered
