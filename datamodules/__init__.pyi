# Public names of the datamodules and where they live: `datamodules/__init__.py` imports each on first use.
# A new datamodule is listed here and nowhere else.
from ._registry import DATAMODULES as DATAMODULES
from .api import list_datamodules as list_datamodules
from .interface.errors import DataError as DataError
from .tabular.airfoil import AirfoilNoise as AirfoilNoise
from .tabular.csv_table import CSVTable as CSVTable
from .tabular.house_prices import HousePrices as HousePrices
from .tabular.house_prices import HouseTiny as HouseTiny
from .tabular.sine_wave import SineWave as SineWave
from .tabular.synthetic import EdgeImage as EdgeImage
from .tabular.synthetic import SyntheticHighDimensional as SyntheticHighDimensional
from .tabular.synthetic import SyntheticRegression as SyntheticRegression
from .tabular.synthetic import SyntheticSines as SyntheticSines
from .text.english_french import EnglishFrench as EnglishFrench
from .text.parallel_text import ParallelText as ParallelText
from .text.text_file import TextFile as TextFile
from .text.time_machine import TimeMachine as TimeMachine
from .text.wikitext2 import WikiText2 as WikiText2
from .vision.augment import Augmentation as Augmentation
from .vision.cifar10 import CIFAR10 as CIFAR10
from .vision.digits import Digits as Digits
from .vision.fashion_mnist import FashionMNIST as FashionMNIST
from .vision.image_folder import ImageFolder as ImageFolder
from .vision.kaggle_cifar10 import KaggleCIFAR10 as KaggleCIFAR10

__all__: list[str]
