"""A class or numbers for a sequence of numbers: the last state of a recurrent network, and a linear layer.

The book has these heads in words only (section 9.4); the networks are those of sections 9.6, 10.1 and 10.2.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_positive
from zoo._registry import register
from zoo.rnn.network import make_rnn
from zoo.tasks import Classifier, LRSchedulerCallable, OptimizerCallable, Regressor

__all__ = ["LastState", "SequenceClassifier", "SequenceRegressor"]


class LastState(nn.Module):
    """Recurrent layers, and a linear layer on the last one's output after the last step.

    Args:
        cell: ``rnn`` (tanh), ``lstm`` or ``gru``.
        in_features: Numbers for each step.
        hidden_size: Hidden units of each layer.
        out_features: Numbers that come out.
        num_layers: Recurrent layers.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        cell: str,
        in_features: int,
        hidden_size: int,
        out_features: int,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.rnn = make_rnn(cell, in_features, hidden_size, num_layers=num_layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, out_features)

    def forward(self, x: Float[Tensor, "batch num_steps in_features"]) -> Float[Tensor, "batch out_features"]:
        """Logits or predictions for sequences of one length."""
        return self.head(self.dropout(self.rnn(x)[0][:, -1]))  # type: ignore[no-any-return]  # modules' calls


@register(
    book=(),
    task="sequence classification",
    config=None,
    tiny={"in_features": 3, "num_classes": 4, "hidden_size": 8},
    full={"in_features": 3, "num_classes": 4},
)
class SequenceClassifier(Classifier):
    """The class of a sequence, from the last state of a recurrent network.

    Args:
        in_features: Numbers for each step (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        cell: ``rnn`` (tanh), ``lstm`` or ``gru``.
        hidden_size: Hidden units of each layer.
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        label_smoothing: Probability spread evenly over all classes in the training loss, in [0, 1).
        optimizer: Adam.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = Classifier.training_arguments | {"dropout"}

    def __init__(
        self,
        *,
        in_features: int,
        num_classes: int,
        cell: str = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("num_classes", num_classes)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            label_smoothing=label_smoothing,
        )
        self.net = LastState(
            cell, in_features, hidden_size, num_classes, num_layers=num_layers, dropout=dropout
        )
        self.example_input_array = torch.zeros(2, 8, in_features)


@register(
    book=(),
    task="sequence regression",
    config=None,
    tiny={"in_features": 3, "out_features": 2, "hidden_size": 8},
    full={"in_features": 3},
)
class SequenceRegressor(Regressor):
    """Real numbers for a sequence, from the last state of a recurrent network.

    Args:
        in_features: Numbers for each step (the data's, on the command line).
        out_features: Number of targets (the data's, on the command line).
        cell: ``rnn`` (tanh), ``lstm`` or ``gru``.
        hidden_size: Hidden units of each layer.
        num_layers: Recurrent layers, each on the outputs of the one below.
        dropout: Drop probability in [0, 1) of the outputs of each recurrent layer.
        loss: ``mse``, ``half_mse``, ``mae``, ``huber`` or ``smooth_l1``.
        huber_delta: Error at which ``huber`` and ``smooth_l1`` become linear, positive.
        optimizer: Adam.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = Regressor.training_arguments | {"dropout"}

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int = 1,
        cell: str = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        loss: str = "mse",
        huber_delta: float = 1.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("out_features", out_features)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            loss=loss,
            huber_delta=huber_delta,
        )
        self.net = LastState(
            cell, in_features, hidden_size, out_features, num_layers=num_layers, dropout=dropout
        )
        self.example_input_array = torch.zeros(2, 8, in_features)
