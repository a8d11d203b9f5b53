"""Classification: one class, one of two, or any number of tags for each example."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.interface.batches import ClassificationBatch, ImageBatch, MultiLabelBatch
from zoo._checks import check_fraction
from zoo.tasks._sums import wide
from zoo.tasks.base import LRSchedulerCallable, OptimizerCallable, Task

__all__ = ["BinaryClassifier", "Classifier", "ImageClassifier", "MultiLabelClassifier"]


class Classifier(Task):
    """Base of models that choose one of several classes (the book's ``Classifier``, section 4.3).

    Logs ``loss`` (cross-entropy), ``acc`` and, in validation and test, ``acc_top5`` where there are more than
    five classes. Labels are class indices, or probabilities for each class (as mixup makes them).

    Args:
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
    """

    monitor = "val/acc"
    monitor_mode = "max"

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        check_fraction("label_smoothing", label_smoothing)
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.label_smoothing = label_smoothing

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Mean cross-entropy, in training with smoothed labels."""
        smoothing = self.label_smoothing if self.training else 0.0
        return F.cross_entropy(logits, label, label_smoothing=smoothing)

    def measure(self, batch: ClassificationBatch | ImageBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """Mean cross-entropy, the number of right answers, and the number of examples."""
        inputs, label = batch
        logits = self(inputs)
        return self.loss(logits, label), self.count_right(logits, label), len(label)

    def count_right(self, logits: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Numbers of examples whose class has the highest logit, and outside training one of the top five."""
        index = label if label.ndim == 1 else label.argmax(dim=1)
        sums = {"acc": (logits.argmax(dim=1) == index).sum()}
        if not self.training and logits.shape[1] > 5:
            sums["acc_top5"] = (logits.topk(5, dim=1).indices == index[:, None]).sum()
        return sums

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Class probabilities (batch, num_classes)."""
        return self(batch[0]).softmax(dim=1)  # type: ignore[no-any-return]

    def example_batch(self, batch_size: int) -> ClassificationBatch | ImageBatch:
        """Random inputs and labels."""
        inputs = self.random_inputs(batch_size)
        num_classes = self.output_shape(inputs)[1]
        return ClassificationBatch(inputs, torch.arange(batch_size, device=inputs.device) % num_classes)


class ImageClassifier(Classifier):
    """Base of models that choose the class of an image; the same scheme as :class:`Classifier`."""

    def example_batch(self, batch_size: int) -> ImageBatch:
        """Random images and labels."""
        return ImageBatch(*super().example_batch(batch_size))


class BinaryClassifier(Task):
    """Base of models with one logit for yes or no. Logs ``loss`` (binary cross-entropy) and ``acc``.

    Args:
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
    """

    monitor = "val/acc"
    monitor_mode = "max"

    def measure(self, batch: ClassificationBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """Mean binary cross-entropy of the logits (batch, 1), right answers, and the number of examples."""
        features, label = batch
        logits = self(features).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype))
        return loss, {"acc": ((logits > 0) == (label > 0.5)).sum()}, len(label)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Probability of yes (batch, 1)."""
        return self(batch[0]).sigmoid()  # type: ignore[no-any-return]

    def example_batch(self, batch_size: int) -> ClassificationBatch:
        """Random inputs and labels."""
        inputs = self.random_inputs(batch_size)
        return ClassificationBatch(inputs, torch.arange(batch_size, device=inputs.device) % 2)


class MultiLabelClassifier(Task):
    """Base of models that say yes or no to each of several tags. Logs ``loss`` and ``acc`` (over all tags).

    Args:
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
    """

    monitor = "val/acc"
    monitor_mode = "max"

    def measure(self, batch: MultiLabelBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """Mean binary cross-entropy over examples and tags, mean share of right tags, number of examples."""
        features, labels = batch
        logits = self(features)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        right = wide((logits > 0) == (labels > 0.5)).mean() * len(labels)
        return loss, {"acc": right}, len(labels)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Probability of each tag (batch, num_labels)."""
        return self(batch[0]).sigmoid()  # type: ignore[no-any-return]

    def example_batch(self, batch_size: int) -> MultiLabelBatch:
        """Random inputs and tags."""
        inputs = self.random_inputs(batch_size)
        tags = torch.rand(self.output_shape(inputs), device=inputs.device) > 0.5
        return MultiLabelBatch(inputs, tags.float())
