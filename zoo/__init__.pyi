# The public names of the zoo and where they live: `zoo/__init__.py` imports each on first use.
# A new model is listed here and nowhere else.
from ._registry import MODELS as MODELS
from .api import create as create
from .api import list_models as list_models
from .cnn.lenet import LeNet as LeNet
from .linear import LinearRegression as LinearRegression
from .linear import SoftmaxRegression as SoftmaxRegression
from .linear import WeightDecay as WeightDecay
from .mlp import MLP as MLP
from .mlp import DropoutMLP as DropoutMLP
from .tasks.base import NonFiniteLossError as NonFiniteLossError
