"""The functions of the models from scratch, made of tensor operations alone."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo._checks import check_fraction

__all__ = ["cross_entropy", "dropout", "half_squared_error", "l2_penalty", "log_softmax", "relu", "softmax"]


def half_squared_error(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Mean of (prediction - target)^2 / 2 (section 3.4.2)."""
    return ((prediction - target) ** 2 / 2).mean()


def l2_penalty(weight: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Half the squared norm of a weight (section 3.7.3.1)."""
    return (weight**2).sum() / 2


def log_softmax(logits: Float[Tensor, "batch num_classes"]) -> Float[Tensor, "batch num_classes"]:
    """Logarithm of the softmax.

    The largest logit is subtracted before the exponentials, which then cannot overflow: the log-sum-exp trick
    of section 4.5.2, which the book's version from scratch leaves out.
    """
    shifted = logits - logits.max(dim=1, keepdim=True).values
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def softmax(logits: Float[Tensor, "batch num_classes"]) -> Float[Tensor, "batch num_classes"]:
    """Class probabilities (section 4.4.1)."""
    return log_softmax(logits).exp()


def cross_entropy(
    logits: Float[Tensor, "batch num_classes"],
    label: Int[Tensor, " batch"] | Float[Tensor, "batch num_classes"],
) -> Float[Tensor, ""]:
    """Mean cross-entropy (section 4.4.3).

    Args:
        logits: Scores before the softmax.
        label: Class indices, or probabilities for each class.
    """
    log_probability = log_softmax(logits)
    if label.ndim == 1:
        return -log_probability[torch.arange(len(label), device=label.device), label].mean()
    return -(label * log_probability).sum(dim=1).mean()


def relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """max(x, 0), with derivative 0 at 0 (section 5.1.2.1)."""
    return torch.where(x > 0, x, 0)


def dropout(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Zero each element with probability ``p`` and divide the others by ``1 - p`` (section 5.6.2).

    Args:
        x: Hidden activations.
        p: Drop probability in [0, 1).

    Raises:
        ValueError: If ``p`` is out of its range.
    """
    check_fraction("dropout", p)
    kept = torch.rand_like(x) >= p
    return kept * x / (1 - p)
