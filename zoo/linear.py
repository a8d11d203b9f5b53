"""Linear networks (chapters 3 and 4): linear regression, weight decay, softmax regression."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from datamodules.interface.batches import RegressionBatch
from zoo._checks import check_at_least, check_positive
from zoo._registry import register
from zoo.layers.init import init_parameters
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable, Regressor

__all__ = ["LinearRegression", "SoftmaxRegression", "WeightDecay", "least_squares"]


def least_squares(
    features: Float[Tensor, "batch in_features"],
    target: Float[Tensor, "batch out_features"],
    *,
    l2: float = 0.0,
) -> tuple[Float[Tensor, "out_features in_features"], Float[Tensor, " out_features"]]:
    """The weights and bias that minimise the squared error, in closed form (section 3.1.1.3).

    Args:
        features: Inputs X.
        target: Targets y.
        l2: Ridge penalty: ``l2 * ||w||^2`` is added to the summed squared error, not on the bias. At least 0.

    Returns:
        Weight and bias in the layout of ``nn.Linear``, in the dtype of the features (computed in float64).

    Raises:
        ValueError: If ``l2`` is 0 and the columns are linearly dependent (together with the constant column),
            so that infinitely many weights fit equally well.
    """
    check_at_least("l2", l2, 0)
    x, y = features.double(), target.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    if l2 == 0:
        # Columns of one scale, and rounding as in the given dtype: in float64 no dependence would show.
        eps = 100 * torch.finfo(features.dtype).eps
        spread = x.square().mean(dim=0).sqrt()
        scaled = torch.where(spread > eps * x_mean.abs(), x / spread, 0)
        rank = int(torch.linalg.matrix_rank(scaled, rtol=eps))
        if rank < x.shape[1]:
            raise ValueError(
                f"the {x.shape[1]} columns have rank {rank}, so the least-squares solution is not unique: "
                "drop columns or give l2 a positive value"
            )
    gram = x.T @ x + l2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram, x.T @ y).T
    bias = y_mean - weight @ x_mean
    return weight.to(features.dtype), bias.to(features.dtype)


@register(
    book=("M02", "M11"),
    task="regression",
    config="linear/linear_regression_synthetic.yaml",
    tiny={"in_features": 3, "out_features": 2},
    full={"in_features": 2},
)
class LinearRegression(Regressor):
    """Linear regression ``y = Xw + b`` (sections 3.1 and 3.5).

    Args:
        in_features: Number of input columns d (the data's, on the command line).
        out_features: Number of target columns (the data's, on the command line).
        closed_form: Solve for the weights on the whole training split instead of descending; needs
            ``batch_size: full``, one epoch, one device and the loss ``mse`` or ``half_mse``.
        l2: Ridge penalty of the closed form: ``l2 * ||w||^2`` beside the summed squared error, at least 0.
        loss: ``mse`` (the book), ``half_mse``, ``mae``, ``huber`` or ``smooth_l1``.
        huber_delta: Error at which ``huber`` and ``smooth_l1`` become linear, positive.
        optimizer: The book's SGD.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    training_arguments = Regressor.training_arguments | {"closed_form", "l2"}

    net: nn.Linear

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int = 1,
        closed_form: bool = False,
        l2: float = 0.0,
        loss: str = "mse",
        huber_delta: float = 1.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.03),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        check_positive("in_features", in_features)
        check_positive("out_features", out_features)
        check_at_least("l2", l2, 0)
        if closed_form and loss not in ("mse", "half_mse"):
            raise ValueError(f"loss is {loss!r}, but must be mse or half_mse for closed_form")
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
            loss=loss,
            huber_delta=huber_delta,
        )
        self.net = nn.Linear(in_features, out_features)
        init_parameters(self.net, "normal", zero_bias=True)
        self.example_input_array = torch.zeros(2, in_features)
        self.l2 = l2
        self.closed_form = closed_form
        self.automatic_optimization = not closed_form

    def setup(self, stage: str) -> None:
        """Start a run.

        Raises:
            ValueError: If the closed form is asked for on several devices, each of which sees but its share.
        """
        super().setup(stage)
        if self.closed_form and stage == "fit" and self.trainer.world_size > 1:
            raise ValueError(
                f"the number of devices is {self.trainer.world_size}, but must be 1 for closed_form"
            )

    def configure_optimizers(self) -> Any:
        """The closed form is one Newton step, that is SGD at rate 1 on the distance to the solution."""
        if self.closed_form:
            return torch.optim.SGD(self.parameters(), lr=1.0)
        return super().configure_optimizers()

    def training_step(self, batch: RegressionBatch, batch_idx: int) -> Tensor:
        """A step of descent, or the whole solution.

        Raises:
            ValueError: If the closed form is asked for with more than one batch.
        """
        loss = super().training_step(batch, batch_idx)
        if self.closed_form:
            if self.trainer.num_training_batches != 1:
                raise ValueError(
                    f"data.init_args.batch_size makes {self.trainer.num_training_batches} batches, but must "
                    "be `full` for closed_form"
                )
            optimizer = self.optimizers()
            weight, bias = least_squares(*batch, l2=self.l2)
            self.net.weight.grad = self.net.weight.detach() - weight
            self.net.bias.grad = self.net.bias.detach() - bias
            optimizer.step()  # type: ignore[union-attr]
        return loss


@register(
    book=("M04",),
    task="regression",
    config="linear/weight_decay_synthetic.yaml",
    tiny={"in_features": 5},
    full={"in_features": 200},
)
class WeightDecay(LinearRegression):
    """Linear regression with weight decay on the weights, not on the bias (section 3.7.4).

    Args:
        in_features: Number of input columns d (the data's, on the command line).
        out_features: Number of target columns.
        loss: ``mse`` (the book), ``half_mse``, ``mae``, ``huber`` or ``smooth_l1``.
        huber_delta: Error at which ``huber`` and ``smooth_l1`` become linear, positive.
        optimizer: The book's SGD; its ``weight_decay`` is the book's lambda.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int = 1,
        loss: str = "mse",
        huber_delta: float = 1.0,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=3.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            in_features=in_features,
            out_features=out_features,
            loss=loss,
            huber_delta=huber_delta,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_config=lr_scheduler_config,
        )


@register(
    book=("M06",),
    task="image classification",
    config="linear/softmax_regression_fashion_mnist.yaml",
    tiny={"in_channels": 1, "image_size": 6, "num_classes": 4},
)
class SoftmaxRegression(ImageClassifier):
    """Softmax regression on flattened images (section 4.5).

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        image_size: Height and width of the images in pixels (the data's, on the command line).
        num_classes: Number of classes q (the data's, on the command line).
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
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)
