"""Run directories ``<root>/<name>/version_<n>/`` and the checkpoints in them."""

import os
from pathlib import Path

from zoo_cli.errors import FAILED, CommandError
from zoo_cli.names import class_of
from zoo_cli.sources import Setting, Sources, read_settings

__all__ = ["RUN_DIRECTORY", "find_checkpoint", "is_run_of", "new_version", "run_name", "run_of_checkpoint"]

RUN_DIRECTORY = "ZOO_RUN_DIRECTORY"
"""Environment variable by which the processes of one run learn its directory from the first of them."""


def run_name(sources: Sources, model_class_path: str) -> str:
    """Stem of the first configuration file, else the model's class name.

    The ``config.yaml`` of a run names that run; a trial's and the ``best.yaml`` of a study name the study.
    """
    if not sources.configs:
        return model_class_path.rpartition(".")[2]
    first = sources.configs[0].resolve()
    if first.name == "config.yaml" and first.parent.name.startswith("version_"):
        return first.parent.parent.name
    if first.name == "config.yaml" and first.parent.parent.name == "trials":
        return f"{first.parent.parent.parent.name}_{first.parent.name}"
    if first.name == "best.yaml" and (first.parent / "trials").is_dir():
        return f"{first.parent.name}_best"
    return first.stem


def versions(folder: Path) -> list[Path]:
    """The runs in a folder, oldest first."""
    found = [p for p in folder.glob("version_*") if p.name.removeprefix("version_").isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("version_")))


def new_version(root: Path, name: str) -> Path:
    """Make the directory of a new run.

    Raises:
        CommandError: If the directory cannot be made.
    """
    folder = root / name
    if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) > 0:
        return folder / "version_of_first_process"  # torchrun or Slurm: only the first process writes
    while True:
        existing = versions(folder)
        number = int(existing[-1].name.removeprefix("version_")) + 1 if existing else 0
        path = folder / f"version_{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if folder.exists() and not folder.is_dir():
                raise CommandError(f"{folder}: is a file, but must be a folder for runs", FAILED) from None
            continue  # another process was faster
        except OSError as error:
            raise CommandError(
                f"{path}: the run directory cannot be made ({error.strerror}); choose another folder with "
                "--trainer.default_root_dir",
                FAILED,
            ) from error
        return path


def run_of_checkpoint(checkpoint: Path) -> Path | None:
    """The run directory that a checkpoint lies in, or None."""
    folder = checkpoint.resolve().parent
    if folder.name == "checkpoints" and folder.parent.name.startswith("version_"):
        return folder.parent
    return None


def is_run_of(run: Path, model: Setting | None, data: Setting | None) -> bool:
    """Whether a run's saved configuration has the model and the data that the user names, if any."""
    try:
        settings = {setting.key: setting for setting in read_settings(run / "config.yaml")}
    except CommandError:
        return False
    for key, wanted in (("model", model), ("data", data)):
        saved = settings.get(f"{key}.class_path")
        if wanted is not None and saved is not None and class_of(key, wanted) is not class_of(key, saved):
            return False
    return True


def find_checkpoint(
    given: str, root: Path, name: str, *, model: Setting | None = None, data: Setting | None = None
) -> Path:
    """The file that ``--ckpt_path`` means.

    Args:
        given: A path; or ``best`` or ``last``, which mean the newest run of that name, model and data that
            has one.
        root: Folder of all runs.
        name: Name of the run.
        model: The model that the user chose, if any.
        data: The data that the user chose, if any.

    Raises:
        CommandError: If there is no such file.
    """
    if given not in ("best", "last"):
        path = Path(given)
        if not path.is_file():
            raise CommandError(f"--ckpt_path {given}: there is no such file", FAILED)
        return path
    for run in reversed(versions(root / name)):
        path = run / "checkpoints" / f"{given}.ckpt"
        if path.is_file() and is_run_of(run, model, data):
            return path
    chosen = " and ".join(str(setting.value) for setting in (model, data) if setting is not None)
    raise CommandError(
        f"--ckpt_path {given}: no run in {root / name}{f' of {chosen}' if chosen else ''} has a checkpoint; "
        "train one first with `fit`, or give a file",
        FAILED,
    )
