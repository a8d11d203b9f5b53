"""The modules of the builders' guide (chapter 6), which the book only builds, as regressors that train.

Deviations from the book: no example depends on the others of its batch (the book halves and centres by the
whole batch), and what is learned has a gradient.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from datamodules.interface.batches import RegressionBatch
from zoo._checks import check_at_least, check_positive
from zoo._registry import register
from zoo.tasks import LRSchedulerCallable, OptimizerCallable, Regressor

__all__ = [
    "CenteredLayer",
    "ChimeraMLP",
    "FixedHiddenMLP",
    "FixedHiddenNetwork",
    "MyLinear",
    "MyLinearMLP",
    "NestMLP",
    "NestNetwork",
    "SharedMLP",
    "SharedNetwork",
]


class FixedHiddenNetwork(nn.Module):
    """One linear layer used before and after fixed random weights, then control flow (section 6.1.3).

    Args:
        width: Number of inputs, which is that of hidden units.

    Attributes:
        fixed_weight: Random weights (width, width) that are never trained; a buffer, so that they are saved.
    """

    fixed_weight: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        check_positive("in_features", width)
        self.linear = nn.Linear(width, width)
        self.register_buffer("fixed_weight", torch.rand(width, width))

    def forward(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch 1"]:
        """Halve each example's hidden values while their magnitudes sum to more than 1, then add them up.

        The book halves while the magnitudes of the whole batch sum to more than 1, and adds up the batch.
        """
        x = self.linear(x)
        x = F.relu(x @ self.fixed_weight + 1)
        x = self.linear(x)
        # The number of halvings without a loop, so that the network can be exported: the sum is
        # mantissa * 2^exponent with the mantissa in [1/2, 1), and a mantissa of 1/2 is one halving less.
        mantissa, exponent = torch.frexp(x.detach().abs().sum(dim=1, keepdim=True))
        halvings = (exponent - (mantissa == 0.5).to(exponent.dtype)).clamp(min=0)
        return (x * (0.5**halvings).to(x.dtype)).sum(dim=1, keepdim=True)


@register(
    book=("M13",),
    task="regression",
    config="builders/fixed_hidden_mlp_synthetic.yaml",
    tiny={"in_features": 6},
)
class FixedHiddenMLP(Regressor):
    """A layer used twice around fixed random weights (section 6.1.3).

    Predictions lie in [-1, 1]: hidden values are halved until their magnitudes sum to at most 1.

    Args:
        in_features: Number of input columns (the data's, on the command line) and width, 20 in the book.
        optimizer: The book does not train it; SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_features: int = 20,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = FixedHiddenNetwork(in_features)
        self.example_input_array = torch.zeros(2, in_features)

    def example_batch(self, batch_size: int) -> RegressionBatch:
        """Random features, and targets that can be predicted."""
        features, target = super().example_batch(batch_size)
        return RegressionBatch(features, target.tanh())


class NestNetwork(nn.Module):
    """A Sequential and a linear layer in one module (section 6.1.2).

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        check_positive("in_features", in_features)
        check_positive("out_features", out_features)
        self.net = nn.Sequential(nn.Linear(in_features, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.linear = nn.Linear(32, out_features)

    def forward(self, x: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """The outputs."""
        return self.linear(self.net(x))  # type: ignore[no-any-return]


@register(
    book=("M14",),
    task="regression",
    config="builders/nest_mlp_synthetic.yaml",
    tiny={"in_features": 4, "out_features": 2},
)
class NestMLP(Regressor):
    """Modules within modules: in-64-32-out, ReLU after the first two layers (section 6.1.2).

    Args:
        in_features: Number of input columns (the data's, on the command line), 20 in the book.
        out_features: Number of target columns (the data's, on the command line), 16 in the book.
        optimizer: The book does not train it; SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_features: int = 20,
        out_features: int = 16,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = NestNetwork(in_features, out_features)
        self.example_input_array = torch.zeros(2, in_features)


@register(
    book=("M14",),
    task="regression",
    config="builders/chimera_mlp_synthetic.yaml",
    tiny={"in_features": 4},
)
class ChimeraMLP(Regressor):
    """The networks of :class:`NestMLP`, a linear layer and :class:`FixedHiddenMLP` in a row (section 6.1.2).

    Predictions lie in [-1, 1].

    Args:
        in_features: Number of input columns (the data's, on the command line), 20 in the book.
        optimizer: The book does not train it; SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_features: int = 20,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = nn.Sequential(NestNetwork(in_features, 16), nn.Linear(16, 20), FixedHiddenNetwork(20))
        self.example_input_array = torch.zeros(2, in_features)

    def example_batch(self, batch_size: int) -> RegressionBatch:
        """Random features, and targets that can be predicted."""
        features, target = super().example_batch(batch_size)
        return RegressionBatch(features, target.tanh())


class SharedNetwork(nn.Module):
    """in-8-(8)-...-(8)-out with ReLU, where the layers in brackets are one and the same (section 6.2.2).

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        shared_uses: How often the shared layer is used; with 0 there is none.
    """

    def __init__(self, in_features: int, out_features: int, shared_uses: int) -> None:
        super().__init__()
        check_positive("in_features", in_features)
        check_positive("out_features", out_features)
        check_at_least("shared_uses", shared_uses, 0)
        self.first = nn.Linear(in_features, 8)
        self.shared = nn.Linear(8, 8) if shared_uses > 0 else nn.Identity()
        self.shared_uses = shared_uses
        self.last = nn.Linear(8, out_features)

    def forward(self, x: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """The outputs."""
        x = F.relu(self.first(x))
        for _ in range(self.shared_uses):
            x = F.relu(self.shared(x))
        return self.last(x)  # type: ignore[no-any-return]


@register(
    book=("M15",),
    task="regression",
    config="builders/shared_mlp_synthetic.yaml",
    tiny={"in_features": 3, "out_features": 2},
)
class SharedMLP(Regressor):
    """Tied parameters: an 8 x 8 layer used several times; its gradient sums over the uses (section 6.2.2).

    Args:
        in_features: Number of input columns (the data's, on the command line), 4 in the book.
        out_features: Number of target columns (the data's, on the command line), 1 in the book.
        shared_uses: How often the shared layer is used: 2 in the book; 0 is its net 4-8-1 (section 6.2.1).
        optimizer: The book does not train it; SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_features: int = 4,
        out_features: int = 1,
        shared_uses: int = 2,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = SharedNetwork(in_features, out_features, shared_uses)
        self.example_input_array = torch.zeros(2, in_features)


class CenteredLayer(nn.Module):
    """Subtract each example's mean over its features (section 6.5.1); the book's is the batch's mean."""

    def forward(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Features whose mean is 0."""
        return x - x.mean(dim=1, keepdim=True)


class MyLinear(nn.Module):
    """A linear layer with a ReLU, weights and biases drawn from N(0, 1) (section 6.5.2).

    The book reads the parameters through ``.data``, which cuts them off from the gradient.

    Args:
        in_features: Number of inputs (the book's ``in_units``).
        out_features: Number of outputs (the book's ``units``).
        relu: Whether a ReLU follows, as in the book.
    """

    def __init__(self, in_features: int, out_features: int, *, relu: bool = True) -> None:
        super().__init__()
        check_positive("in_features", in_features)
        check_positive("out_features", out_features)
        self.weight = nn.Parameter(torch.randn(in_features, out_features))
        self.bias = nn.Parameter(torch.randn(out_features))
        self.relu = relu

    def forward(self, x: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        """The outputs."""
        x = x @ self.weight + self.bias
        return F.relu(x) if self.relu else x


@register(
    book=("M16",),
    task="regression",
    config="builders/my_linear_mlp_synthetic.yaml",
    tiny={"in_features": 5, "out_features": 2},
)
class MyLinearMLP(Regressor):
    """Custom layers: centring, then in-8-out of :class:`MyLinear` (section 6.5).

    The last layer has no ReLU, unlike the book's: predictions may be negative, and no output is dead
    from the start.

    Args:
        in_features: Number of input columns (the data's, on the command line), 64 in the book.
        out_features: Number of target columns (the data's, on the command line), 1 in the book.
        optimizer: The book does not train it; SGD, slow because the weights start large.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_features: int = 64,
        out_features: int = 1,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.001),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = nn.Sequential(
            CenteredLayer(), MyLinear(in_features, 8), MyLinear(8, out_features, relu=False)
        )
        self.example_input_array = torch.zeros(2, in_features)
