"""How parameters and values of a study are written for people."""

from collections.abc import Iterable
from typing import Any

from search.space import path_of
from search.trials import TrialView

__all__ = [
    "format_objective",
    "format_parameter",
    "readable_parameters",
    "readable_values",
    "short_names",
]

PARTS_OF_ALL = ("init_args", "class_path")


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The shortest name of each dotted path that no other path ends in.

    ``model.init_args.optimizer.init_args.lr`` is ``lr``, or ``optimizer.lr`` beside another ``lr``. A path
    that ends in ``class_path`` goes by what it makes, such as ``optimizer``.
    """
    parts = {path: [part for part in path.split(".") if part not in PARTS_OF_ALL] for path in paths}
    names: dict[str, str] = {}
    for path, own in parts.items():
        others = [other for another, other in parts.items() if another != path]
        tails = [own[-length:] for length in range(1, len(own) + 1)]
        tail = next((tail for tail in tails if all(other[-len(tail) :] != tail for other in others)), [path])
        names[path] = ".".join(tail)
    return names


def readable_parameters(views: Iterable[TrialView]) -> list[dict[str, str]]:
    """For each trial its parameters' values by short name, as one reads them: ``{"lr": "0.0123"}``.

    Parameters of one path that belong to different classes share its name: a trial has only one of them.
    """
    by_path = [{path_of(name): value for name, value in view.params.items()} for view in views]
    names = short_names(dict.fromkeys(path for params in by_path for path in params))
    values = readable_values(value for params in by_path for value in params.values())
    return [{names[path]: values[str(value)] for path, value in params.items()} for params in by_path]


def readable_values(values: Iterable[Any]) -> dict[str, str]:
    """How one reads each value, by its full text.

    Classes are told apart as paths are: ``SGD``, or ``optim.SGD`` beside ``zoo.SGD``.
    """
    texts = {str(value): format_parameter(value) for value in values}
    return texts | short_names(text for text in texts if text.replace(".", "").isidentifier())


def format_parameter(value: Any) -> str:
    """A parameter's value for reading, floats with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_objective(value: float | None) -> str:
    """An objective's value for reading: four digits, large counts whole with thousands set apart."""
    if value is None:
        return "-"
    size = abs(value)
    if 999.95 <= size < 1e12 or (10 <= size < 1e3 and value == int(value)):
        return f"{value:,.0f}"
    return f"{value:#.4g}" if 1e-4 <= size < 1e3 else f"{value:.4g}"
