"""Backpropagation by hand (section 5.3): what autograd does, written out for a multilayer perceptron."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo._checks import check_at_least, check_choice
from zoo.scratch.functions import cross_entropy, l2_penalty, relu, softmax

__all__ = ["ACTIVATIONS", "SLOPES", "BackpropMLP"]

Function = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Function] = {"relu": relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
# The slope as a function of the activation's output a, which forward propagation has kept: the sigmoid's is
# a (1 - a). To put a into sigmoid'(.) instead is a common mistake.
SLOPES: dict[str, Function] = {
    "relu": lambda a: (a > 0).to(a.dtype),
    "sigmoid": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a**2,
}


class BackpropMLP:
    """A multilayer perceptron whose gradients are derived by hand.

    Args:
        weights: Weight (inputs, outputs) of each layer.
        biases: Bias (outputs,) of each layer.
        activation: ``relu``, ``sigmoid`` or ``tanh``, after each layer but the last.
        l2: Strength of the penalty ``l2 * ||W||^2 / 2`` on each weight (the book's lambda), at least 0.

    Raises:
        ValueError: If the activation is not one of these, or ``l2`` is negative.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        *,
        activation: str = "relu",
        l2: float = 0.0,
    ) -> None:
        check_choice("activation", activation, ACTIVATIONS)
        check_at_least("l2", l2, 0)
        self.weights = list(weights)
        self.biases = list(biases)
        self.activation = activation
        self.l2 = l2
        self.inputs: list[Tensor] = []
        self.logits = torch.empty(0)

    def forward(self, x: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch num_classes"]:
        """Logits; keeps each layer's input for :meth:`backward`."""
        self.inputs = []
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            self.inputs.append(x)
            x = x @ weight + bias
            if i < last:
                x = ACTIVATIONS[self.activation](x)
        self.logits = x
        return x

    def loss(self, label: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of the last forward propagation, plus the penalty (the book's J = L + s)."""
        penalty = sum((l2_penalty(weight) for weight in self.weights), torch.zeros_like(self.logits[0, 0]))
        return cross_entropy(self.logits, label) + self.l2 * penalty

    def backward(self, label: Int[Tensor, " batch"]) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of :meth:`loss` after :meth:`forward`.

        Returns:
            The gradients of the weights and of the biases, in the order of the layers.
        """
        batch = len(label)
        # Cross-entropy behind a softmax: probability minus one-hot label.
        delta = softmax(self.logits)
        delta[torch.arange(batch, device=label.device), label] -= 1
        delta = delta / batch
        weight_gradients: list[Tensor] = []
        bias_gradients: list[Tensor] = []
        for i in reversed(range(len(self.weights))):
            weight_gradients.insert(0, self.inputs[i].T @ delta + self.l2 * self.weights[i])
            bias_gradients.insert(0, delta.sum(dim=0))
            if i > 0:
                delta = (delta @ self.weights[i].T) * SLOPES[self.activation](self.inputs[i])
        return weight_gradients, bias_gradients
