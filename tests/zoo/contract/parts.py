"""What the contract tests have in common."""

import inspect
from pathlib import Path

import pytest

import zoo

NAMES = zoo.list_models()

CONFIGS = Path(__file__).resolve().parents[3] / "configs"

every_model = pytest.mark.parametrize("name", NAMES)


def arguments_of(name: str) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(zoo.MODELS[name].cls).parameters)
    assert parameters
    return parameters
