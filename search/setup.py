"""Beginning a study, joining it, and the file by which its folder knows it."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.samplers import BaseSampler
from optuna.study import StudyDirection

from callbacks._files import write_atomically
from search.errors import SearchError
from search.liveness import Watch
from search.objectives import parse_objectives
from search.samplers import grid_points, make_sampler
from search.schedulers import Scheduler, make_scheduler
from search.settings import Settings
from search.space import Space
from search.space_file import read_space
from search.storage import Storage, one_line
from search.study import SharedStudy, trial_seed

__all__ = ["StudyFile", "begin_or_join", "grid_of", "open_study", "scheduler_of"]

FILE_NAME = "study.json"
SPACE_NAME = "space.yaml"


@dataclass(frozen=True)
class StudyFile:
    """What a study's folder says of it.

    Attributes:
        folder: The folder.
        token: Is in the storage too: a machine that finds another one, or none, has not the same folder.
        storage: The storage's address without a password; None for the journal in the folder.
        settings: The study's settings.
    """

    folder: Path
    token: str
    storage: str | None
    settings: Settings

    @property
    def name(self) -> str:
        """The study's name."""
        return self.folder.name

    @property
    def configs(self) -> list[Path]:
        """The study's own copies of the configuration files, which may change, or lie on one machine only."""
        return [self.folder / "configs" / name for name in self.settings.configs]

    def write(self) -> None:
        """Write it, and the configurations and the space beside it."""
        content = {
            "token": self.token,
            "storage": self.storage,
            "settings": json.loads(self.settings.as_json()),
        }
        write_atomically(self.folder / SPACE_NAME, self.settings.space.encode())
        for path, text in zip(self.configs, self.settings.configs.values(), strict=True):
            write_atomically(path, text.encode())
        write_atomically(self.folder / FILE_NAME, (json.dumps(content, indent=2) + "\n").encode())

    @staticmethod
    def read(folder: Path) -> "StudyFile | None":
        """The file of a folder; None if there is none.

        Raises:
            SearchError: If it cannot be read.
        """
        path = folder / FILE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            settings = Settings(**content["settings"])
            return StudyFile(folder, content["token"], content["storage"], settings)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else one_line(error)
            if isinstance(error, OSError):
                reason = str(error.strerror)
            raise SearchError(
                f"{path}: cannot be read as the file of a study ({reason}); choose another --study"
            ) from error


def begin_or_join(folder: Path, settings: Settings, storage: Storage, num_trials: int | None) -> StudyFile:
    """Begin a study, or join the one of this name.

    Args:
        folder: The study's folder; its name is the study's.
        settings: Settings of this command.
        storage: Where the study is kept.
        num_trials: How many trials it is to have now; a study that has ended goes on if these are more.

    Raises:
        SearchError: If there is a study of that name that is another, or in another folder.
    """
    name = folder.name

    def begin() -> StudyFile:
        found = StudyFile.read(folder)
        if found is not None and found.storage != storage.url:
            raise SearchError(
                f"--storage is {storage.url or 'the folder'}, but the study {name} was begun with "
                f"{found.storage or 'its folder'}; give that, or choose another --study"
            )
        try:
            study = storage.optuna.get_study_id_from_name(name)
        except KeyError:
            if found is not None and (folder / "trials").exists():
                raise SearchError(
                    f"{folder}: is the folder of a study that is not in the storage any more; "
                    "choose another --study, or remove the folder"
                ) from None
            file = StudyFile(folder, os.urandom(8).hex(), storage.url, settings)
            file.write()
            directions = [StudyDirection[o.direction.upper()] for o in parse_objectives(settings.objectives)]
            _note(storage, storage.optuna.create_new_study(directions, name), file, num_trials)
            return file
        attrs = storage.optuna.get_study_user_attrs(study)
        if found is not None and "token" not in attrs and not storage.optuna.get_all_trials(study):
            _note(storage, study, found, num_trials)  # whoever began it did not come to its end
        elif found is None or attrs.get("token") != found.token:
            raise SearchError(_other_folder(folder, attrs))
        found.settings.must_equal(settings, folder)
        storage.optuna.set_study_user_attr(study, "num_trials", num_trials)
        return found

    return storage.locked(begin)


def _note(storage: Storage, study: int, file: StudyFile, num_trials: int | None) -> None:
    """Write on a study what it is; the token comes last, so that it says that all is there."""
    names = [objective.name for objective in parse_objectives(file.settings.objectives)]
    storage.optuna.set_study_system_attr(study, "study:metric_names", names)
    attrs: dict[str, Any] = {
        "num_trials": num_trials,
        "begun_at": f"{socket.gethostname()}:{file.folder.resolve()}",
        "token": file.token,
    }
    for key, value in attrs.items():
        storage.optuna.set_study_user_attr(study, key, value)


def _other_folder(folder: Path, attrs: dict[str, Any]) -> str:
    if "begun_at" not in attrs:
        return f"--study {folder.name}: the storage has another program's study of that name; choose another"
    return (
        f"{folder}: is not the folder of the study {folder.name}, which was begun at {attrs['begun_at']}; "
        "trials go on from checkpoints there, so all machines need it under a shared path: give its "
        "parent with --studies, or choose another --study"
    )


def scheduler_of(settings: Settings) -> Scheduler:
    """The scheduler.

    Raises:
        SearchError: If an argument is out of its range.
    """
    try:
        return make_scheduler(
            settings.pruner,
            max_resource=settings.max_resource,
            min_resource=settings.min_resource,
            reduction_factor=settings.reduction_factor,
            num_trials=settings.cohort,
        )
    except ValueError as error:
        name, space, rest = str(error).partition(" ")
        option = {"scheduler": "--pruner", "max_resource": "--trainer.max_epochs", "num_trials": "--trials"}
        raise SearchError(f"{option.get(name, '--' + name.replace('_', '-'))}{space}{rest}") from error


def open_study(file: StudyFile, storage: Storage, watch: Watch | None = None) -> SharedStudy:
    """The study, ready for a worker.

    Args:
        file: What its folder says.
        storage: Where it is kept.
        watch: Notices dead workers.

    Raises:
        SearchError: If its settings are not possible.
    """
    settings = file.settings
    space = read_space(file.folder / SPACE_NAME)
    objectives = parse_objectives(settings.objectives)
    return SharedStudy(
        storage=storage,
        name=file.name,
        objectives=objectives,
        space=space,
        scheduler=scheduler_of(settings),
        make_sampler=lambda number: _sampler(settings, space, number),
        grid=grid_of(space) if settings.sampler == "grid" else None,
        watch=watch,
    )


def _sampler(settings: Settings, space: Space, number: int) -> BaseSampler:
    return make_sampler(
        settings.sampler,
        seed=trial_seed(settings.seed, number),
        trial_number=number,
        study_seed=settings.seed,
        space=space.distributions(),
        acquisition=settings.acquisition,
    )


def grid_of(space: Space) -> list[dict[str, Any]]:
    """The points of a grid over the space, for the sampler of that name."""
    numbers = {parameter.name: parameter.num for parameter in space.all_parameters() if parameter.num}
    return grid_points(space.distributions(), numbers)
