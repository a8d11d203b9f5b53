"""Reads search spaces; ``docs/search.md`` says what a file may hold."""

import contextlib
import json
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from datamodules.interface.registry import near_names
from search.errors import SearchError
from search.space import Parameter, Space, path_of

__all__ = ["read_space"]

FIELDS = {
    "float": {"low", "high", "log", "step", "num"},
    "int": {"low", "high", "log", "step", "num"},
    "categorical": {"choices"},
    "class": {"choices"},
}


def read_space(path: Path) -> Space:
    """Read a space's YAML file; ``docs/search.md`` says what it may hold.

    Args:
        path: The file.

    Raises:
        SearchError: If it cannot be read or is no space; the error names file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SearchError(f"{path}:{line}: is not valid YAML ({error.problem})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SearchError(f"{path}: cannot be read as a search space ({error})") from error
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise SearchError(f"{path}: must hold `dotted.path: {{type: ...}}` lines, at least one")
    return Space(_read_parameters(node, path), text)


def _read_parameters(
    node: yaml.MappingNode, path: Path, prefix: str = "", suffix: str = ""
) -> list[Parameter]:
    parameters: list[Parameter] = []
    for key_node, value_node in node.value:
        name = f"{prefix}{key_node.value}{suffix}"
        where = f"{path}:{key_node.start_mark.line + 1}"
        if any(parameter.name == name for parameter in parameters):
            raise SearchError(f"{where}: {path_of(name)} is given twice")
        parameters.append(_read_parameter(name, value_node, where, path))
    return parameters


def _read_parameter(name: str, node: yaml.Node, where: str, path: Path) -> Parameter:
    key = path_of(name)
    if not isinstance(node, yaml.MappingNode):
        raise SearchError(f"{where}: {key} must be a mapping such as {{type: float, low: 0.1, high: 1.0}}")
    fields = {key_node.value: value_node for key_node, value_node in node.value}
    kind = fields.pop("type", None)
    kind_name = kind.value if isinstance(kind, yaml.ScalarNode) else None
    if kind_name not in FIELDS:
        given = "missing" if kind is None else repr(kind_name)
        known = {"type"}.union(*FIELDS.values())
        others = "".join(
            f"; there is no {name!r}{near_names(name, sorted(known))}"
            for name in sorted(fields.keys() - known)
        )
        raise SearchError(f"{where}: {key}: type is {given}, but must be one of {', '.join(FIELDS)}{others}")
    for name_of_field in sorted(fields.keys() - FIELDS[kind_name]):
        allowed = ", ".join(sorted(FIELDS[kind_name]))
        raise SearchError(f"{where}: {key}: a {kind_name} has no {name_of_field!r}, only {allowed}")
    if kind_name == "class":
        return _read_classes(name, fields.get("choices"), where, path)
    values = {field: _plain(value) for field, value in fields.items()}
    if kind_name == "categorical":
        return Parameter(name, _read_choices(key, values.get("choices"), where), where)
    num = values.pop("num", None)
    if num is not None and (not isinstance(num, int) or isinstance(num, bool) or num < 1):
        raise SearchError(f"{where}: {key}: num is {num!r}, but must be a whole number of at least 1")
    return Parameter(name, _read_range(key, kind_name, values, where), where, num=num)


def _read_classes(name: str, node: yaml.Node | None, where: str, path: Path) -> Parameter:
    key = path_of(name)
    if isinstance(node, yaml.SequenceNode) and node.value:
        return Parameter(
            name, CategoricalDistribution([_class_name(n, key, where) for n in node.value]), where
        )
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise SearchError(
            f"{where}: {key}: choices must list classes, or be a mapping from classes to their own settings"
        )
    children: dict[str, list[Parameter]] = {}
    for class_node, space_node in node.value:
        chosen = _class_name(class_node, key, where)
        if isinstance(space_node, yaml.MappingNode):
            children[chosen] = _read_parameters(
                space_node, path, f"{key}.init_args.", f"@{chosen}{_suffix(name)}"
            )
        elif _plain(space_node) in (None, ""):
            children[chosen] = []
        else:
            line = class_node.start_mark.line + 1
            raise SearchError(
                f"{path}:{line}: {key}: {chosen} must have a mapping of its settings, or nothing"
            )
    return Parameter(name, CategoricalDistribution(list(children)), where, children=children)


def _suffix(name: str) -> str:
    """The classes that a parameter belongs to, innermost first: ``@inner@outer``."""
    return name[len(path_of(name)) :]


def _class_name(node: yaml.Node, key: str, where: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or not isinstance(_plain(node), str):
        raise SearchError(f"{where}: {key}: a class must be given by its name")
    return str(node.value)


def _read_choices(key: str, choices: Any, where: str) -> CategoricalDistribution:
    if not isinstance(choices, list) or not choices:
        raise SearchError(f"{where}: {key}: choices is {choices!r}, but must be a list of values")
    # Optuna stores only plain values; a list, such as the widths of layers, is kept as its JSON text.
    plain = [json.dumps(choice) if isinstance(choice, list | dict) else choice for choice in choices]
    for index, choice in enumerate(plain):
        if any(choice == other and type(choice) is type(other) for other in plain[:index]):
            raise SearchError(f"{where}: {key}: the choice {choice!r} is given twice")
    return CategoricalDistribution(plain)


def _read_range(key: str, kind: str, values: dict[str, Any], where: str) -> BaseDistribution:
    log = values.get("log", False)
    if not isinstance(log, bool):
        raise SearchError(f"{where}: {key}: log is {log!r}, but must be true or false")
    low, high = (_number(key, kind, name, values.get(name), where) for name in ("low", "high"))
    step = values.get("step")
    step = None if step is None else _number(key, kind, "step", step, where)
    if low > high:
        raise SearchError(f"{where}: {key}: low is {low:g}, but must be at most high, which is {high:g}")
    if log and low <= 0:
        raise SearchError(f"{where}: {key}: low is {low:g}, but must be above 0 on a logarithmic scale")
    if step is not None and (log or step <= 0):
        reason = "a logarithmic scale has no step" if log else f"step is {step:g}, but must be above 0"
        raise SearchError(f"{where}: {key}: {reason}")
    steps = (high - low) / (step or 1.0)
    if step is not None and abs(steps - round(steps)) > 1e-9:
        raise SearchError(
            f"{where}: {key}: step is {step:g}, but must divide high - low, which is {high - low:g}"
        )
    if kind == "int":
        return IntDistribution(int(low), int(high), log=log, step=1 if step is None else int(step))
    return FloatDistribution(low, high, log=log, step=step)


def _number(key: str, kind: str, name: str, value: Any, where: str) -> float:
    wanted = "a whole number" if kind == "int" else "a number"
    if isinstance(value, str):  # YAML reads 1e-4, without a point, as text
        with contextlib.suppress(ValueError):
            value = float(value)
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if not good or (kind == "int" and value != int(value)):
        given = "missing" if value is None else f"{value!r}"
        raise SearchError(f"{where}: {key}: {name} is {given}, but must be {wanted}")
    return float(value)


def _plain(node: yaml.Node) -> Any:
    """The value of a node, as YAML reads it."""
    return yaml.SafeLoader("").construct_object(node, deep=True)
