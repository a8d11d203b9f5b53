"""What a study is: everything that must be the same for all its workers, whenever they join."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from search.errors import SearchError

__all__ = ["Settings"]

OPTIONS = {
    "configs": "--config",
    "flags": "the further options",
    "space": "--space",
    "objectives": "--objective",
    "sampler": "--sampler",
    "acquisition": "--acquisition",
    "pruner": "--pruner",
    "min_resource": "--min-resource",
    "reduction_factor": "--reduction-factor",
    "max_resource": "--trainer.max_epochs",
    "folds": "--folds",
    "seed": "--seed",
    "devices_per_trial": "--devices-per-trial",
    "cohort": "--trials",
}


@dataclass(frozen=True)
class Settings:
    """The settings of a study.

    Attributes:
        configs: What stands in the configuration files that all trials share, by their names.
        flags: Further options of ``fit``.
        space: Text of the space's file.
        objectives: ``name:min`` or ``name:max`` each.
        sampler: Name of the sampler.
        acquisition: Acquisition function of the sampler ``bo``.
        pruner: Name of the scheduler.
        min_resource: Epochs (or folds) before the first decision.
        reduction_factor: One of so many goes on.
        max_resource: Epochs (or folds) of a whole trial.
        folds: Number of folds; None trains once.
        seed: Seed of the study.
        devices_per_trial: Devices of one trial.
        cohort: Number of trials that are halved together, for synchronous halving; else None.
    """

    configs: dict[str, str]
    flags: list[str]
    space: str
    objectives: list[str]
    sampler: str
    acquisition: str
    pruner: str
    min_resource: int
    reduction_factor: int
    max_resource: int
    folds: int | None
    seed: int
    devices_per_trial: int
    cohort: int | None

    @property
    def unit(self) -> str:
        """What resources count."""
        return "epoch" if self.folds is None else "fold"

    def as_json(self) -> str:
        """The settings as a mapping in JSON."""
        return json.dumps(asdict(self))

    def must_equal(self, given: "Settings", folder: Path) -> None:
        """Refuse to go on with other settings than those that a study was begun with.

        Files count by what they say; comments may change.

        Args:
            given: Settings of this command.
            folder: The study's folder, with its copies of the files.

        Raises:
            SearchError: If one differs; it names the option and both values, in a file the key too.
        """
        mine, other = asdict(self), asdict(given)
        way_out = f"put it back, or choose another name with --study ({folder.name})"
        for name, option in OPTIONS.items():
            if name == "space":
                what = _difference(mine[name], other[name], folder / "space.yaml")
            elif name == "configs" and list(mine[name]) == list(other[name]):
                found = (
                    _difference(text, other[name][file], folder / "configs" / file)
                    for file, text in mine[name].items()
                )
                what = next(filter(None, found), None)
            elif mine[name] != other[name]:
                shown = [_shown(list(v) if isinstance(v, dict) else v) for v in (other[name], mine[name])]
                what = f"is {shown[0]}, but the study was begun with {shown[1]}"
            else:
                continue
            if what is not None:
                raise SearchError(f"{option}: {what}; {way_out}")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _difference(begun_with: str, given: str, kept: Path) -> str | None:
    """The first key in which a YAML file differs from the study's copy; None if they say the same."""
    begun, now = (
        {key: json.dumps(value, default=str) for key, value in _flat(yaml.safe_load(text), "")}
        for text in (begun_with, given)
    )
    for key in {**begun, **now}:
        if begun.get(key) != now.get(key):
            values = (now.get(key, "not there"), begun.get(key, "not there"))
            return "{} is {}, but {} in {}, with which the study was begun".format(key, *values, kept)
    if list(begun) == list(now):
        return None
    # Values are drawn in this order, and classes are read before their arguments.
    return f"has its keys in another order than {kept}, with which the study was begun"


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Values by dotted key."""
    if not isinstance(value, dict) or not value:
        yield prefix, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
