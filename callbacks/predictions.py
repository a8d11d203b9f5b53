"""``predictions.png``: what a trained network makes of examples it has not learned from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from callbacks._evaluating import best_weights, validating
from callbacks._files import may_write, run_dir
from callbacks._pictures import as_shown, new_figure, save_figure
from zoo.tasks import ImageClassifier, Regressor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Predictions", "draw_classified_images", "draw_regression"]

COLUMNS, ROWS = 6, 5
MAX_TICKS = 25


class Shown(NamedTuple):
    """An image of the grid.

    Attributes:
        image: (channels, height, width), on the CPU.
        label: Its class.
        predicted: The class that the network chose.
    """

    image: Tensor
    label: int
    predicted: int


class Predictions(L.Callback):
    """Draws ``predictions.png`` after training and ``predictions_test.png`` after testing.

    For image classifiers: images with true and predicted class, wrong ones first, and the confusion matrix
    over the whole split. For regressors: predicted against true values. Training is not slowed: the
    validation split is predicted once, at the end, with the weights of the best checkpoint. Other tasks get
    no picture.
    """

    def __init__(self) -> None:
        self._seen: _Classified | _Regressed | None = None
        self._output: Tensor | None = None
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    # After training

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Predict the validation split and draw."""
        seen = _for_task(pl_module)
        batches = trainer.val_dataloaders
        if seen is None or batches is None or not may_write(trainer):
            return
        with best_weights(trainer, pl_module) as weights, validating(trainer, pl_module), torch.no_grad():
            for i, batch in enumerate(batches):
                if i >= trainer.num_val_batches[0]:
                    break
                on_device = trainer.strategy.batch_to_device(batch)
                with trainer.precision_plugin.forward_context():
                    seen.add(on_device, pl_module(on_device[0]))
        _draw(trainer, seen, f"validation split, {weights}", run_dir(trainer) / "predictions.png")

    # After testing: the outputs of the test steps are kept, so nothing is predicted twice

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Watch the network's outputs."""
        self._seen = _for_task(pl_module) if may_write(trainer) else None
        if self._seen is not None:
            self._hook = pl_module.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        self._output = output

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note what became of a batch."""
        if self._seen is not None and self._output is not None:
            self._seen.add(batch, self._output)
        self._output = None

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the test split."""
        self._stop_watching()
        if self._seen is not None:
            weights = Path(trainer.ckpt_path).name if trainer.ckpt_path else "weights in memory"
            _draw(trainer, self._seen, f"test split, {weights}", run_dir(trainer) / "predictions_test.png")
        self._seen = None

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the module as it was."""
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook = None


def _draw(trainer: L.Trainer, seen: "_Classified | _Regressed", title: str, path: Path) -> None:
    if seen.count:
        names = getattr(trainer.datamodule, "class_names", ())  # type: ignore[attr-defined]
        save_figure(seen.draw(title, names), path)


def _for_task(pl_module: L.LightningModule) -> "_Classified | _Regressed | None":
    if isinstance(pl_module, ImageClassifier):
        return _Classified()
    return _Regressed() if isinstance(pl_module, Regressor) else None


class _Classified:
    """Labels and predictions of a split, and the images to show."""

    def __init__(self) -> None:
        self.labels: list[Tensor] = []
        self.predicted: list[Tensor] = []
        self.num_classes = 0
        self.wrong: list[Shown] = []
        self.right: list[Shown] = []
        self.count = 0

    def add(self, batch: Any, logits: Tensor) -> None:
        """Note a batch: the numbers of all examples, a few images."""
        image, label = batch
        label = label if label.ndim == 1 else label.argmax(dim=1)
        predicted = logits.argmax(dim=1)
        self.labels.append(label.cpu())
        self.predicted.append(predicted.cpu())
        self.num_classes = logits.shape[1]
        self.count += len(label)
        wrong = (predicted != label).cpu()
        for shown, mask in ((self.wrong, wrong), (self.right, ~wrong)):
            for i in mask.nonzero()[: COLUMNS * ROWS - len(shown), 0].tolist():
                pixels = image[i].detach().float().cpu()
                shown.append(Shown(pixels, int(self.labels[-1][i]), int(self.predicted[-1][i])))

    def draw(self, title: str, class_names: Sequence[str]) -> "Figure":
        """The picture of the split."""
        labels, predicted = torch.cat(self.labels), torch.cat(self.predicted)
        names = list(class_names) or [str(i) for i in range(self.num_classes)]
        right = int((labels == predicted).sum())
        title = f"{title}: {right} of {self.count} right ({right / self.count:.1%})"
        shown = (self.wrong[: COLUMNS * (ROWS - 1)] + self.right)[: COLUMNS * ROWS]
        return draw_classified_images(shown, labels, predicted, names, title)


def draw_classified_images(
    shown: Sequence[Shown], labels: Tensor, predicted: Tensor, class_names: Sequence[str], title: str
) -> "Figure":
    """Images with their classes, and the confusion matrix.

    Args:
        shown: Images to show, in this order.
        labels: Class of each example of the split (examples,), int64.
        predicted: Class that the network chose for each (examples,), int64.
        class_names: Name of each class.
        title: Title of the picture.
    """
    figure = new_figure(13.5, 6.4)
    figure.set_layout_engine("none")  # arranging this many panels takes longer than drawing them
    figure.suptitle(title, fontsize=12)
    _draw_images(figure, shown, class_names)
    _draw_confusion(figure, labels, predicted, class_names)
    return figure


def _draw_images(figure: "Figure", shown: Sequence[Shown], class_names: Sequence[str]) -> None:
    grid = figure.add_gridspec(
        ROWS, COLUMNS, left=0.01, right=0.48, top=0.86, bottom=0.01, hspace=0.42, wspace=0.05
    )
    for i, example in enumerate(shown[: ROWS * COLUMNS]):
        axes = figure.add_subplot(grid[i])
        axes.axis("off")
        axes.imshow(as_shown(example.image).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        wrong = example.predicted != example.label
        text = _short(class_names[example.predicted])
        if wrong:
            text += f"\nnot {_short(class_names[example.label])}"
        axes.set_title(text, fontsize=8, color="tab:red" if wrong else "tab:green", pad=3)
    figure.text(0.245, 0.935, "predicted class; red: wrong", fontsize=10, ha="center", va="center")


def _draw_confusion(figure: "Figure", labels: Tensor, predicted: Tensor, class_names: Sequence[str]) -> None:
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    n = len(class_names)
    counts = multiclass_confusion_matrix(predicted, labels, num_classes=n)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    axes = figure.add_axes((0.575, 0.12, 0.37, 0.78))
    picture = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, label="share of the true class", fraction=0.04, pad=0.02)
    axes.set(title="confusion matrix", xlabel="predicted class", ylabel="true class")
    if n <= MAX_TICKS:
        names = [_short(name) for name in class_names]
        axes.set_xticks(
            range(n), names, rotation=45 if max(map(len, names)) > 2 else 0, ha="center", fontsize=8
        )
        axes.set_yticks(range(n), names, fontsize=8)
        for i, j in counts.nonzero().tolist():
            color = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(int(counts[i, j])), ha="center", va="center", fontsize=8, color=color)


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


class _Regressed:
    """Targets and predictions of a split."""

    def __init__(self) -> None:
        self.target: list[Tensor] = []
        self.predicted: list[Tensor] = []
        self.count = 0

    def add(self, batch: Any, output: Tensor) -> None:
        """Note a batch."""
        self.target.append(batch[1].detach().float().cpu())
        self.predicted.append(output.detach().float().cpu())
        self.count += len(output)

    def draw(self, title: str, class_names: Sequence[str]) -> "Figure":
        """The picture of the split."""
        return draw_regression(torch.cat(self.target), torch.cat(self.predicted), title)


def draw_regression(target: Tensor, predicted: Tensor, title: str) -> "Figure":
    """Predicted against true values; a perfect network's points lie on the diagonal.

    Args:
        target: True values (examples, outputs), float32.
        predicted: Predictions of the same shape.
        title: Title of the picture.
    """
    figure = new_figure(5.6, 5.2)
    axes = figure.subplots()
    target, predicted = target.flatten(1), predicted.flatten(1)
    for k in range(target.shape[1]):
        label = f"output {k}" if target.shape[1] > 1 else None
        axes.scatter(target[:, k].numpy(), predicted[:, k].numpy(), s=9, alpha=0.5, linewidths=0, label=label)
    low, high = float(target.min()), float(target.max())
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--", label="perfect")
    error = (predicted - target).square().mean().sqrt()
    axes.set(xlabel="true value", ylabel="predicted value")
    axes.set_title(f"{title}\n{len(target)} examples, root mean squared error {error:.4g}", fontsize=10)
    if target.shape[1] <= 10:
        axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
