"""Progress of a run: a bar on a terminal, plain lines elsewhere. Each prints an evaluation's metrics once."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

__all__ = ["PlainProgress", "RichProgress", "progress_bar"]


def progress_bar() -> ProgressBar:
    """The progress bar for where the output goes: a terminal, or a file or pipe."""
    return RichProgress() if sys.stdout.isatty() else PlainProgress()


class PlainProgress(ProgressBar):
    """Prints a line per epoch, as ``epoch 3/10  train/loss 0.412  val/acc 0.851  12.3 s, ETA 86 s``."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._epoch_started_at = 0.0
        self._epoch_seconds: float | None = None
        self._started_at = 0.0
        self._first_epoch = 0

    def disable(self) -> None:
        """Print nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started_at = time.monotonic()
        self._first_epoch = trainer.current_epoch
        self._epoch_seconds = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch before: its training metrics are logged after the hooks at its own end."""
        self._print_epoch(trainer)
        self._epoch_started_at = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time the epoch, validation included."""
        self._epoch_seconds = time.monotonic() - self._epoch_started_at

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the last epoch."""
        self._print_epoch(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the metrics of ``validate``."""
        if self._enabled and trainer.state.fn == "validate":
            print_metrics(trainer, "val/")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the metrics of ``test``."""
        if self._enabled:
            print_metrics(trainer, "test/")

    def _print_epoch(self, trainer: L.Trainer) -> None:
        if not self._enabled or self._epoch_seconds is None:
            return
        done, last = trainer.current_epoch, trainer.max_epochs
        of = f"/{last}" if last is not None and last > 0 else ""
        fields = [f"epoch {done:>{max(len(of) - 1, 1)}}{of}"]
        fields += [f"{n} {v:.4g}" for n, v in _epoch_metrics(trainer).items()]
        times = f"{self._epoch_seconds:.1f} s"
        eta = seconds_left(done, last, self._first_epoch, time.monotonic() - self._started_at)
        if eta:
            times += f", ETA {eta:.0f} s"
        print("  ".join([*fields, times]), flush=True)


class RichProgress(RichProgressBar):
    """Lightning's bar with the losses, and the time left until training ends as ``ETA``."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)  # redraws per second
        self._started_at = 0.0
        self._first_batch = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._started_at = time.monotonic()
        self._first_batch = trainer.fit_loop.total_batch_idx + 1

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Any:
        """The losses, the metric that chooses the best checkpoint, and the time left."""
        items = super().get_metrics(trainer, pl_module)
        # More than these would wrap on a terminal of usual width.
        shown = ("train/loss_step", "val/loss", getattr(pl_module, "monitor", "val/loss"))
        items = {name: items[name] for name in dict.fromkeys(shown) if name in items}
        batches, epochs = trainer.num_training_batches, trainer.max_epochs
        if isinstance(batches, int) and batches > 0 and epochs is not None and epochs > 0:
            done = trainer.fit_loop.total_batch_idx + 1
            eta = seconds_left(done, batches * epochs, self._first_batch, time.monotonic() - self._started_at)
            if eta:
                items["ETA"] = f"{eta:.0f} s"
        return items

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the metrics of ``validate``."""
        super().on_validation_end(trainer, pl_module)
        if self.is_enabled and trainer.state.fn == "validate":
            self._stop_progress()
            print_metrics(trainer, "val/")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the metrics of ``test``."""
        super().on_test_end(trainer, pl_module)
        if self.is_enabled:
            self._stop_progress()
            print_metrics(trainer, "test/")


def seconds_left(done: int, of: int | None, done_before: int, seconds: float) -> float | None:
    """Time until all is done, at the speed so far; None when it cannot be told.

    Args:
        done: Epochs or batches done.
        of: How many there are; None or -1 when there is no limit.
        done_before: How many were done when the clock started.
        seconds: Time since then.
    """
    if of is None or of < 0 or done <= done_before:
        return None
    return seconds / (done - done_before) * max(of - done, 0)


def _epoch_metrics(trainer: L.Trainer) -> dict[str, float]:
    """Means over the last epoch, training first."""
    metrics = {n: float(v) for n, v in trainer.callback_metrics.items() if not n.endswith("_step")}
    return {n: v for prefix in ("train/", "val/") for n, v in metrics.items() if n.startswith(prefix)}


def print_metrics(trainer: L.Trainer, prefix: str) -> None:
    """Print a line for each metric under this prefix, as ``test/acc  0.9633``."""
    metrics = {n: float(v) for n, v in trainer.callback_metrics.items() if n.startswith(prefix)}
    width = max((len(name) for name in metrics), default=0)
    for name, value in metrics.items():
        print(
            f"{name:<{width}}  {value:.4f}" if 1e-3 <= abs(value) < 1e5 else f"{name:<{width}}  {value:.4g}"
        )
    sys.stdout.flush()
