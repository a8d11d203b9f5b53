# The public names of the zoo and where they live: `zoo/__init__.py` imports each on first use.
# A new model is listed here and nowhere else.
from ._registry import MODELS as MODELS
from .api import create as create
from .api import list_models as list_models
from .builders import ChimeraMLP as ChimeraMLP
from .builders import FixedHiddenMLP as FixedHiddenMLP
from .builders import MyLinearMLP as MyLinearMLP
from .builders import NestMLP as NestMLP
from .builders import SharedMLP as SharedMLP
from .cnn.bn_lenet import BNLeNet as BNLeNet
from .cnn.lenet import LeNet as LeNet
from .cnn.lenet import LeNetModern as LeNetModern
from .cnn.resnet import ResNet as ResNet
from .cnn.resnet import ResNet18 as ResNet18
from .cnn.resnet import ResNet18Small as ResNet18Small
from .linear import LinearRegression as LinearRegression
from .linear import SoftmaxRegression as SoftmaxRegression
from .linear import WeightDecay as WeightDecay
from .mlp import MLP as MLP
from .mlp import DropoutMLP as DropoutMLP
from .mlp import TabularMLP as TabularMLP
from .optim.schedules import ExponentialDecay as ExponentialDecay
from .optim.schedules import FactorDecay as FactorDecay
from .optim.schedules import InverseSqrtDecay as InverseSqrtDecay
from .optim.schedules import PolynomialDecay as PolynomialDecay
from .optim.schedules import WarmupCosine as WarmupCosine
from .scratch.lenet import BNLeNetScratch as BNLeNetScratch
from .scratch.linear import LinearRegressionScratch as LinearRegressionScratch
from .scratch.linear import SoftmaxRegressionScratch as SoftmaxRegressionScratch
from .scratch.linear import WeightDecayScratch as WeightDecayScratch
from .scratch.mlp import DropoutMLPScratch as DropoutMLPScratch
from .scratch.mlp import MLPScratch as MLPScratch
from .tasks.base import NonFiniteLossError as NonFiniteLossError

__all__: list[str]
