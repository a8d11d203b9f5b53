"""Run directories ``<root>/<name>/version_<n>/`` and the checkpoints in them."""

from pathlib import Path

from zoo_cli.errors import FAILED, CommandError
from zoo_cli.sources import Sources

__all__ = ["RUN_DIRECTORY", "find_checkpoint", "new_version", "run_name", "run_of_checkpoint"]

RUN_DIRECTORY = "ZOO_RUN_DIRECTORY"
"""Environment variable by which the processes of one run learn its directory from the first of them."""


def run_name(sources: Sources, model_class_path: str) -> str:
    """Stem of the first configuration file, else the model's class name.

    The ``config.yaml`` of a run names that run.
    """
    if not sources.configs:
        return model_class_path.rpartition(".")[2]
    first = sources.configs[0].resolve()
    if first.name == "config.yaml" and first.parent.name.startswith("version_"):
        return first.parent.parent.name
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


def find_checkpoint(given: str, root: Path, name: str) -> Path:
    """The file that ``--ckpt_path`` means.

    Args:
        given: A path; or ``best`` or ``last``, which mean the newest run of that name that has one.
        root: Folder of all runs.
        name: Name of the run.

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
        if path.is_file():
            return path
    raise CommandError(
        f"--ckpt_path {given}: no run in {root / name} has a checkpoint; "
        "train one first with `fit`, or give a file",
        FAILED,
    )
