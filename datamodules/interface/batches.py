"""The batch that each task expects, as a NamedTuple of tensors.

A datamodule stores its splits in the same NamedTuples, with the whole split in place of the batch.
"""

from typing import NamedTuple

from torch import Tensor

__all__ = [
    "Batch",
    "ClassificationBatch",
    "ImageBatch",
    "MultiLabelBatch",
    "RegressionBatch",
    "SequenceBatch",
    "TranslationBatch",
]


class RegressionBatch(NamedTuple):
    """Inputs and real-valued targets.

    Attributes:
        features: Inputs (batch, in_features), float32.
        target: Targets (batch, out_features), float32.
    """

    features: Tensor
    target: Tensor


class ClassificationBatch(NamedTuple):
    """Inputs and one class for each.

    Attributes:
        features: Inputs (batch, in_features), float32.
        label: Class indices (batch,), int64 in [0, num_classes); or class probabilities
            (batch, num_classes), float32.
    """

    features: Tensor
    label: Tensor


class MultiLabelBatch(NamedTuple):
    """Inputs and any number of tags for each.

    Attributes:
        features: Inputs (batch, in_features), float32.
        labels: 1.0 where the tag holds, else 0.0 (batch, num_labels), float32.
    """

    features: Tensor
    labels: Tensor


class ImageBatch(NamedTuple):
    """Images and one class for each.

    Attributes:
        image: Images (batch, channels, height, width): uint8 in [0, 255] as stored and loaded, float32 as the
            model sees them (datamodules convert on the device).
        label: Class indices (batch,), int64 in [0, num_classes); or class probabilities
            (batch, num_classes), float32.
    """

    image: Tensor
    label: Tensor


class SequenceBatch(NamedTuple):
    """Windows of a text, and the token after each token.

    Attributes:
        tokens: Token ids (batch, num_steps), int64 in [0, vocab_size).
        label: The id that follows each of them (batch, num_steps), int64.
        continues: Whether the window begins where the window in the same row of the batch before ended
            (batch,), bool.
    """

    tokens: Tensor
    label: Tensor
    continues: Tensor


class TranslationBatch(NamedTuple):
    """Sentences of two languages, padded with ``<pad>`` to the longest of the batch.

    Attributes:
        source: Token ids of the source sentences, with ``<eos>`` at the end (batch, source_steps), int64.
        source_length: Tokens without padding (batch,), int64, at least 1.
        target: Token ids of the target sentences from ``<bos>`` to ``<eos>`` (batch, target_steps), int64.
        target_length: Tokens without padding (batch,), int64, at least 2.
        references: All translations known of each source, without ``<bos>`` and ``<eos>``
            (batch, references, steps), int64, padded with -1. A word that the vocabulary lacks has an id of
            its own, not below its size, so that no translation can match it. (batch, 0, 0) in training.
    """

    source: Tensor
    source_length: Tensor
    target: Tensor
    target_length: Tensor
    references: Tensor


Batch = (
    RegressionBatch | ClassificationBatch | MultiLabelBatch | ImageBatch | SequenceBatch | TranslationBatch
)
