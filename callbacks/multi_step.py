"""``multi_step.png``: how far into the future an autoregressive model can see (section 9.1.2)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from callbacks._evaluating import best_weights
from callbacks._files import may_write, run_dir
from callbacks._pictures import new_figure, save_figure
from zoo.rnn.autoregressive import AutoRegressive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MultiStepPredictions", "draw_multi_step"]

STEPS = (1, 4, 16, 64)


class MultiStepPredictions(L.Callback):
    """Draws ``multi_step.png`` after training an autoregressive model on a series.

    Above, each value predicted from the true values before it, and the series continued from the end of the
    training split by predictions that are fed back; below, each value predicted 1, 4, 16 and 64 steps ahead,
    as far as the series is long enough. The weights are those of the best checkpoint. Other models, and
    datamodules without a ``series``, get no picture.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Predict and draw."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it undeclared
        series = getattr(datamodule, "series", None)
        if not isinstance(pl_module, AutoRegressive) or series is None or not may_write(trainer):
            return
        with best_weights(trainer, pl_module) as weights:
            figure = draw_multi_step(pl_module, series, datamodule.train_end, title=weights)
        save_figure(figure, run_dir(trainer) / "multi_step.png")


def draw_multi_step(
    model: AutoRegressive, series: Tensor, train_end: int, *, steps: Sequence[int] = STEPS, title: str = ""
) -> "Figure":
    """A series and its predictions.

    Args:
        model: The model; its device and precision are used.
        series: The values (time,), float32.
        train_end: How many of them training knows, less than there are.
        steps: How many steps ahead to predict; those for which the series is too short are left out.
        title: What to write above.
    """
    tau = model.net.in_features
    on_device = series.to(model.net.weight)
    figure = new_figure(11, 7)
    above, below = figure.subplots(2, 1, sharex=True)
    time = torch.arange(1, len(series) + 1)
    for axes in (above, below):
        axes.plot(time, series, color="lightgrey", linewidth=0.8, label="series")
        axes.axvline(train_end, color="black", linewidth=0.8, linestyle=":", label="end of training")
        axes.set_ylabel("x")
    ahead = {k: model.k_step(on_device, k).float().cpu() for k in steps if len(series) >= tau + k}
    if 1 in ahead:
        above.plot(time[tau:], ahead[1], linewidth=1, label="1-step predictions")
    free = model.predict_ahead(on_device[:train_end], len(series) - train_end).float().cpu()
    above.plot(time[train_end:], free, linewidth=1.5, label="predictions fed back")
    for k, predictions in ahead.items():
        error = (predictions - series[tau + k - 1 :]).square().mean()
        label = f"{k}-step predictions,\nmean squared error {error:.3f}"
        below.plot(time[tau + k - 1 :], predictions, linewidth=1, label=label)
    below.set_xlabel("time")
    for axes in (above, below):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure
