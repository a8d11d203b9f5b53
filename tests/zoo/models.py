"""What several files of tests ask of models."""

from typing import Any

from torch import nn

import zoo
from zoo.tasks import Task


def tiny(name: str, **arguments: Any) -> Task:
    """The small version that is registered, with other arguments if given."""
    entry = zoo.MODELS[name]
    model: Task = entry.cls(**{**entry.tiny, **arguments})
    if isinstance(model, zoo.ExactGP):  # without examples to predict from, its output is the same everywhere
        features, target = model.example_batch(6)
        model.net.condition(features, target[:, 0])
    return model


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
