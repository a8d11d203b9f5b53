"""One LightningModule base for each task: loss, metrics, steps, optimizers."""

from zoo.tasks.base import LRSchedulerCallable, NonFiniteLossError, OptimizerCallable, Task
from zoo.tasks.classification import BinaryClassifier, Classifier, ImageClassifier, MultiLabelClassifier
from zoo.tasks.regression import Regressor

__all__ = [
    "BinaryClassifier",
    "Classifier",
    "ImageClassifier",
    "LRSchedulerCallable",
    "MultiLabelClassifier",
    "NonFiniteLossError",
    "OptimizerCallable",
    "Regressor",
    "Task",
]
