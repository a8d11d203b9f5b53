"""Autoregression: a series continued by linear regression on its last values (section 9.1.2).

Deviation from the book: predictions of several steps are methods of the model, not loops beside it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_at_least, check_positive
from zoo._registry import register
from zoo.layers.init import init_parameters
from zoo.tasks import LRSchedulerCallable, OptimizerCallable, Regressor

__all__ = ["AutoRegressive"]


@register(
    book=("M29",),
    task="regression",
    config="rnn/autoregressive_sine.yaml",
    tiny={"in_features": 3},
)
class AutoRegressive(Regressor):
    """Linear regression of the next value of a series on the last ones (section 9.1.2).

    Args:
        in_features: How many of the last values it sees, the book's tau (the data's, on the command line).
        loss: ``mse`` (the book), ``half_mse``, ``mae``, ``huber`` or ``smooth_l1``.
        huber_delta: Error at which ``huber`` and ``smooth_l1`` become linear, positive.
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    net: nn.Linear

    def __init__(
        self,
        *,
        in_features: int = 4,
        loss: str = "mse",
        huber_delta: float = 1.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_features", in_features)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            loss=loss,
            huber_delta=huber_delta,
        )
        self.net = nn.Linear(in_features, 1)
        init_parameters(self.net, "normal", zero_bias=True)
        self.example_input_array = torch.zeros(2, in_features)

    @torch.no_grad()
    def predict_ahead(
        self, history: Float[Tensor, "*batch time"], steps: int
    ) -> Float[Tensor, "*batch {steps}"]:
        """Continue series; from the second value on predictions are fed back (section 9.1.2.4).

        Args:
            history: What is known, the last value last; at least ``in_features`` values.
            steps: How many values to predict, at least 1.

        Raises:
            ValueError: If ``steps`` is below 1, or the history too short.
        """
        check_at_least("steps", steps, 1)
        tau = self.net.in_features
        check_at_least("the length of history", history.shape[-1], tau)
        window = history[..., -tau:]
        predictions = []
        for _ in range(steps):
            prediction = self.net(window)
            predictions.append(prediction)
            window = torch.cat([window[..., 1:], prediction], dim=-1)
        return torch.cat(predictions, dim=-1)

    def k_step(self, series: Float[Tensor, " time"], k: int) -> Float[Tensor, " predictions"]:
        """Predictions of each value from those that end ``k`` steps before it (section 9.1.2.5).

        Args:
            series: The values.
            k: How many steps ahead, at least 1.

        Returns:
            Predictions of ``series[in_features + k - 1:]``, the last ones of windows that begin at 0, 1, ...

        Raises:
            ValueError: If ``k`` is below 1, or the series has less than ``in_features + k`` values.
        """
        check_at_least("k", k, 1)
        tau = self.net.in_features
        check_at_least("the length of series", len(series), tau + k)
        known = series[:-k].unfold(0, tau, 1)
        return self.predict_ahead(known, k)[:, -1]
