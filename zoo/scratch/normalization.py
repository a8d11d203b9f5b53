"""Batch, layer, group and instance normalisation from scratch (section 8.5).

All subtract a mean and divide by a standard deviation (with 1/n), then scale and shift. They differ in the
numbers that they average over, which are laid out as rows.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo._checks import check_positive

__all__ = ["BatchNorm", "batch_norm", "group_norm", "instance_norm", "layer_norm"]


def _normalize(
    rows: Float[Tensor, "*rows n"], eps: float
) -> tuple[Float[Tensor, "*rows n"], Float[Tensor, "*rows 1"], Float[Tensor, "*rows 1"]]:
    """Each row normalised, its mean and its variance."""
    mean = rows.mean(dim=-1, keepdim=True)
    variance = ((rows - mean) ** 2).mean(dim=-1, keepdim=True)
    return (rows - mean) / (variance + eps).sqrt(), mean, variance


def _per_channel(values: Float[Tensor, " channels"], x: Float[Tensor, "batch channels ..."]) -> Tensor:
    """One number for each channel, in a shape that broadcasts against ``x``."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def batch_norm(
    x: Float[Tensor, "batch channels ..."],
    running_mean: Float[Tensor, " channels"],
    running_var: Float[Tensor, " channels"],
    weight: Float[Tensor, " channels"],
    bias: Float[Tensor, " channels"],
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    unbiased: bool = True,
) -> Float[Tensor, "batch channels ..."]:
    """Normalise each channel over the batch and all pixels (section 8.5.2).

    In training the batch's own mean and variance are used, and the running ones, changed in place, follow
    them; in evaluation the running ones are used.

    Args:
        x: Images, or vectors, whose features are the channels.
        running_mean: Running mean.
        running_var: Running variance.
        weight: Scale (the book's gamma).
        bias: Shift (the book's beta).
        training: Whether this is training; the book asks whether gradients are on instead, which is not the
            same: a training pass without gradients must follow the batch too.
        momentum: Weight of the new value in a running one, in [0, 1].
        eps: Added to the variance.
        unbiased: Whether the batch's variance enters the running one with ``1 / (n - 1)``, as in torch, or
            with ``1 / n``, as in the book. The batch itself is always divided by the latter.

    Raises:
        ValueError: If there is one value for each channel in training, whose variance would be zero.
    """
    if not training:
        scale = _per_channel(weight / (running_var + eps).sqrt(), x)
        return (x - _per_channel(running_mean, x)) * scale + _per_channel(bias, x)
    channels_first = x.transpose(0, 1)
    rows = channels_first.reshape(len(channels_first), -1)
    n = rows.shape[1]
    if n < 2:
        raise ValueError("the batch has 1 value for each channel, but must have at least 2 in training")
    normalized, mean, variance = _normalize(rows, eps)
    with torch.no_grad():
        new_var = variance * n / (n - 1) if unbiased else variance
        running_mean.copy_((1 - momentum) * running_mean + momentum * mean.flatten())
        running_var.copy_((1 - momentum) * running_var + momentum * new_var.flatten())
    normalized = normalized.reshape(channels_first.shape).transpose(0, 1)
    return normalized * _per_channel(weight, x) + _per_channel(bias, x)


def layer_norm(
    x: Float[Tensor, "..."],
    weight: Float[Tensor, "..."],
    bias: Float[Tensor, "..."],
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "..."]:
    """Normalise each example over its last dimensions, those of the weight (section 8.5.2.3).

    Without ``eps``, ``layer_norm(a * x)`` is ``layer_norm(x)`` for a > 0 and ``-layer_norm(x)`` for a < 0
    (before scale and shift).

    Args:
        x: Inputs, whose last dimensions are the weight's.
        weight: Scale.
        bias: Shift, of the weight's shape.
        eps: Added to the variance.

    Raises:
        ValueError: If the last dimensions differ.
    """
    shape = tuple(x.shape[x.ndim - weight.ndim :])
    if shape != tuple(weight.shape):
        raise ValueError(f"the weight is {tuple(weight.shape)}, but must be as the last dimensions, {shape}")
    rows = x.reshape(-1, weight.numel())
    return _normalize(rows, eps)[0].reshape(x.shape) * weight + bias


def group_norm(
    x: Float[Tensor, "batch channels ..."],
    num_groups: int,
    weight: Float[Tensor, " channels"],
    bias: Float[Tensor, " channels"],
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "batch channels ..."]:
    """Normalise each example over groups of neighbouring channels and all pixels (Wu and He, 2018).

    One group is layer normalisation of images, with a scale for each channel.

    Args:
        x: Images.
        num_groups: Number of groups; it must divide the number of channels.
        weight: Scale.
        bias: Shift.
        eps: Added to the variance.

    Raises:
        ValueError: If the number of groups does not divide the channels.
    """
    check_positive("num_groups", num_groups)
    if x.shape[1] % num_groups:
        raise ValueError(f"num_groups is {num_groups}, but must divide the {x.shape[1]} channels")
    rows = x.reshape(len(x), num_groups, -1)
    normalized = _normalize(rows, eps)[0].reshape(x.shape)
    return normalized * _per_channel(weight, x) + _per_channel(bias, x)


def instance_norm(
    x: Float[Tensor, "batch channels ..."],
    weight: Float[Tensor, " channels"],
    bias: Float[Tensor, " channels"],
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "batch channels ..."]:
    """Normalise each channel of each example over all pixels (Ulyanov et al., 2016).

    Args:
        x: Images.
        weight: Scale.
        bias: Shift.
        eps: Added to the variance.
    """
    return group_norm(x, x.shape[1], weight, bias, eps=eps)


class BatchNorm(nn.Module):
    """Batch normalisation of images or vectors, with ``nn.BatchNorm2d``'s names (section 8.5.3).

    Args:
        num_features: Channels, or features of vectors, positive.
        momentum: Weight of the new value in a running one, in [0, 1].
        eps: Added to the variance, positive.
        unbiased: As in :func:`batch_norm`.

    Raises:
        ValueError: If one of them is out of its range.

    Attributes:
        running_mean: Running mean (num_features,), zeros at first; a buffer, so that it is saved and moves to
            a device with the model.
        running_var: Running variance (num_features,), ones at first; a buffer too.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, num_features: int, *, momentum: float = 0.1, eps: float = 1e-5, unbiased: bool = True
    ) -> None:
        super().__init__()
        check_positive("num_features", num_features)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum is {momentum!r}, but must be in [0, 1]")
        check_positive("eps", eps)
        self.momentum = momentum
        self.eps = eps
        self.unbiased = unbiased
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch channels ..."]:
        """Normalised inputs."""
        return batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
            unbiased=self.unbiased,
        )
