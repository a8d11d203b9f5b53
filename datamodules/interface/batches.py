"""The batch that each task expects, as a NamedTuple of tensors.

A datamodule stores its splits in the same NamedTuples, with the whole split in place of the batch.
"""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Batch", "ClassificationBatch", "ImageBatch", "MultiLabelBatch", "RegressionBatch"]


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


Batch = RegressionBatch | ClassificationBatch | MultiLabelBatch | ImageBatch
