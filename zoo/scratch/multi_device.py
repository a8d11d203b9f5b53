"""Training on several devices by hand (section 13.5), in one process or in one process for each device.

Each device has a copy of the parameters and a part of the batch. Its gradients are those of the mean loss of
its part; their mean over the devices is the gradient of the whole batch's mean loss (where the parts are of
one size), so every copy takes the same step as one device would with the whole batch, at the same learning
rate. Were the gradients only added up, as the book's ``allreduce`` does, the rate would act times the number
of devices; the book makes up for it by summing the loss and dividing by the size of the whole batch.

Deviations from the book: convolution, pooling and loss are from scratch too; parts may differ in size by one.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from zoo._checks import check_at_least, check_positive
from zoo._registry import register
from zoo.optim.sgd import SGD
from zoo.scratch.convolution import corr2d_multi_in_out, pool2d
from zoo.scratch.functions import cross_entropy, relu
from zoo.tasks import ImageClassifier, LRSchedulerCallable, OptimizerCallable

__all__ = [
    "ByHandStrategy",
    "MultiDeviceLeNet",
    "MultiDeviceLeNetNetwork",
    "Parameters",
    "allreduce",
    "allreduce_processes",
    "copy_parameters",
    "lenet",
    "lenet_features",
    "split_batch",
    "train_batch",
]


# One process, several devices


class Parameters(NamedTuple):
    """Weight and bias of two convolutions, then of two linear layers (inputs, outputs)."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w3: Tensor
    b3: Tensor
    w4: Tensor
    b4: Tensor


def lenet(
    x: Float[Tensor, "batch channels height width"], parameters: Parameters
) -> Float[Tensor, "batch num_classes"]:
    """LeNet as a function: logits from images and parameters (section 13.5.3)."""
    return lenet_features(x, parameters) @ parameters.w4 + parameters.b4


def lenet_features(
    x: Float[Tensor, "batch channels height width"], parameters: Parameters
) -> Float[Tensor, "batch num_features"]:
    """What the last layer of :func:`lenet` sees."""
    w1, b1, w2, b2, w3, b3, *_ = parameters
    x = pool2d(relu(corr2d_multi_in_out(x, w1, b1)), 2, mode="avg", stride=2)
    x = pool2d(relu(corr2d_multi_in_out(x, w2, b2)), 2, mode="avg", stride=2)
    return relu(x.flatten(1) @ w3 + b3)


def copy_parameters(parameters: Parameters, device: torch.device | str) -> Parameters:
    """Copies on a device, which take gradients of their own (the book's ``get_params``)."""
    return Parameters(*[p.detach().to(device, copy=True).requires_grad_() for p in parameters])


def split_batch(batch: Tensor, devices: Sequence[torch.device | str]) -> list[Tensor]:
    """A part of the batch on each device, in order; sizes differ by one at most (section 13.5.5).

    Raises:
        ValueError: If there are more devices than examples.
    """
    if len(batch) < len(devices):
        raise ValueError(f"the batch has {len(batch)} examples, but must have one for each of {len(devices)}")
    parts = batch.tensor_split(len(devices))
    return [part.to(device) for part, device in zip(parts, devices, strict=True)]


def allreduce(tensors: Sequence[Tensor]) -> None:
    """Make each tensor the sum of all, in place (section 13.5.4).

    Args:
        tensors: Tensors of one shape, one on each device.
    """
    with torch.no_grad():
        for other in tensors[1:]:
            tensors[0].add_(other.to(tensors[0].device))
        for other in tensors[1:]:
            other.copy_(tensors[0])


def train_batch(
    images: Tensor, label: Tensor, copies: Sequence[Parameters], *, lr: float
) -> Float[Tensor, ""]:
    """One step of gradient descent on a batch that the devices share (section 13.5.6).

    Args:
        images: The whole batch.
        label: Class indices (batch,).
        copies: The parameters of :func:`lenet` on each device; they are changed.
        lr: Learning rate.

    Returns:
        The mean loss of the whole batch.
    """
    devices = [parameters.w1.device for parameters in copies]
    parts = zip(split_batch(images, devices), split_batch(label, devices), copies, strict=True)
    # Each part's share of the whole batch's mean, so that the sum over devices is that mean.
    losses = [cross_entropy(lenet(x, copy), y) * (len(x) / len(images)) for x, y, copy in parts]
    gradients = [torch.autograd.grad(loss, copy) for loss, copy in zip(losses, copies, strict=True)]
    for of_one_parameter in zip(*gradients, strict=True):
        allreduce(of_one_parameter)
    with torch.no_grad():
        for copy, of_one_device in zip(copies, gradients, strict=True):
            for parameter, gradient in zip(copy, of_one_device, strict=True):
                parameter -= lr * gradient
    return torch.stack([loss.detach().to(losses[0].device) for loss in losses]).sum()


