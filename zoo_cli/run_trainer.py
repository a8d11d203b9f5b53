"""The zoo's own loggers and callbacks, added to what the user asked for."""

import shlex
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.profilers import PassThroughProfiler

import callbacks as zoo_callbacks
from zoo.tasks import TextTask
from zoo_cli.errors import CommandError
from zoo_cli.sources import Sources, shipped_configs
from zoo_cli.trial import TrialRun

__all__ = ["complete", "place_loggers"]


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, quickly: Lightning's own makes a generator for each of about 100 calls in a step."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Do nothing."""
        return nullcontext()


def place_loggers(trainer: Namespace, directory: Path) -> list[tuple[Namespace, Any]]:
    """Let loggers that name no folder of their own write into the run directory.

    Args:
        trainer: Trainer settings, changed in place.
        directory: The run directory.

    Returns:
        The settings that were changed, each with the ``save_dir`` that it had.
    """
    placed = []
    for logger in trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]:
        if isinstance(logger, Namespace) and logger.init_args.get("save_dir") in ("", ".", None):
            placed.append((logger, logger.init_args.get("save_dir")))
            logger.init_args["save_dir"] = str(directory)
    return placed


def complete(
    config: dict[str, Any],
    *,
    command: str,
    model: LightningModule,
    directory: Path,
    name: str,
    sources: Sources,
    trial: TrialRun | None = None,
) -> dict[str, Any]:
    """The trainer's arguments with metrics.csv, checkpoints, pictures, record and progress.

    Args:
        config: The user's trainer arguments.
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        model: The model, which knows what its best checkpoint is.
        directory: The run directory.
        name: Name of the run.
        sources: The settings as the user gave them.
        trial: The trial of a search that this run is, if it is one.
    """
    config = {
        **config,
        "default_root_dir": str(directory),
        "logger": _loggers(config["logger"], command, directory, with_default=trial is None),
    }
    given = config["callbacks"] or []
    own = list(given) if isinstance(given, list) else [given]
    wants_checkpoints = command == "fit" and config["enable_checkpointing"] is not False
    if trial is not None:
        config["enable_checkpointing"] = True  # a trial goes on from its last epoch
        config["min_epochs"] = config["min_steps"] = None  # it stops when the search says so
        own += [_last(directory), trial.pruning]
    elif wants_checkpoints and not any(isinstance(c, Checkpoint) for c in own):
        best = ModelCheckpoint(
            dirpath=directory / "checkpoints",
            filename="best",
            monitor=getattr(model, "monitor", "val/loss"),
            mode=getattr(model, "monitor_mode", "min"),
            enable_version_counter=False,
        )
        own += [best, _last(directory)]
    shown = shlex.join(["python", "cli.py", command, *sources.args])
    if command == "predict":
        if config["devices"] not in ("auto", 1, "1"):
            raise CommandError(f"--trainer.devices is {config['devices']!r}, but predict runs on one device")
        config["devices"] = 1
    if command == "fit" and trial is None:
        own += [zoo_callbacks.Curves(), zoo_callbacks.Predictions(), zoo_callbacks.FeatureMaps()]
        own.append(zoo_callbacks.MultiStepPredictions())
        if isinstance(model, TextTask) and not any(isinstance(c, zoo_callbacks.TextSamples) for c in own):
            own.append(zoo_callbacks.TextSamples())
    if command == "test":
        own.append(zoo_callbacks.Predictions())
    if command != "predict":
        own.append(zoo_callbacks.RunRecord(name=name, config=_shown(sources), command=shown))
    if trial is not None:
        config["enable_progress_bar"] = False
    elif config["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in own):
        own.append(zoo_callbacks.progress_bar())
    plugins = config["plugins"] or []
    plugins = list(plugins) if isinstance(plugins, list) else [plugins]
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(zoo_callbacks.AtomicCheckpointIO())
    config["plugins"] = plugins
    if config["profiler"] is None:
        config["profiler"] = NoProfiler()
    if config["enable_model_summary"] is None:
        config["enable_model_summary"] = False  # `models NAME` shows the layers
    config["callbacks"] = own
    return config


def _shown(sources: Sources) -> str | None:
    """The first configuration file, for a shipped one by its name below ``configs/``."""
    if not sources.configs:
        return None
    path = sources.configs[0].resolve()
    if path.is_relative_to(shipped_configs().resolve()):
        return f"configs/{path.relative_to(shipped_configs().resolve())}"
    return str(sources.configs[0])


def _last(directory: Path) -> ModelCheckpoint:
    """Saves after each epoch; not `save_last`, which saves only when the metric improves."""
    return ModelCheckpoint(
        dirpath=directory / "checkpoints",
        filename="last",
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


def _loggers(given: Any, command: str, directory: Path, *, with_default: bool) -> Any:
    if command != "fit" or (given is False and with_default):
        return False
    metrics = zoo_callbacks.MetricsCSV(directory)
    if not with_default and given in (None, True, False):
        return [metrics]
    if given in (None, True):
        from lightning.pytorch.loggers import TensorBoardLogger

        return [metrics, TensorBoardLogger(str(directory), name="", version="")]
    others = given if isinstance(given, list) else [given]
    return [metrics, *(logger for logger in others if not isinstance(logger, zoo_callbacks.MetricsCSV))]
