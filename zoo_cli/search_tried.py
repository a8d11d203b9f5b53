"""What a search tries before it trains: a batch with each bound and each choice of its space."""

import contextlib
import dataclasses
import importlib
import inspect
import io
import re
from collections.abc import Mapping
from typing import Any

from optuna.distributions import FloatDistribution

from datamodules.interface.registry import near_names
from search.objectives import parse_objectives
from search.settings import Settings
from search.space import Parameter, Space, path_of
from zoo_cli.errors import INTERRUPTED, USAGE, CommandError
from zoo_cli.names import check_settings
from zoo_cli.run import run_cli
from zoo_cli.search_trial import MEASURED, free_memory, measure, trial_arguments
from zoo_cli.sources import Sources
from zoo_cli.trial import leaving_no_group

__all__ = ["tried"]

TRY = [
    *("--trainer.fast_dev_run=1", "--trainer.enable_progress_bar=false", "--trainer.logger=false"),
    *("--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto"),
]


def tried(settings: Settings, space: Space, sources: Sources) -> Settings:
    """Try a batch with each bound and choice of the space, and complete the settings with what that shows.

    Args:
        settings: The settings as far as they are known.
        space: What varies.
        sources: The settings of ``fit``.

    Raises:
        CommandError: If a configuration is wrong, or an objective is not logged.
    """
    where = {path_of(parameter.name): parameter.where for parameter in space.all_parameters()}
    first: Any = None
    epochs = 0
    for corner in space.corners():
        try:
            cli = _try(settings, sources, corner, where)
        except CommandError as error:
            if error.exit_code == INTERRUPTED:
                raise
            if first is None or error.exit_code == USAGE:
                raise _naming_the_key(error, space, settings, sources, corner) from error
            continue  # such as too little memory for the largest: that is a trial's own failure
        finally:
            free_memory()
        first = first or cli
        epochs = max(epochs, cli.config["fit"].trainer.max_epochs or 0)
    assert first is not None
    objectives = settings.objectives
    if not objectives:
        monitor, mode = (
            getattr(first.model, "monitor", "val/loss"),
            getattr(first.model, "monitor_mode", "min"),
        )
        objectives = [f"{monitor}:{mode}"]
    _check_objectives(objectives, first)
    epochs = settings.max_resource or epochs
    if epochs < 1:
        raise CommandError(
            "trainer.max_epochs is not given, so a trial would have no end; add --trainer.max_epochs N"
        )
    if "trainer.max_epochs" in where and settings.pruner != "none":
        raise CommandError(
            f"{where['trainer.max_epochs']}: trainer.max_epochs varies, so trials cannot be compared on "
            "their way; leave it out, or give --pruner none"
        )
    return dataclasses.replace(settings, objectives=objectives, max_resource=epochs)


def _try(settings: Settings, sources: Sources, corner: Mapping[str, Any], where: Mapping[str, str]) -> Any:
    """Run a batch of one configuration."""
    fold = None if settings.folds is None else 0
    tried = Sources([*trial_arguments(settings, sources.configs, corner, fold), *TRY])
    tried.settings = [
        dataclasses.replace(setting, where=where.get(setting.key, setting.where))
        for setting in tried.settings
    ]
    check_settings(tried, "fit")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), leaving_no_group():
        return run_cli("fit", tried)


def _naming_the_key(
    error: CommandError, space: Space, settings: Settings, sources: Sources, corner: Mapping[str, Any]
) -> CommandError:
    """The error with the key as it stands in the space's file, if it is about one."""
    message = str(error)
    here = [p for p in space.all_parameters() if p.name in corner and message.startswith(f"{p.where}: ")]
    if not here:
        return error
    # Several may stand on one line; a class stands before its own settings.
    text = message.removeprefix(f"{here[0].where}: ")
    parameter = next((p for p in reversed(here) if _last(p) in re.findall(r"\w+", text)), here[0])
    key = path_of(parameter.name)
    shorter = [key, key.replace(".init_args.", "."), _last(parameter)]
    if text.startswith("there is no setting "):
        if "; did you mean " not in text:
            chosen = Sources(trial_arguments(settings, sources.configs, corner))
            text = f"there is no setting {key}{_near(key, chosen)}"
        return CommandError(f"{parameter.where}: {text}", error.exit_code)
    name = next((name for name in shorter if text.startswith((f"{name} is ", f"{name}: "))), None)
    text = f"{key}{text.removeprefix(name)}" if name is not None else f"{key}: {text}"
    if isinstance(parameter.distribution, FloatDistribution) and "must be int" in text:
        text += "; its type in the space is float, so make it int"
    return CommandError(f"{parameter.where}: {text}", error.exit_code)


def _last(parameter: Parameter) -> str:
    return path_of(parameter.name).rpartition(".")[2]


def _near(key: str, chosen: Sources) -> str:
    """A clause with arguments of a similar name, of the class whose argument a key was to be."""
    owner, _, name = key.rpartition(".")
    path = chosen.chosen_class(owner.removesuffix(".init_args"))
    if path is None or path.value is None:
        return ""
    module, _, class_name = path.value.rpartition(".")
    known = inspect.signature(getattr(importlib.import_module(module), class_name)).parameters
    return near_names(name, [argument for argument in known if argument != "params"])


def _check_objectives(objectives: list[str], run: Any) -> None:
    """Raise CommandError for an objective that a run does not have."""
    logged = [name for name in run.trainer.callback_metrics if not name.endswith("_step")]
    model = type(run.model).__name__
    for objective in parse_objectives(objectives):
        if objective.name not in logged and objective.name not in MEASURED:
            raise CommandError(
                f"--objective {objective.name}: is not logged by {model}; "
                f"choose from {', '.join([*sorted(logged), *MEASURED])}"
            )
        if objective.name in MEASURED:
            try:
                measure(run, objective.name)
            except Exception as error:
                raise CommandError(
                    f"--objective {objective.name}: cannot be measured on {model} ({error})"
                ) from error
    if parse_objectives(objectives)[0].name in MEASURED:
        raise CommandError(
            f"--objective {objectives[0]}: must not be the first, since it is not known while a trial runs"
        )
