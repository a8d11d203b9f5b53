"""Finding and making models by name."""

from typing import Any

import zoo
from zoo._registry import MODELS
from zoo.tasks.base import Task

__all__ = ["create", "list_models"]


def list_models() -> list[str]:
    """The names of all models, in alphabetical order; each is ``zoo.<name>``."""
    for name in zoo.__all__:
        getattr(zoo, name)  # registration happens on import
    return sorted(entry.name for entry in MODELS)


def create(name: str, **hparams: Any) -> Task:
    """A model by name.

    Args:
        name: A name of :func:`list_models`; or of a variant, as torchvision spells it: ``create("resnet50")``
            is ``zoo.ResNet(variant="resnet50")``.
        hparams: The model's own arguments.

    Raises:
        KeyError: If there is no such model; the message names similar ones.
    """
    list_models()
    family = MODELS.with_variant(name)
    if family is None:
        model: Task = MODELS[name].cls(**hparams)
    else:
        model = family.cls(**family.variant_arguments(name), **hparams)
    return model
