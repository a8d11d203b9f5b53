# The public names of the callbacks and where they live: `callbacks/__init__.py` imports each on first use.
from .checkpoint_io import AtomicCheckpointIO as AtomicCheckpointIO
from .curves import Curves as Curves
from .features import FeatureMaps as FeatureMaps
from .layer_health import LayerHealth as LayerHealth
from .metrics_csv import MetricsCSV as MetricsCSV
from .multi_step import MultiStepPredictions as MultiStepPredictions
from .predictions import Predictions as Predictions
from .progress import PlainProgress as PlainProgress
from .progress import RichProgress as RichProgress
from .progress import progress_bar as progress_bar
from .progress_board import ProgressBoard as ProgressBoard
from .pruning import Pruning as Pruning
from .run_record import RunRecord as RunRecord
from .text_samples import TextSamples as TextSamples

__all__: list[str]
