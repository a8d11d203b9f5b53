"""What several files of tests ask of models."""

from typing import Any

import torch
from torch import Tensor, nn

import zoo
from datamodules.interface.batches import SequenceBatch, TranslationBatch
from zoo.rnn.bidirectional import MaskedTokenModel
from zoo.tasks import Task


def tiny(name: str, **arguments: Any) -> Task:
    """The small version that is registered, with other arguments if given."""
    entry = zoo.MODELS[name]
    model: Task = entry.cls(**{**entry.tiny, **arguments})
    if isinstance(model, zoo.ExactGP):  # without examples to predict from, its output is the same everywhere
        features, target = model.example_batch(6)
        model.net.condition(features, target[:, 0])
    return model


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def inputs_of(model: Task, batch_size: int) -> tuple[Tensor, ...]:
    """Random inputs of the network."""
    return model.network_inputs(model.example_batch(batch_size))


def example_inputs(model: Task) -> tuple[Tensor, ...]:
    """``example_input_array``, which is one tensor or several."""
    example: Any = model.example_input_array
    return (example,) if isinstance(example, Tensor) else tuple(example)


def other_inputs(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Others of the same shape: numbers are changed, ids of tokens stand in another order, lengths stay."""
    return tuple(
        3 * field + 1 if field.is_floating_point() else field.flip(1) if field.ndim > 1 else field
        for field in inputs
    )


def count_predicted(model: Task, batch: Any) -> int:
    """How many predictions a batch asks for: one for each example, or for each token, or hidden token."""
    if isinstance(model, MaskedTokenModel):
        return len(batch.tokens) * model.num_hidden(batch.tokens.shape[1])
    if isinstance(batch, SequenceBatch):
        return batch.label.numel()
    if isinstance(batch, TranslationBatch):
        return int((batch.target_length - 1).sum())
    return len(batch[0])


def cast(inputs: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The inputs, with this type where they are no ids or lengths."""
    return tuple(field.to(dtype) if field.is_floating_point() else field for field in inputs)
