"""Multilayer perceptrons from scratch (sections 5.2.1 and 5.6.2).

Deviations from the book: any number of hidden layers; the softmax cannot overflow.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_fraction, check_positive
from zoo._registry import register
from zoo.optim.sgd import SGD
from zoo.scratch.functions import cross_entropy, dropout, relu
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["DropoutMLPScratch", "MLPScratch", "MLPScratchNetwork"]


class MLPScratchNetwork(nn.Module):
    """Fully connected layers on flattened inputs, ReLU and dropout after each but the last.

    Args:
        sizes: Widths from input to output, at least two.
        dropout: Drop probability in [0, 1) after each hidden layer; empty for none.

    Attributes:
        weights: Weights (inputs, outputs) of each layer, the transposes of ``nn.Linear``'s; zeros at first.
        biases: Biases (outputs,) of each layer; zeros at first.

    Raises:
        ValueError: If a width is not positive, or the number of drop probabilities is not that of hidden
            layers.
    """

    def __init__(self, sizes: Sequence[int], dropout: Sequence[float] = ()) -> None:
        super().__init__()
        for size in sizes:
            check_positive("layer width", size)
        hidden = len(sizes) - 2
        if len(dropout) not in (0, hidden):
            raise ValueError(
                f"dropout has {len(dropout)} values, but must have {hidden}, one for each hidden layer"
            )
        for p in dropout:
            check_fraction("dropout", p)
        self.dropout = tuple(dropout)
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(d, q)) for d, q in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(q)) for q in sizes[1:])

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        hidden = x.flatten(1)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weight + bias
            if i < last:
                hidden = relu(hidden)
                if self.dropout and self.training:
                    hidden = dropout(hidden, self.dropout[i])
        return hidden


@register(
    book=("M07",),
    task="image classification",
    config="mlp/mlp_scratch_fashion_mnist.yaml",
    tiny={"image_size": 6, "hidden_sizes": [16], "num_classes": 4},
)
class MLPScratch(ImageClassifier):
    """Multilayer perceptron from scratch, weights from N(0, 0.01^2), biases zero (section 5.2.1).

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        image_size: Height and width of the images in pixels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        hidden_sizes: Width of each hidden layer (the book's ``num_hiddens``).
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        num_classes: int = 10,
        hidden_sizes: Sequence[int] = (256,),
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_channels", in_channels)
        check_positive("image_size", image_size)
        check_positive("num_classes", num_classes)
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = MLPScratchNetwork([in_channels * image_size**2, *hidden_sizes, num_classes])
        with torch.no_grad():
            for weight in self.net.weights:
                weight.copy_(0.01 * torch.randn_like(weight))
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, label)


@register(
    book=("M09",),
    task="image classification",
    config="mlp/dropout_mlp_scratch_fashion_mnist.yaml",
    tiny={"image_size": 6, "hidden_sizes": [16, 16], "dropout": [0.2, 0.2], "num_classes": 4},
)
class DropoutMLPScratch(ImageClassifier):
    """Multilayer perceptron with dropout from scratch (section 5.6.2).

    Weights and biases are drawn as ``nn.Linear`` draws them, uniformly within ``1 / sqrt(inputs)`` of 0: the
    book uses its layers here.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        image_size: Height and width of the images in pixels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        hidden_sizes: Width of each hidden layer (the book's ``num_hiddens_1`` and ``num_hiddens_2``).
        dropout: Drop probability after each hidden layer, in [0, 1) (the book's ``dropout_1`` and
            ``dropout_2``).
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = ImageClassifier.training_arguments | {"dropout"}

    def __init__(
        self,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        num_classes: int = 10,
        hidden_sizes: Sequence[int] = (256, 256),
        dropout: Sequence[float] = (0.5, 0.5),
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_channels", in_channels)
        check_positive("image_size", image_size)
        check_positive("num_classes", num_classes)
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = MLPScratchNetwork([in_channels * image_size**2, *hidden_sizes, num_classes], dropout)
        with torch.no_grad():
            for weight, bias in zip(self.net.weights, self.net.biases, strict=True):
                bound = weight.shape[0] ** -0.5
                weight.copy_(bound * (2 * torch.rand_like(weight) - 1))
                bias.copy_(bound * (2 * torch.rand_like(bias) - 1))
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, label)
