"""``search``: hyperparameter search over a configuration (chapter 19)."""

import contextlib
import dataclasses
import io
import time
from pathlib import Path
from typing import Any

from search.errors import SearchError
from search.objectives import parse_objectives
from search.samplers import check_sampler
from search.settings import Settings
from search.setup import begin_or_join, grid_of, scheduler_of
from search.space import Space, path_of
from search.space_file import read_space
from search.storage import SQLiteStorage, Storage, open_storage
from zoo_cli import run_directory
from zoo_cli.errors import FAILED, INTERRUPTED, USAGE, CommandError
from zoo_cli.kfold import require_folds
from zoo_cli.names import check_settings, with_full_names
from zoo_cli.run import run_cli
from zoo_cli.search_options import parse_options, print_help
from zoo_cli.search_supervisor import Supervisor, devices_of_workers
from zoo_cli.search_trial import MEASURED, free_memory, measure, trial_arguments
from zoo_cli.sources import Sources, find_config
from zoo_cli.trial import leaving_no_group

__all__ = ["search"]


def search(args: list[str]) -> int:
    """Search, or go on with a search.

    Args:
        args: Arguments after ``search``.

    Returns:
        The exit code.

    Raises:
        CommandError: For everything that the user can mend; up to then nothing has been trained.
    """
    if not args or any(arg in ("-h", "--help") for arg in args):
        print_help()
        return 0 if args else USAGE
    options, rest = parse_options(args)
    try:
        return _search(options, rest)
    except SearchError as error:
        raise CommandError(str(error), USAGE) from error
    except OSError as error:
        place = error.filename or options.studies
        reason = (
            f"{place}: cannot be read or written ({error.strerror}); choose another folder with --studies"
        )
        raise CommandError(reason, FAILED) from error


def _search(options: Any, rest: list[str]) -> int:
    sources = Sources(with_full_names(rest))
    space = read_space(find_config(options.space, "--space"))
    trials = options.trials or (None if options.timeout else 30)
    settings = _settings(options, sources, space, trials)
    name = options.study or run_directory.run_name(sources, "study")
    folder = Path(options.studies) / name
    if options.folds is not None:
        require_folds(sources, "--folds")
    settings = _tried(settings, space, sources)
    check_sampler(settings.sampler, space.distributions(), num_objectives=len(settings.objectives))
    scheduler = scheduler_of(settings)
    devices = devices_of_workers(sources, options.workers, options.devices_per_trial)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(open_storage(options.storage, folder, name)) as storage:
        _check_workers(storage, options.workers)
        file = begin_or_join(folder, settings, storage, trials)
        plan = scheduler.describe(f"{settings.unit}s")
        print(f"{folder}: {settings.sampler}, {settings.pruner}: {plan}")
        supervisor = Supervisor(
            file=file,
            storage=storage,
            storage_url=options.storage,
            devices=devices,
            deadline=None if options.timeout is None else time.monotonic() + options.timeout,
        )
        return supervisor.run()


def _settings(options: Any, sources: Sources, space: Space, trials: int | None) -> Settings:
    """The settings as far as they are known before the configuration has been tried."""
    objectives = options.objective or []
    whole = len(objectives) > 1 or options.folds or sources.value("trainer.max_epochs") == "1"
    pruner = options.pruner or ("none" if whole else "asha")
    if len(objectives) > 1 and pruner != "none":
        raise CommandError(f"--pruner is {pruner!r}, but must be none for several objectives")
    if pruner == "successive_halving" and trials is None:
        raise CommandError("--pruner successive_halving needs --trials: it halves all of them together")
    remaining = iter(sources.args)
    flags = []
    for arg in remaining:
        if arg == "--config":
            next(remaining)
        else:
            flags.append(arg)
    return Settings(
        configs=_texts(sources.configs),
        flags=flags,
        space=space.text,
        objectives=[str(objective) for objective in parse_objectives(objectives)] if objectives else [],
        sampler=options.sampler,
        acquisition=options.acquisition,
        pruner=pruner,
        min_resource=options.min_resource,
        reduction_factor=options.reduction_factor,
        max_resource=options.folds or 0,
        folds=options.folds,
        seed=options.seed,
        devices_per_trial=options.devices_per_trial,
        cohort=_cohort(trials, options.sampler, space) if pruner == "successive_halving" else None,
    )


def _cohort(trials: int | None, sampler: str, space: Space) -> int | None:
    """Number of trials that are halved together."""
    if sampler != "grid" or trials is None:
        return trials
    return min(trials, len(grid_of(space)))


def _texts(paths: list[Path]) -> dict[str, str]:
    """Texts of files by name, which is made unique."""
    texts: dict[str, str] = {}
    for path in paths:
        name = path.name
        while name in texts:
            name = f"_{name}"
        texts[name] = path.read_text(encoding="utf-8")
    return texts


def _tried(settings: Settings, space: Space, sources: Sources) -> Settings:
    """Try a batch with each bound and choice of the space, and complete the settings with what that shows.

    Raises:
        CommandError: If a configuration is wrong, or an objective is not logged.
    """
    where = {path_of(parameter.name): parameter.where for parameter in space.all_parameters()}
    first: Any = None
    epochs = 0
    for corner in space.corners():
        fold = None if settings.folds is None else 0
        tried = Sources([*trial_arguments(settings, sources.configs, corner, fold), *TRY])
        tried.settings = [
            dataclasses.replace(setting, where=where.get(setting.key, setting.where))
            for setting in tried.settings
        ]
        check_settings(tried, "fit")
        output = io.StringIO()
        try:
            with (
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(output),
                leaving_no_group(),
            ):
                cli = run_cli("fit", tried)
        except CommandError as error:
            if error.exit_code == INTERRUPTED:
                raise CommandError("stopped; nothing has been trained", INTERRUPTED) from error
            if first is None or error.exit_code == USAGE:
                raise
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
    logged = [name for name in first.trainer.callback_metrics if not name.endswith("_step")]
    for objective in parse_objectives(objectives):
        if objective.name not in logged and objective.name not in MEASURED:
            raise CommandError(
                f"--objective {objective.name}: is not logged by {type(first.model).__name__}; "
                f"choose from {', '.join([*sorted(logged), *MEASURED])}"
            )
        if objective.name in MEASURED:
            try:
                measure(first, objective.name)
            except Exception as error:
                model = type(first.model).__name__
                raise CommandError(
                    f"--objective {objective.name}: cannot be measured on {model} ({error})"
                ) from error
    if parse_objectives(objectives)[0].name in MEASURED:
        raise CommandError(
            f"--objective {objectives[0]}: must not be the first, since it is not known while a trial runs"
        )
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


TRY = [
    *("--trainer.fast_dev_run=1", "--trainer.enable_progress_bar=false", "--trainer.logger=false"),
    *("--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto"),
]


def _check_workers(storage: Storage, workers: int) -> None:
    if not isinstance(storage, SQLiteStorage):
        return
    storage.lock_for_good()
    if workers > 1:
        raise CommandError(
            f"--workers is {workers}, but must be 1 with SQLite, from which several workers have been seen "
            "to get the same trial; leave --storage out, or give postgresql://..."
        )
