"""Constructor arguments as plain values, so that a checkpoint can rebuild its model without unpickling code.

Optimizers and schedulers are callables; they are written as ``{"class_path": ..., "init_args": {...}}``, the
form of the configuration files. What they would build is found by building it once, on one dummy parameter.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

__all__ = [
    "BUILDS",
    "CLASS_PATH",
    "UNSAVED",
    "callable_from_spec",
    "class_from_path",
    "is_spec",
    "spec_or_marker",
]

CLASS_PATH = "_class_path"
"""Key of the model's class in a checkpoint's hyperparameters."""
UNSAVED = "unsaved_callable"
"""Key that stands for a callable that could not be written as class path and plain arguments."""
BUILDS: dict[str, tuple[type, ...]] = {
    "optimizer": (Optimizer,),
    "lr_scheduler": (LRScheduler, ReduceLROnPlateau),
}
"""The arguments that are callables, and what they build."""

_PLAIN = (bool, int, float, str, type(None))


def class_from_path(path: str) -> Any:
    """The class that a dotted path names.

    Raises:
        ImportError: If there is no such module.
        AttributeError: If the module has no such class.
    """
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(v) for v in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return isinstance(value, _PLAIN)


def _path_of(cls: type) -> str | None:
    """The dotted path of a class, as short as it can be imported; None when it cannot be imported."""
    parts = f"{cls.__module__}.{cls.__qualname__}".split(".")
    for end in range(1, len(parts)):
        candidate = ".".join([*parts[:end], parts[-1]])
        try:
            if class_from_path(candidate) is cls:
                return candidate
        except (ImportError, AttributeError):
            continue
    return None


def _listed(value: Any) -> Any:
    """The value with lists for tuples: the two are alike in a configuration file."""
    if isinstance(value, list | tuple):
        return [_listed(v) for v in value]
    return {k: _listed(v) for k, v in value.items()} if isinstance(value, dict) else value


def _same(a: Any, b: Any) -> bool:
    """Whether two optimizers or schedulers are set up alike, groups of parameters and all."""
    if isinstance(a, Optimizer) and isinstance(b, Optimizer):
        ours, theirs = (
            [o.defaults, *({k: v for k, v in group.items() if k != "params"} for group in o.param_groups)]
            for o in (a, b)
        )
        return bool(_listed(ours) == _listed(theirs))
    plain_a = {k: v for k, v in vars(a).items() if _is_plain(v)}
    plain_b = {k: v for k, v in vars(b).items() if _is_plain(v)}
    return plain_a == plain_b and set(vars(a)) == set(vars(b)) and _same(a.optimizer, b.optimizer)


def _stand_in(name: str) -> Any:
    """What the callable ``name`` is tried on: parameters, or an optimizer for a schedule, fresh each time."""
    parameters = [nn.Parameter(torch.zeros(1))]
    return torch.optim.SGD(parameters, lr=0.1) if name == "lr_scheduler" else parameters


def spec_of_callable(name: str, build: Callable[..., Any], built: Any) -> dict[str, Any] | None:
    """Class path and plain arguments of what a callable builds; None when they cannot be told for certain.

    Args:
        name: The argument, ``optimizer`` or ``lr_scheduler``.
        build: The callable, for instance ``lambda p: torch.optim.SGD(p, lr=0.1)``.
        built: What it built.
    """
    cls = type(built)
    path = _path_of(cls)
    if path is None:
        return None
    names = [
        n
        for n, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and n != "last_epoch"
    ][1:]
    if isinstance(build, functools.partial) and not build.args:
        known = build.keywords
    elif isinstance(built, Optimizer):
        known = built.defaults
    else:
        known = vars(built)
    init_args = {n: list(known[n]) if isinstance(known[n], tuple) else known[n] for n in names if n in known}
    # A callable may do more than call one class; only what comes out the same when rebuilt is trusted.
    if not all(_is_plain(value) for value in init_args.values()):
        return None
    try:
        # A schedule has changed the optimizer that it was built on.
        rebuilt = cls(_stand_in(name), **{n: known[n] for n in init_args})
    except (TypeError, ValueError):
        return None
    if not _same(built, rebuilt):
        return None
    return {"class_path": path, "init_args": init_args}


def _class_for(name: str, path: str) -> type:
    """The class that a spec of the argument ``name`` names, without running code for any other name."""
    package = path.partition(".")[0]
    if package not in sys.modules:
        raise ValueError(
            f"{name} is {path}, but must be of a package that is imported already, since importing runs its "
            f"code: if you trust it, import {package} first"
        )
    cls = class_from_path(path)
    if not (inspect.isclass(cls) and issubclass(cls, BUILDS[name])):
        raise ValueError(f"{name} is {path}, but must be a class derived from {BUILDS[name][0].__name__}")
    return cls


def callable_from_spec(name: str, spec: dict[str, Any]) -> Callable[[Any], Any]:
    """The callable that a spec stands for: from the parameters (or the optimizer) it builds the object.

    Specs come out of checkpoints, which may be anybody's: they build optimizers and schedules, nothing else.

    Args:
        name: The argument, ``optimizer`` or ``lr_scheduler``.
        spec: Class path and plain arguments.

    Raises:
        ValueError: If the class is not one of :data:`BUILDS`, or its package is not imported yet.
        ImportError: If there is no such module.
        AttributeError: If the module has no such class.
    """
    if UNSAVED in spec:

        def refuse(_: Any) -> Any:
            raise ValueError(
                f"this checkpoint was made with {spec[UNSAVED]}, which could not be saved as class path and "
                "plain arguments: give it again to resume training"
            )

        return refuse
    cls = _class_for(name, spec["class_path"])
    init_args = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.get("init_args", {}).items()}
    return functools.partial(cls, **init_args)


def is_spec(value: Any) -> bool:
    """Whether a saved value stands for a callable."""
    return isinstance(value, dict) and ("class_path" in value or UNSAVED in value)


def spec_or_marker(name: str, given: Callable[..., Any] | dict[str, Any]) -> dict[str, Any]:
    """How the argument ``name`` (``optimizer`` or ``lr_scheduler``) is written into a checkpoint.

    Raises:
        ValueError: If it cannot build, for instance because the learning rate is negative.
    """
    if isinstance(given, dict) and UNSAVED in given:
        return given
    build = callable_from_spec(name, given) if isinstance(given, dict) else given
    built = build(_stand_in(name))
    if isinstance(given, dict):
        return given
    spec = spec_of_callable(name, build, built)
    return spec if spec is not None else {UNSAVED: f"{name}={getattr(build, '__qualname__', repr(build))}"}
