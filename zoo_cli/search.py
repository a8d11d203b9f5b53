"""``search``: hyperparameter search over a configuration (chapter 19)."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.errors import SearchError
from search.objectives import parse_objectives
from search.samplers import check_sampler
from search.settings import Settings
from search.setup import StudyFile, begin_or_join, grid_of, scheduler_of
from search.space import Space
from search.space_file import read_space
from search.storage import SQLiteStorage, open_storage
from zoo_cli import run_directory
from zoo_cli.errors import FAILED, INTERRUPTED, USAGE, CommandError
from zoo_cli.kfold import require_folds
from zoo_cli.names import with_full_names
from zoo_cli.search_options import parse_options, print_help
from zoo_cli.search_stop import Stop
from zoo_cli.search_supervisor import Supervisor, devices_of_workers
from zoo_cli.search_tried import tried
from zoo_cli.sources import Sources, find_config

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
    stop = Stop()
    try:
        with stop.listening(), _explained(options, USAGE):
            return _search(options, rest)
    except KeyboardInterrupt:
        message = "stopped; nothing has been trained"
    except CommandError as error:
        if error.exit_code != INTERRUPTED:
            raise
        message = str(error)
    print(message, file=sys.stderr)  # no error: the user asked for it
    return stop.exit_code


def _search(options: Any, rest: list[str]) -> int:
    sources = Sources(with_full_names(rest))
    if not sources.configs and sources.chosen_class("model") is None:
        raise CommandError("neither --config FILE nor --model NAME and --data NAME is given: what to search?")
    space = read_space(find_config(options.space, "--space"))
    trials = options.trials or (None if options.timeout else 30)
    settings = _settings(options, sources, space, trials)
    name = options.study or run_directory.run_name(sources, "study")
    folder = Path(options.studies) / name
    StudyFile.read(folder)  # a file that cannot be read is told before anything else
    if options.folds is not None:
        require_folds(sources, "--folds")
    try:
        settings = tried(settings, space, sources)
    except CommandError as error:
        if error.exit_code == INTERRUPTED:
            raise KeyboardInterrupt from error
        raise
    check_sampler(settings.sampler, space.distributions(), num_objectives=len(settings.objectives))
    if settings.sampler == "grid":
        grid_of(space)  # it needs to know how many points each parameter has
    scheduler = scheduler_of(settings)
    devices = devices_of_workers(sources, options.workers, options.devices_per_trial)
    _check_workers(options.storage, options.workers)
    with (
        _folder(folder),
        contextlib.closing(open_storage(options.storage, folder, name)) as storage,
    ):
        if isinstance(storage, SQLiteStorage):
            storage.lock_for_good()
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
        with _explained(options, FAILED):
            return supervisor.run()


@contextlib.contextmanager
def _explained(options: Any, exit_code: int) -> Iterator[None]:
    """Let errors of the study and of files be the user's, with this exit code."""
    try:
        yield
    except SearchError as error:
        raise CommandError(str(error), exit_code) from error
    except OSError as error:
        place = error.filename or options.studies
        reason = (
            f"{place}: cannot be read or written ({error.strerror}); choose another folder with --studies"
        )
        raise CommandError(reason, exit_code) from error


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a study's folder; it goes again if nothing comes into it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()


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


def _check_workers(storage: str | None, workers: int) -> None:
    if workers > 1 and storage is not None and storage.startswith("sqlite"):
        raise CommandError(
            f"--workers is {workers}, but must be 1 with SQLite, from which several workers have been seen "
            "to get the same trial; leave --storage out, or give postgresql://..."
        )
