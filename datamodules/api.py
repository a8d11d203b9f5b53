"""Finding datamodules by name."""

import datamodules
from datamodules._registry import DATAMODULES

__all__ = ["list_datamodules"]


def list_datamodules() -> list[str]:
    """The names of all datamodules, in alphabetical order; each is ``datamodules.<name>``."""
    for name in datamodules.__all__:
        getattr(datamodules, name)  # registration happens on import
    return sorted(entry.name for entry in DATAMODULES)
