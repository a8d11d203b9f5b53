"""LightningCLI with the zoo's rules: links that never lie, checkpoints that never mix, one run directory."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from callbacks._files import write_atomically
from callbacks.progress import PlainProgress, RichProgress, print_metrics
from zoo._hparams import is_spec
from zoo.tasks.base import Task
from zoo_cli import checkpoints, predict, run_directory, run_trainer
from zoo_cli.channels_last import SameLayout, use_channels_last
from zoo_cli.commands import RUN_COMMANDS
from zoo_cli.errors import CommandError
from zoo_cli.links import LINKED_VALUES, MISSING, linked_value
from zoo_cli.names import class_of
from zoo_cli.resume import ChangedSettings, changed_arguments, with_own_defaults
from zoo_cli.sources import Setting, Sources
from zoo_cli.trial import TrialRun

__all__ = ["ZooCLI"]


@rank_zero_only
def _say_not_read(where: str) -> None:
    print(f"{where}: not read, since the checkpoint fills the network", file=sys.stderr)


class ZooCLI(LightningCLI):
    """One run of ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        command: Which of them.
        sources: The settings, checked for classes and arguments that do not exist.
        failure: Filled with the part (``data`` or ``model``) that could not be made, and its error.
        stage: Filled with the command when it starts to run: what fails then is no matter of usage.
        trial: The trial of a search that this run is, if it is one.

    Attributes:
        run_directory: Where this run writes; None for a trial run (``fast_dev_run``).
    """

    def __init__(
        self,
        command: str,
        sources: Sources,
        failure: list[tuple[str, Exception]],
        stage: list[str],
        trial: TrialRun | None = None,
    ) -> None:
        self.command = command
        self.sources = sources
        self.failure = failure
        self.stage = stage
        self.trial = trial
        self.run_directory: Path | None = None
        self._checkpoint: dict[str, Any] | None = None
        self._checkpoint_path: Path | None = None
        self._restored: dict[str, Any] = {}
        self._start_arguments: dict[str, Any] = {}  # those that a checkpoint makes needless
        self._loggers: list[Any] = []
        quiet = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={**quiet, command: {**quiet, "description": f"{RUN_COMMANDS[command]}."}},
            args=[command, *sources.args],
        )

    # Parsing

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the one that was asked for: describing each takes a tenth of a second."""
        return {self.command: LightningCLI.subcommands()[self.command] | {"weights_only", "verbose"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the links from data to model, ``--compile`` and ``--channels_last``."""
        for name in LINKED_VALUES:
            parser.link_arguments(
                "data", f"model.init_args.{name}", compute_fn=self._link(name), apply_on="instantiate"
            )
        parser.add_argument(
            "--compile", type=bool, default=False, help="Compile the network with torch.compile, in place."
        )
        parser.add_argument(
            "--channels_last",
            type=bool,
            default=False,
            help="Keep the channels of images last in memory, which makes many convolutions faster.",
        )
        if self.command == "predict":
            predict.add_arguments(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, with a checkpoint's settings between the class defaults and what the user gave."""
        flags = [arg.split("=")[0] for arg in args if arg.startswith("--")]
        describing = any(flag == "--print_config" or flag.endswith("help") for flag in flags)
        given = self._given_checkpoint()
        if given is not None and not describing:
            self._restore(given)
            args = [*args, f"--ckpt_path={self._checkpoint_path}"]
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / "base.yaml"
            settings = with_own_defaults(self._restored, self.sources)
            base.write_text(yaml.safe_dump({"model": settings} if settings else {"compile": False}))
            self.config = parser.parse_args([args[0], "--config", str(base), *args[1:]])
        if self._checkpoint_path is not None:
            self._refuse_other_network()
            init_args = self.config[self.command].model.init_args
            for name in Task.start_arguments & set(init_args.keys()):
                self._start_arguments[name], init_args[name] = init_args[name], None
                if self._start_arguments[name] is not None:
                    _say_not_read(self.sources.where(f"model.init_args.{name}"))

    def _given_checkpoint(self) -> str | None:
        """What ``--ckpt_path`` says; only ``fit`` goes without, and what measures a network's ``weights``."""
        setting = self.sources.last("ckpt_path")
        if setting is None:
            return None if self.command == "fit" else "best"
        if setting.value in (None, "null"):
            weights = self.sources.value("model.init_args.weights") or self.sources.value("model.weights")
            if self.command != "fit" and weights is None:
                raise CommandError(
                    f"{setting.where}: null, so nothing says what to {self.command}; leave it out for the "
                    "newest run's best checkpoint, or name --model.init_args.weights too"
                )
            return None
        return setting.value

    def _restore(self, given: str) -> None:
        """Read the checkpoint; what it says of the model goes before the user's settings."""
        model, data = self.sources.chosen_class("model"), self.sources.chosen_class("data")
        path = run_directory.find_checkpoint(given, self._root(), self._name(), model=model, data=data)
        self._checkpoint_path = path
        self._checkpoint = checkpoints.read_checkpoint(path)
        saved = checkpoints.model_settings(self._checkpoint, path)
        model_class = class_of("model", Setting("model", saved["class_path"], f"--ckpt_path {path}"))
        if model is not None and class_of("model", model) is not model_class:
            raise CommandError(
                f"{model.where}: model is {model.value}, but the checkpoint {path} is of "
                f"{saved['class_path']}"
            )
        self._restored = checkpoints.settings_to_restore(saved, self._given(), self.command, path)

    def _refuse_other_network(self) -> None:
        path = self._checkpoint_path
        assert self._checkpoint is not None
        assert path is not None
        saved = checkpoints.model_settings(self._checkpoint, path)
        settings = self.config[self.command].model
        given = {name: settings.init_args[name] for name in self._given() if name in settings.init_args}
        model_class = class_of("model", Setting("model", saved["class_path"], f"--ckpt_path {path}"))
        checkpoints.refuse_other_network(saved, given, model_class, path, self.sources.where)

    def _given(self) -> set[str]:
        """Names of the model's arguments that the user gave."""
        return self.sources.given_arguments("model")

    def _parse_ckpt_path(self) -> None:
        """Done in :meth:`parse_arguments`: Lightning's own way lets a checkpoint override explicit flags."""

    def _link(self, name: str) -> Any:
        def from_data(data: Any) -> Any:
            model = self.config[self.command].model
            user, restored = self._given(), self._restored.get("init_args", {})
            return linked_value(
                name,
                data=data,
                model_class=class_of("model", Setting("model", model.class_path, "model")),
                explicit=model.init_args[name] if name in user else restored.get(name, MISSING),
                where=self.sources.where,
                saved=name in restored and name not in user,
            )

        from_data.__name__ = f"{name}_of"  # shown by --help
        return from_data

    def _root(self) -> Path:
        return Path(self.sources.value("trainer.default_root_dir") or "runs")

    def _name(self) -> str:
        model = self.sources.chosen_class("model")
        class_path = (model.value if model else None) or self._restored.get("class_path", "model")
        return run_directory.run_name(self.sources, class_path)

    # Making model, data and trainer

    def before_instantiate_classes(self) -> None:
        """Make the run directory, and record which part fails, with its own error."""
        for key, base in (("data", LightningDataModule), ("model", LightningModule)):
            self.parser.add_instantiator(self._instantiator(key), base, subclasses=True)
        trainer = self.config[self.command].trainer
        if not trainer.fast_dev_run:
            self._loggers = run_trainer.place_loggers(trainer, self._choose_run_directory())

    def _choose_run_directory(self) -> Path:
        """The checkpoint's run, or a new one; processes that Lightning started are told the first one's."""
        told = os.environ.get(run_directory.RUN_DIRECTORY)
        if told is not None:
            self.run_directory = Path(told)
            return self.run_directory
        path, root, name = self._checkpoint_path, self._root(), self._name()
        run = run_directory.run_of_checkpoint(path) if path is not None else None
        data = self.sources.chosen_class("data")
        if run is not None and self.command == "fit" and run.parent != (root / name).resolve():
            run = None
        if run is not None and not run_directory.is_run_of(run, None, data):
            run = None  # its record is of other data
        if run is None:
            run = run_directory.new_version(root, name)
        os.environ[run_directory.RUN_DIRECTORY] = str(run)
        self.run_directory = run
        return run

    def _instantiator(self, key: str) -> Any:
        def make(cls: Any, *args: Any, applied_instantiation_links: Any = None, **kwargs: Any) -> Any:
            try:
                instance = cls(*args, **kwargs)
                if key == "data" and self._checkpoint is not None and cls.__qualname__ in self._checkpoint:
                    instance.load_state_dict(self._checkpoint[cls.__qualname__])
            except Exception as error:
                self.failure.append((key, error))
                raise
            return instance

        return make

    def instantiate_classes(self) -> None:
        """Make data, model and trainer; tell the model how its optimizer was written."""
        super().instantiate_classes()
        for logger, save_dir in self._loggers:
            logger.init_args["save_dir"] = save_dir  # the saved configuration is of no certain run
        settings = self.config[self.command].model.init_args
        if isinstance(self.model, Task):
            for name in LINKED_VALUES:
                if name in self.model.hparams:
                    settings[name] = self.model.hparams[name]
            for name, value in settings.as_dict().items():
                if is_spec(value):
                    self.model.set_saved_argument(name, json.loads(json.dumps(value)))
        if self.config[self.command].channels_last:
            use_channels_last(self.model, self.sources.where("channels_last"))
        if self.config[self.command].compile:
            self.model.net.compile()  # in place: the state_dict keeps its keys

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with the zoo's own loggers and callbacks."""
        config = self.config_init[self.command].trainer.as_dict()
        changes = self._changed_settings()
        if self.run_directory is not None and not config["barebones"]:
            config = run_trainer.complete(
                config,
                command=self.command,
                model=self.model,
                directory=self.run_directory,
                name=self._name(),
                sources=self.sources,
                trial=self.trial,
            )
            if self.command == "fit" and self._checkpoint_path is not None:
                config["callbacks"].append(SameLayout())
            if changes:
                config["callbacks"].append(ChangedSettings(changes))
        return Trainer(**config)

    def _changed_settings(self) -> dict[str, dict[str, tuple[Any, Any]]]:
        """Arguments of optimizer and schedule that differ from the checkpoint's, when training goes on."""
        changes: dict[str, dict[str, tuple[Any, Any]]] = {}
        if self.command != "fit" or not self._restored:
            return changes
        for name in ("optimizer", "lr_scheduler"):
            saved = self._restored["init_args"].get(name)
            wanted = self.config[self.command].model.init_args.get(name)
            wanted = None if wanted is None else json.loads(json.dumps(wanted.as_dict()))
            where = self.sources.where(f"model.init_args.{name}")
            if changed := changed_arguments(name, saved, wanted, where):
                changes[name] = changed
        return changes

    # Running

    def _run_subcommand(self, subcommand: str) -> None:
        self.stage.append(subcommand)
        super()._run_subcommand(subcommand)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Lightning's own table of metrics is left out: the progress callback prints them."""
        arguments = super()._prepare_subcommand_kwargs(subcommand)
        return {**arguments, "verbose": False} if subcommand in ("validate", "test") else arguments

    def before_validate(self) -> None:
        """Say which checkpoint is measured."""
        if self.trainer.is_global_zero and self._checkpoint_path is not None:
            print(f"{self._checkpoint_path}", flush=True)

    before_test = before_validate

    def after_validate(self) -> None:
        """Print the metrics, if no progress callback of ours has done so."""
        self._print_metrics("val/")

    def after_test(self) -> None:
        """Print the metrics, if no progress callback of ours has done so."""
        self._print_metrics("test/")

    def _print_metrics(self, prefix: str) -> None:
        bar = self.trainer.progress_bar_callback
        if self.trainer.is_global_zero and not isinstance(bar, PlainProgress | RichProgress):
            print_metrics(self.trainer, prefix)

    def before_fit(self) -> None:
        """Save the configuration, linked values included, and say what is about to run."""
        if self.run_directory is None or not self.trainer.is_global_zero:
            return
        parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        print(
            f"{self.run_directory}: {type(self.model).__name__} with {parameters:,} parameters on "
            f"{type(self.datamodule).__name__}, {self.trainer.strategy.root_device}"
        )
        settings = self.config[self.command].clone()
        for key in ("config", "ckpt_path"):
            settings.pop(key, None)
        for name, value in self._how_the_run_began().items():
            settings.model.init_args[name] = value
        text = self._parser(self.command).dump(settings, skip_link_targets=False, skip_none=False)
        write_atomically(self.run_directory / "config.yaml", text.encode())

    def _how_the_run_began(self) -> dict[str, Any]:
        """What filled the network before its first step: as the checkpoint's run has it, else as given."""
        run = (
            None if self._checkpoint_path is None else run_directory.run_of_checkpoint(self._checkpoint_path)
        )
        if run is None or not (run / "config.yaml").is_file():
            return self._start_arguments
        saved = Sources(["--config", str(run / "config.yaml")])
        return {name: saved.value(f"model.init_args.{name}") for name in self._start_arguments}

    def predict(self, model: LightningModule, datamodule: Any, **arguments: Any) -> None:
        """Predict new data, or the test split."""
        predict.run(self.trainer, model, datamodule, self.config[self.command], arguments)
