"""GoogLeNet as torchvision has it, with auxiliary heads and published weights (section 8.4).

Szegedy et al. (2014, arXiv:1409.4842); what differs from the paper stands in :mod:`zoo.cnn.googlenet`. The
paper does not say how weights start: here convolutions start as He et al. (2015) do. Torchvision's start is
normal with deviation 0.01, with which all images have the same outputs until statistics are learned.
"""

import logging
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from datamodules.interface.batches import ClassificationBatch, ImageBatch
from zoo._pretrained import TORCHVISION, load_pretrained
from zoo._registry import register
from zoo.cnn.googlenet import CANONICAL, GoogLeNetNetwork, GoogLeNetOutputs
from zoo.layers.init import init_convolutions
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["ImageNetGoogLeNet"]

logger = logging.getLogger(__name__)

AUXILIARY_WEIGHT = 0.3
"""What the loss of an auxiliary head counts beside that of the main one (the paper, section 5)."""


@register(task="image classification", tiny={"image_size": 16, "num_classes": 4}, variants=("googlenet",))
class ImageNetGoogLeNet(ImageClassifier):
    """GoogLeNet under torchvision's keys: 13,004,888 parameters, 6,624,904 without the auxiliary heads.

    The training loss has 0.3 times the losses of the auxiliary heads in it; what is validated, tested and
    predicted is the main head alone.

    Args:
        weights: Pretrained weights: ``torchvision:IMAGENET1K_V1``, or a file. Those of torchvision expect
            ``transform_input`` with colour images normalised as ImageNet's; the auxiliary heads in its file
            are not trained. None starts afresh.
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 15.
        aux_logits: Have the two auxiliary heads of the paper. Without them, those in a file of weights are
            left out.
        transform_input: Bring images normalised as ImageNet's to mean and deviation 0.5, with which
            torchvision's weights were trained, those in a file of your own too. Takes three channels.
        dropout: Drop probability before the last layer, in [0, 1); 0.4 in the paper, 0.2 in torchvision.
        dropout_aux: The same in the auxiliary heads; 0.7 in both.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: SGD with the paper's momentum; it does not tell its learning rate.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"dropout", "dropout_aux"}

    net: GoogLeNetNetwork

    def __init__(
        self,
        *,
        weights: str | None = None,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        aux_logits: bool = True,
        transform_input: bool = False,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        self.net = GoogLeNetNetwork(
            style=CANONICAL,
            in_channels=in_channels,
            num_classes=num_classes,
            image_size=image_size,
            aux_logits=aux_logits,
            transform_input=transform_input,
            dropout=dropout,
            dropout_aux=dropout_aux,
        )
        init_convolutions(self.net)

        def rename(key: str) -> str | None:
            return key if aux_logits or not key.startswith("aux") else None

        load_pretrained(self.net, weights, variant="googlenet", rename=rename)
        if (
            weights is not None
            and weights.startswith(TORCHVISION)
            and in_channels == 3
            and not transform_input
        ):
            _warn_of_input(weights)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the main head (batch, num_classes)."""
        output = self.net(x)
        return output.logits if isinstance(output, GoogLeNetOutputs) else output

    def measure(self, batch: ClassificationBatch | ImageBatch) -> tuple[Tensor, dict[str, Tensor], int]:
        """As for every classifier; in training the loss counts the auxiliary heads too."""
        if not self.net.training or self.net.aux1 is None:
            return super().measure(batch)
        inputs, label = batch
        logits, *auxiliary = self.net(inputs)
        loss = self.loss(logits, label) + AUXILIARY_WEIGHT * sum(self.loss(aux, label) for aux in auxiliary)
        return loss, self.count_right(logits, label), len(label)


@rank_zero_only
def _warn_of_input(weights: str) -> None:
    logger.warning(
        "googlenet from %s: trained on images with mean and deviation 0.5; for images normalised as "
        "ImageNet's, set transform_input to true",
        weights,
    )
