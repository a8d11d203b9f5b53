"""Search spaces: which settings vary, and over what."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

__all__ = ["Parameter", "Space", "flags", "path_of"]


@dataclass(frozen=True)
class Parameter:
    """One setting that varies.

    Attributes:
        name: Its name in the study: the dotted path of the command line, and ``@class`` behind it where it
            exists only while that class is chosen.
        distribution: Its values, as Optuna has them.
        where: ``file:line``.
        num: Number of points on a grid, for numbers without a step.
        children: For a choice of classes, the settings of each class.
    """

    name: str
    distribution: BaseDistribution
    where: str
    num: int | None = None
    children: Mapping[str, list["Parameter"]] = field(default_factory=dict)


def path_of(name: str) -> str:
    """The dotted path of the command line behind a parameter's name in a study."""
    return name.partition("@")[0]


@dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        parameters: What varies, in the order of the file.
        text: The file as it is.
    """

    parameters: list[Parameter]
    text: str

    def all_parameters(self) -> list[Parameter]:
        """Those of all classes too."""

        def walk(parameters: list[Parameter]) -> list[Parameter]:
            found = []
            for parameter in parameters:
                found.append(parameter)
                for children in parameter.children.values():
                    found += walk(children)
            return found

        return walk(self.parameters)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions by name, those of all classes too."""
        return {parameter.name: parameter.distribution for parameter in self.all_parameters()}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Let Optuna choose a value for each parameter of a trial.

        Args:
            trial: The trial; what it has already stays.

        Returns:
            Values by name, only of the classes that were chosen.
        """
        values: dict[str, Any] = {}

        def visit(parameters: list[Parameter]) -> None:
            for parameter in parameters:
                values[parameter.name] = _suggest(trial, parameter)
                visit(parameter.children.get(values[parameter.name], []))

        visit(self.parameters)
        return values

    def has_all(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial has a value for each parameter, those of its classes too.

        Args:
            params: Values by name.
        """

        def complete(parameters: list[Parameter]) -> bool:
            return all(
                parameter.name in params and complete(parameter.children.get(params[parameter.name], []))
                for parameter in parameters
            )

        return complete(self.parameters)

    def corners(self) -> list[dict[str, Any]]:
        """Configurations that have each bound and each choice at least once, to be tried before the search.

        Returns:
            Values by name; the lowest of all first.
        """
        most = max((_num_corners(parameter) for parameter in self.parameters), default=1)
        corners = []
        for index in range(most):
            values: dict[str, Any] = {}
            _fill_corner(self.parameters, index, values)
            corners.append(values)
        return corners


def flags(values: Mapping[str, Any]) -> list[str]:
    """Values as flags of the command line, classes before their arguments.

    Args:
        values: Values by name.
    """
    return [f"--{path_of(name)}={_as_text(value)}" for name, value in values.items()]


def _suggest(trial: Trial, parameter: Parameter) -> Any:
    name, distribution = parameter.name, parameter.distribution
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def _num_corners(parameter: Parameter) -> int:
    if not isinstance(parameter.distribution, CategoricalDistribution):
        return 2
    return sum(
        max([1, *(_num_corners(child) for child in parameter.children.get(str(choice), []))])
        for choice in parameter.distribution.choices
    )


def _fill_corner(parameters: list[Parameter], index: int, values: dict[str, Any]) -> None:
    for parameter in parameters:
        distribution = parameter.distribution
        if not isinstance(distribution, CategoricalDistribution):
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            values[parameter.name] = distribution.high if index % 2 else distribution.low
            continue
        turn = index % _num_corners(parameter)
        for choice in distribution.choices:
            children = parameter.children.get(str(choice), [])
            turns = max([1, *(_num_corners(child) for child in children)])
            if turn < turns:
                values[parameter.name] = choice
                _fill_corner(children, turn, values)
                break
            turn -= turns


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return value if isinstance(value, str) else repr(value)