# One process for each device


def allreduce_processes(tensor: Tensor) -> None:
    """Make a tensor the sum of all processes' tensors, in place: the first one adds up and sends back."""
    # Only contiguous tensors can be sent; those of a network with its channels last in memory are not.
    whole = tensor.contiguous()
    others = range(1, dist.get_world_size())
    if dist.get_rank() == 0:
        received = torch.empty_like(whole)
        for rank in others:
            dist.recv(received, src=rank)
            whole += received
        for rank in others:
            dist.send(whole, dst=rank)
    else:
        dist.send(whole, dst=0)
        dist.recv(whole, src=0)
    tensor.copy_(whole)


class ByHandStrategy(DDPStrategy):
    """Data parallelism of several processes without ``DistributedDataParallel``.

    The first process's weights are sent to all at the start, and after each backward pass the gradients
    become their mean over the processes. It is slower than ``ddp``, which sends gradients while others are
    computed still, and is there to be read. From the command line:
    ``--trainer.strategy.class_path zoo.scratch.multi_device.ByHandStrategy --trainer.devices 2``.

    Args:
        start_method: How processes are started, as in Lightning's ``DDPStrategy``.
    """

    def __init__(self, start_method: Literal["popen", "spawn", "fork", "forkserver"] = "popen") -> None:
        super().__init__(start_method=start_method)

    def configure_ddp(self) -> None:
        """Give all processes the first one's parameters and buffers; wrap nothing."""
        assert self.lightning_module is not None
        for tensor in self.lightning_module.state_dict().values():
            if self.global_rank != 0:
                tensor.zero_()
            allreduce_processes(tensor)

    def post_backward(self, closure_loss: Tensor) -> None:
        """Replace the gradients by their means over the processes.

        Gradients that add up over several backward passes are averaged after each; the result is the same.
        """
        assert self.lightning_module is not None
        for parameter in self.lightning_module.parameters():
            if parameter.grad is not None:
                allreduce_processes(parameter.grad)
                parameter.grad /= self.world_size


class MultiDeviceLeNetNetwork(nn.Module):
    """The parameters of :func:`lenet`, weights from N(0, 0.01^2) and biases zero.

    Args:
        in_channels: Number of image channels.
        num_classes: Number of classes.
        image_size: Height and width of the images in pixels, at least 14.

    Raises:
        ValueError: If the images are too small for the two convolutions.
    """

    num_features = 128

    def __init__(self, *, in_channels: int, num_classes: int, image_size: int) -> None:
        super().__init__()
        check_positive("in_channels", in_channels)
        check_positive("num_classes", num_classes)
        check_at_least("image_size", image_size, 14)
        side = ((image_size - 2) // 2 - 4) // 2
        self.w1 = nn.Parameter(0.01 * torch.randn(20, in_channels, 3, 3))
        self.b1 = nn.Parameter(torch.zeros(20))
        self.w2 = nn.Parameter(0.01 * torch.randn(50, 20, 5, 5))
        self.b2 = nn.Parameter(torch.zeros(50))
        self.w3 = nn.Parameter(0.01 * torch.randn(50 * side * side, self.num_features))
        self.b3 = nn.Parameter(torch.zeros(self.num_features))
        self.w4 = nn.Parameter(0.01 * torch.randn(self.num_features, num_classes))
        self.b4 = nn.Parameter(torch.zeros(num_classes))

    def as_tuple(self) -> Parameters:
        """The parameters as :func:`lenet` takes them."""
        return Parameters(self.w1, self.b1, self.w2, self.b2, self.w3, self.b3, self.w4, self.b4)

    def forward_features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch num_features"]:
        """What the last layer sees."""
        return lenet_features(x, self.as_tuple())

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch num_classes"]:
        """Logits."""
        return lenet(x, self.as_tuple())


@register(
    book=("M48",),
    task="image classification",
    config="cnn/multi_device_lenet_fashion_mnist.yaml",
    tiny={"image_size": 14, "num_classes": 4},
)
class MultiDeviceLeNet(ImageClassifier):
    """A LeNet made of functions, 129,068 parameters on 28 x 28 pixels (section 13.5.3).

    With :class:`ByHandStrategy` it is trained on several devices by hand; any other strategy works too.

    Args:
        in_channels: Number of image channels (the data's, on the command line).
        num_classes: Number of classes (the data's, on the command line).
        image_size: Height and width in pixels (the data's, on the command line), at least 14.
        optimizer: The book's SGD, from scratch too.
        lr_scheduler: Learning rate schedule, or None.
        lr_scheduler_config: Lightning's options for the schedule (interval, frequency, monitor).
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        optimizer: OptimizerCallable = lambda p: SGD(p, lr=0.2),
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = MultiDeviceLeNetNetwork(
            in_channels=in_channels, num_classes=num_classes, image_size=image_size
        )
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits, label)
