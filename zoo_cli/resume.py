"""Optimizers and schedules that are not the class's default: in a new run, and when a run goes on."""

import inspect
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from zoo._hparams import class_from_path, spec_or_marker
from zoo_cli.errors import FAILED, CommandError
from zoo_cli.names import class_of
from zoo_cli.sources import Sources

__all__ = ["ChangedSettings", "changed_arguments", "with_own_defaults"]

PLACES = {"optimizer": torch.optim, "lr_scheduler": torch.optim.lr_scheduler}


def named_class(name: str, path: str) -> Any:
    """The optimizer or schedule of that path or, for torch's own, that name; None if there is none."""
    if "." not in path:
        return getattr(PLACES[name], path, None)
    try:
        return class_from_path(path)
    except (ImportError, AttributeError):
        return None  # the parser says so


def with_own_defaults(restored: dict[str, Any], sources: Sources) -> dict[str, Any]:
    """Model settings under those of the user, so that another optimizer does not inherit arguments.

    The parser keeps the arguments that an old and a new class share: Adam in place of a model's SGD would get
    the SGD's learning rate. A class that the user chose starts from its own defaults.

    Args:
        restored: Class path and arguments from a checkpoint, or nothing.
        sources: The settings.
    """
    settings = {**restored, "init_args": dict(restored.get("init_args", {}))} if restored else {}
    model = sources.chosen_class("model")
    if not settings and model is not None:
        settings = {"class_path": model.value, "init_args": {}}
    if not settings:
        return {}
    model_class = class_of("model", model) if model is not None else class_from_path(settings["class_path"])
    parameters = inspect.signature(model_class.__init__).parameters
    for name in PLACES:
        chosen = sources.chosen_class(f"model.init_args.{name}") or sources.chosen_class(f"model.{name}")
        cls = named_class(name, chosen.value or "") if chosen is not None else None
        if cls is None or name not in parameters:
            continue
        base = settings["init_args"].get(name)
        default = parameters[name].default
        if base is None and callable(default):
            base = spec_or_marker(name, default)
        if base is not None and named_class(name, base.get("class_path", "")) is cls:
            continue
        own = {
            argument: parameter.default
            for argument, parameter in inspect.signature(cls).parameters.items()
            if parameter.default is not parameter.empty and argument != "last_epoch"
        }
        path = f"{cls.__module__}.{cls.__qualname__}"
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}
        settings["init_args"][name] = {"class_path": path, "init_args": plain}
    return settings


def changed_arguments(
    name: str, saved: dict[str, Any] | None, wanted: dict[str, Any] | None, where: str
) -> dict[str, tuple[Any, Any]]:
    """Arguments that the user changed: old and new value.

    Args:
        name: ``optimizer`` or ``lr_scheduler``.
        saved: Class path and arguments in the checkpoint.
        wanted: Class path and arguments of this run.
        where: Where the user gave them.

    Raises:
        CommandError: If the class itself is another one, whose state the checkpoint does not hold.
    """
    old, new = (spec["class_path"] if spec else None for spec in (saved, wanted))
    if (saved is None) != (wanted is None) or (
        old and new and named_class(name, old) is not named_class(name, new)
    ):
        raise CommandError(
            f"{where}: {name} is {new}, but the checkpoint holds the state of {old}; resume with that one"
        )
    before = (saved or {}).get("init_args") or {}
    after = (wanted or {}).get("init_args") or {}
    return {k: (before[k], v) for k, v in after.items() if k in before and before[k] != v}


class ChangedSettings(Callback):
    """Lets explicit arguments win over those that come back with the state of optimizer and schedule.

    A changed learning rate keeps its place in the schedule: only the rate that the schedule scales is new.

    Args:
        changes: Old and new values by argument, for ``optimizer`` and ``lr_scheduler``.
    """

    def __init__(self, changes: dict[str, dict[str, tuple[Any, Any]]]) -> None:
        self.changes = changes

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Change what was restored.

        Raises:
            CommandError: If a schedule cannot be changed on its way.
        """
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                for name, (old, new) in self.changes.get("optimizer", {}).items():
                    if name == "lr":
                        group["lr"] = new * (group["lr"] / old if old else 1.0)
                        group["initial_lr"] = new
                    elif name != "weight_decay" or any(p.ndim > 1 for p in group["params"]):
                        group[name] = new  # biases and other vectors stay without decay
        for config in trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            if "lr" in self.changes.get("optimizer", {}) and hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]
            for name, (old, new) in self.changes.get("lr_scheduler", {}).items():
                if not hasattr(scheduler, name):
                    raise CommandError(
                        f"lr_scheduler: {name} was {old!r} in the checkpoint and cannot be changed on the "
                        f"way to {new!r}; resume with the old value",
                        FAILED,
                    )
                setattr(scheduler, name, new)
