"""What every model of the zoo shares: saved arguments, optimizers, metrics, the guard against lost runs."""

import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from zoo._hparams import BUILDS, CLASS_PATH, UNSAVED, callable_from_spec, is_spec, spec_or_marker
from zoo.tasks._sums import MetricSums, wide

__all__ = ["LRSchedulerCallable", "NonFiniteLossError", "OptimizerCallable", "Task"]

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


class NonFiniteLossError(RuntimeError):
    """The training loss became nan or infinite; the message says when."""


class Task(L.LightningModule):
    """Base of the task bases: the book's ``Module`` (section 3.2.2) on Lightning.

    A task says in :meth:`measure` what its loss and metrics are; a model holds the network in ``self.net``.
    Metrics are named ``train/loss``, ``val/loss``, ``val/acc``, ``test/...`` for every model. During training
    they are sums on the device, read every ``log_every_n_steps`` steps (as ``train/loss_step``) and at the
    epoch's end.

    Args:
        optimizer: Callable that takes parameters (or parameter groups) and returns an optimizer. Its weight
            decay applies to weights only, never to biases and other vectors.
        lr_scheduler: Callable that takes the optimizer and returns a learning rate schedule; None keeps the
            learning rate constant.
        lr_scheduler_config: Lightning's options for the schedule: ``interval`` (``epoch`` or ``step``),
            ``frequency``, ``monitor``, ``strict``, ``name``. ReduceLROnPlateau watches ``val/loss`` by
            default.

    Attributes:
        net: The network, a plain module that knows no trainer; this is what gets exported or compiled.
    """

    monitor: ClassVar[str] = "val/loss"
    """Metric by which the best checkpoint is chosen."""
    monitor_mode: ClassVar[str] = "min"
    training_arguments: ClassVar[frozenset[str]] = frozenset(
        {"optimizer", "lr_scheduler", "lr_scheduler_config", "loss", "huber_delta", "label_smoothing", "init"}
    )
    """Constructor arguments that may differ from a checkpoint's: they leave the trained network as it is."""
    start_arguments: ClassVar[frozenset[str]] = frozenset({"weights"})
    """Constructor arguments that only fill the network at the start; checkpoints, which fill it, say None."""

    net: nn.Module

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        known = {"interval", "frequency", "monitor", "strict", "name"}
        if unknown := set(lr_scheduler_config or {}) - known:
            raise ValueError(f"lr_scheduler_config has {sorted(unknown)}, but may only have {sorted(known)}")
        interval = (lr_scheduler_config or {}).get("interval", "epoch")
        if interval not in ("epoch", "step"):
            raise ValueError(f"lr_scheduler_config has interval {interval!r}, but must have epoch or step")
        self.build_optimizer = optimizer
        self.build_lr_scheduler = lr_scheduler
        self.lr_scheduler_config = lr_scheduler_config or {}
        self._sums = {stage: MetricSums() for stage in ("train", "val", "test")}
        self._sums_epoch = -1
        self._logged: tuple[dict[str, float], int] = ({}, 0)
        self._logged_step = 0
        self._warned_of_unsaved = False

    # Constructor arguments, saved as plain values

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            cls.__init__ = _saving_arguments(cls.__init__)  # type: ignore[method-assign]

    def set_saved_argument(self, name: str, value: Any) -> None:
        """Write this value of an argument into checkpoints (the command line has specs of its own)."""
        self.hparams[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the name of the running hook some forty times a step, and a module's way of setting
        # an attribute (is it a parameter, a buffer, a module?) takes a twentieth of a small model's step.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # The task

    def measure(self, batch: Any) -> tuple[Tensor, dict[str, Tensor], int | Tensor]:
        """Loss and metrics of a batch.

        Returns:
            The mean loss with its graph; sums of the other metrics over the batch; the number of examples (or
            of tokens), a tensor where only the device knows it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define measure()")

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Metrics that follow from the means, as the perplexity follows from the loss."""
        return {}

    def network_inputs(self, batch: Any) -> tuple[Tensor, ...]:
        """What the network takes of a batch, in the order of ``forward``."""
        return (batch[0],)

    def example_batch(self, batch_size: int) -> Any:
        """A random batch of the form that the task expects, for tests, benchmarks and layer tables."""
        raise NotImplementedError(f"{type(self).__name__} must define example_batch()")

    def random_inputs(self, batch_size: int) -> Tensor:
        """Inputs like ``example_input_array``, uniform in [0, 1)."""
        example = self.example_input_array
        if not isinstance(example, Tensor):
            raise TypeError(f"example_input_array is {type(example).__name__}, but must be a tensor")
        return torch.rand(batch_size, *example.shape[1:], device=example.device)

    @torch.no_grad()
    def output_shape(self, inputs: Tensor) -> torch.Size:
        """Shape of the output for these inputs; leaves each layer's training or evaluation mode as it was."""
        with self.evaluating():
            shape: torch.Size = self(inputs).shape
        return shape

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode; afterwards each layer has the mode that it had."""
        modes = [(module, module.training) for module in self.modules()]
        try:
            self.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training

    def forward(self, x: Tensor) -> Tensor:
        """The network's output."""
        output: Tensor = self.net(x)
        return output

    # Steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of a batch; its metrics are only added up."""
        return self._add("train", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add up a validation batch."""
        self._add("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Add up a test batch."""
        self._add("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Predictions for the inputs of a batch."""
        output: Tensor = self(*self.network_inputs(batch))
        return output

    def _add(self, stage: str, batch: Any) -> Tensor:
        loss, sums, examples = self.measure(batch)
        self._sums[stage].add({"loss": wide(loss) * examples, **sums}, examples)
        return loss

    # Metrics

    def setup(self, stage: str) -> None:
        """Start a run with empty sums; a checkpoint may fill them again."""
        for sums in self._sums.values():
            sums.reset()
        self._logged, self._logged_step = ({}, 0), 0

    def on_train_epoch_start(self) -> None:
        """Start an epoch with empty sums, unless they were restored within this very epoch."""
        if self._sums_epoch != self.current_epoch:
            self._empty_train_sums()
            self._sums_epoch = self.current_epoch

    def _empty_train_sums(self) -> None:
        """Start counting anew; what was not logged yet becomes a debt, which the next log counts in."""
        totals, examples = self._sums["train"].totals(), self._sums["train"].examples
        before, examples_before = self._logged
        debt = {name: before.get(name, 0.0) - totals.get(name, 0.0) for name in {**before, **totals}}
        self._logged = (debt, examples_before - examples)
        self._sums["train"].reset()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Start the epoch where Lightning does not say so: resumed from an epoch's last step."""
        if self._sums_epoch != self.current_epoch:
            self.on_train_epoch_start()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the mean since the last log, and stop when the loss was not finite."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning sets it undeclared
        step = self.trainer.global_step
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        if self.trainer.is_last_batch:  # an epoch may have fewer steps than there are between two logs
            self._log_to_files({"lr": rate}, step)
        # Where several batches make a step, it stays the same until the next one is made.
        if every == 0 or step % every or step == self._logged_step:
            return
        self._logged_step = step
        self._raise_if_not_finite()
        sums = self._sums["train"]
        before, examples_before = self._logged
        totals, examples = sums.totals(), sums.examples - examples_before
        since = {name: (totals[name] - before.get(name, 0.0)) / examples for name in totals}
        means = {f"train/{name}_step": v for name, v in {**since, **self.derived_metrics(since)}.items()}
        self._logged = (totals, sums.examples)
        self.log("train/loss_step", means["train/loss_step"], prog_bar=True, logger=False, on_step=True)
        self._log_to_files({**means, "lr": rate}, step)

    def _log_to_files(self, metrics: dict[str, float], step: int) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics, step=step)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means."""
        self._raise_if_not_finite()
        self._log_epoch("train")
        self._empty_train_sums()

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self._sums["val"].reset()

    def on_validation_epoch_end(self) -> None:
        """Log the validation means."""
        self._log_epoch("val")

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self._sums["test"].reset()

    def on_test_epoch_end(self) -> None:
        """Log the test means."""
        self._log_epoch("test")

    def _log_epoch(self, stage: str) -> None:
        sums = self._sums[stage].over_processes(self.trainer.strategy, self.device)
        means = {name: total / sums.examples for name, total in sums.totals().items()}
        for name, value in {**means, **self.derived_metrics(means)}.items():
            # Equal on all processes already; sync_dist only tells Lightning so.
            self.log(f"{stage}/{name}", value, prog_bar=True, on_epoch=True, batch_size=1, sync_dist=True)

    def _raise_if_not_finite(self) -> None:
        first_bad = self._sums["train"].first_bad_step()
        if first_bad is not None:
            sums = self._sums["train"]
            step = (
                self.trainer.global_step
                - (sums.steps - first_bad) // self.trainer.accumulate_grad_batches
                + 1
            )
            raise NonFiniteLossError(
                f"the training loss was not finite at step {max(step, 1)} (epoch {self.current_epoch}, "
                f"batch {first_bad}); the last good checkpoint is kept. Lower the learning rate, or "
                "clip gradients with --trainer.gradient_clip_val"
            )

    # Optimizers

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer over parameter groups with and without weight decay, and its schedule."""
        optimizer = self.build_optimizer(self.parameter_groups())
        if self.build_lr_scheduler is None:
            return optimizer
        scheduler = self.build_lr_scheduler(optimizer)
        config: dict[str, Any] = {"scheduler": scheduler, **self.lr_scheduler_config}
        if isinstance(scheduler, ReduceLROnPlateau):
            # Lightning's own variant carries its monitor along.
            config.setdefault("monitor", getattr(scheduler, "monitor", "val/loss"))
        return {"optimizer": optimizer, "lr_scheduler": config}  # type: ignore[return-value]

    def parameter_groups(self) -> list[Any]:
        """Trainable parameters: weights, then biases and other vectors, on which weight decay is 0.

        An optimizer without weight decay gets plain parameters, since some (LBFGS) refuse groups.
        """
        trainable = [p for p in self.parameters() if p.requires_grad]
        if "weight_decay" not in self.build_optimizer([nn.Parameter(torch.zeros(1))]).defaults:
            return trainable
        weights = [p for p in trainable if p.ndim > 1]
        vectors = [p for p in trainable if p.ndim <= 1]
        groups: list[Any] = [{"params": weights}] if weights else []
        if vectors:
            groups.append({"params": vectors, "weight_decay": 0.0})
        return groups

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save a lost run; save the running sums, so that an epoch's mean survives a resume."""
        # Also when a validation within the run asks for it: `trainer.training` is false then.
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._raise_if_not_finite()
        unsaved = {n: v[UNSAVED] for n, v in self.hparams.items() if isinstance(v, dict) and UNSAVED in v}
        if unsaved and not self._warned_of_unsaved:
            warnings.warn(
                f"{', '.join(unsaved.values())} cannot be written as class path and plain arguments, so the "
                f"checkpoint lacks it: whoever resumes from it must give {' and '.join(unsaved)} again",
                stacklevel=2,
            )
            self._warned_of_unsaved = True
        sums = self._sums["train"]
        # The one process that writes saves the sums of all; Lightning calls this on each of them.
        whole = sums if self._trainer is None else sums.over_processes(self.trainer.strategy, self.device)
        checkpoint["train_sums"] = {
            "epoch": self._sums_epoch,
            "logged": self._logged_within(whole),
            **whole.state_dict(),
        }

    def _logged_within(self, whole: MetricSums) -> tuple[dict[str, float], int]:
        """What is logged already, so that as much of the whole sums is left as of this process's own."""
        before, examples_before = self._logged
        own, others = self._sums["train"].totals(), whole.totals()
        logged = {n: before.get(n, 0.0) + others.get(n, 0.0) - own.get(n, 0.0) for n in {**before, **others}}
        return logged, examples_before + whole.examples - self._sums["train"].examples

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the running sums, which are those of all processes: the first one takes them."""
        if "train_sums" in checkpoint:
            self._sums_epoch = checkpoint["train_sums"]["epoch"]
            self._logged = checkpoint["train_sums"]["logged"]
            self._logged_step = checkpoint["global_step"]
            self._sums["train"].load_state_dict(checkpoint["train_sums"])
            if self._trainer is not None and self.global_rank != 0:
                self._sums["train"].leave_to_another()
                self._logged = ({}, 0)


def _saving_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor so that its arguments, defaults included, become ``hparams`` as plain values.

    Saved optimizers and schedulers come back as specs, so the constructor takes those too.
    """

    @functools.wraps(init)
    def wrapper(self: Task, **arguments: Any) -> None:
        built = {
            k: callable_from_spec(k, v) if k in BUILDS and is_spec(v) else v for k, v in arguments.items()
        }
        init(self, **built)
        if type(self).__init__ is not wrapper:
            return  # a base's constructor: the outermost one knows all arguments
        saved: dict[str, Any] = {CLASS_PATH: _public_path(type(self))}
        for name, parameter in inspect.signature(init).parameters.items():
            if name == "self":
                continue
            value = None if name in self.start_arguments else arguments.get(name, parameter.default)
            if name in BUILDS and value is not None:
                value = spec_or_marker(name, value)
            saved[name] = value
        self.save_hyperparameters(saved)

    # Lightning looks here for the names that a checkpoint's values may have, and does not follow wrappers.
    wrapper.__signature__ = inspect.signature(init)  # type: ignore[attr-defined]
    return wrapper


def _public_path(cls: type) -> str:
    """``zoo.LeNet`` for the zoo's own classes, the full path for others."""
    module = cls.__module__
    return f"zoo.{cls.__name__}" if module.split(".")[0] == "zoo" else f"{module}.{cls.__qualname__}"
