"""Multilayer perceptrons (chapter 5), for images and for columns of a table."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from zoo._checks import check_fraction, check_positive
from zoo._registry import register
from zoo.layers.activations import activation as activation_named
from zoo.layers.init import init_parameters
from zoo.tasks import Classifier, ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = ["MLP", "DropoutMLP", "TabularMLP", "mlp"]


def mlp(
    sizes: Sequence[int], *, activation: str = "relu", dropout: Sequence[float] = (), flatten: bool = False
) -> nn.Sequential:
    """Fully connected layers with an activation, and dropout where asked, after each but the last.

    Args:
        sizes: Widths from input to output, at least two.
        activation: Name of the activation.
        dropout: Drop probability in [0, 1) after each hidden layer; empty for none.
        flatten: Flatten the input first.

    Raises:
        ValueError: If a width is not positive, or the number of drop probabilities is not that of hidden
            layers.
    """
    hidden = len(sizes) - 2
    if len(dropout) not in (0, hidden):
        raise ValueError(
            f"dropout has {len(dropout)} values, but must have {hidden}, one for each hidden layer"
        )
    layers: list[nn.Module] = [nn.Flatten()] if flatten else []
    for i, (in_size, out_size) in enumerate(itertools.pairwise(sizes)):
        check_positive("hidden_sizes" if i < hidden else "output width", out_size)
        layers.append(nn.Linear(in_size, out_size))
        if i < hidden:
            layers.append(activation_named(activation))
            if dropout:
                check_fraction("dropout", dropout[i])
                layers.append(nn.Dropout(dropout[i]))
    return nn.Sequential(*layers)


@register(
    book=("M08", "M12"),
    task="image classification",
    config="mlp/mlp_fashion_mnist.yaml",
    tiny={"image_size": 6, "hidden_sizes": [16], "num_classes": 4},
)
class MLP(ImageClassifier):
    """Multilayer perceptron (section 5.2).

    The book's other preset, 20-256-10 of sections 6.1 and 6.6 (M12), is
    ``MLP(in_channels=20, image_size=1, hidden_sizes=[256])``.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        image_size: Height and width of the images in pixels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        hidden_sizes: Width of each hidden layer (the book's ``num_hiddens``).
        activation: ``relu``, ``sigmoid``, ``tanh``, ``prelu``, ``leaky_relu``, ``gelu``, ``gelu_tanh``,
            ``silu`` or ``identity``.
        init: Initialiser of the weights by name, or ``default`` for torch's own.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The book's SGD.
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
        activation: str = "relu",
        init: str = "default",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_channels", in_channels)
        check_positive("image_size", image_size)
        check_positive("num_classes", num_classes)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        sizes = [in_channels * image_size**2, *hidden_sizes, num_classes]
        self.net = mlp(sizes, activation=activation, flatten=True)
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    book=("M10",),
    task="image classification",
    config="mlp/dropout_mlp_fashion_mnist.yaml",
    tiny={"image_size": 6, "hidden_sizes": [16, 16], "dropout": [0.2, 0.2], "num_classes": 4},
)
class DropoutMLP(ImageClassifier):
    """Multilayer perceptron with dropout after each hidden layer (section 5.6).

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        image_size: Height and width of the images in pixels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        hidden_sizes: Width of each hidden layer (the book's ``num_hiddens_1`` and ``num_hiddens_2``).
        dropout: Drop probability after each hidden layer, in [0, 1) (the book's ``dropout_1`` and
            ``dropout_2``).
        activation: Name of the activation, as in :class:`MLP`.
        init: Initialiser of the weights by name, or ``default`` for torch's own.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: The book's SGD.
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
        activation: str = "relu",
        init: str = "default",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.1),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_channels", in_channels)
        check_positive("image_size", image_size)
        check_positive("num_classes", num_classes)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        sizes = [in_channels * image_size**2, *hidden_sizes, num_classes]
        self.net = mlp(sizes, activation=activation, dropout=dropout, flatten=True)
        init_parameters(self.net, init)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)


@register(
    task="tabular classification",
    tiny={"in_features": 5, "hidden_sizes": [16], "num_classes": 3},
    full={"in_features": 100, "num_classes": 2},
)
class TabularMLP(Classifier):
    """Multilayer perceptron on the columns of a table, to tell classes apart.

    The book has none; its table, of house prices (section 5.7), asks for a number.

    Args:
        in_features: Number of input columns (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        hidden_sizes: Width of each hidden layer; none makes it softmax regression.
        dropout: Drop probability after each hidden layer, in [0, 1).
        activation: Name of the activation, as in :class:`MLP`.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: AdamW, which copes with columns of all kinds without tuning.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = Classifier.training_arguments | {"dropout"}

    def __init__(
        self,
        *,
        in_features: int,
        num_classes: int,
        hidden_sizes: Sequence[int] = (64,),
        dropout: float = 0.0,
        activation: str = "relu",
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=0.001, weight_decay=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_features", in_features)
        check_positive("num_classes", num_classes)
        check_fraction("dropout", dropout)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        self.net = mlp(
            [in_features, *hidden_sizes, num_classes],
            activation=activation,
            dropout=[dropout] * len(hidden_sizes),
        )
        self.example_input_array = torch.zeros(2, in_features)
