"""What a study is: everything that must be the same for all its workers, whenever they join."""

import json
from dataclasses import asdict, dataclass
from typing import Any

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

    def must_equal(self, given: "Settings", study: str) -> None:
        """Refuse to go on with other settings than those that a study was begun with.

        Args:
            given: Settings of this command.
            study: Name of the study.

        Raises:
            SearchError: If one differs; it names the option.
        """
        mine, other = asdict(self), asdict(given)
        for name in OPTIONS:
            if json.dumps(mine[name]) == json.dumps(other[name]):  # the order of files matters too
                continue
            option = OPTIONS[name]
            what = (
                "has changed since the study was begun"
                if name in ("configs", "space")
                else f"is {_shown(other[name])}, but the study was begun with {_shown(mine[name])}"
            )
            raise SearchError(f"{option}: {what}; put it back, or choose another name with --study ({study})")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
