"""One LightningModule base for each task: loss, metrics, steps, optimizers."""

from zoo.tasks.base import LRSchedulerCallable, NonFiniteLossError, OptimizerCallable, Task
from zoo.tasks.classification import BinaryClassifier, Classifier, ImageClassifier, MultiLabelClassifier
from zoo.tasks.language import LanguageModel
from zoo.tasks.regression import Regressor
from zoo.tasks.text import TextTask, TokenizerError
from zoo.tasks.translation import Translator

__all__ = [
    "BinaryClassifier",
    "Classifier",
    "ImageClassifier",
    "LRSchedulerCallable",
    "LanguageModel",
    "MultiLabelClassifier",
    "NonFiniteLossError",
    "OptimizerCallable",
    "Regressor",
    "Task",
    "TextTask",
    "TokenizerError",
    "Translator",
]
