"""Pictures as PNG files, without matplotlib's global state; its import is slow, so functions import it."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from callbacks._files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["as_shown", "new_figure", "save_figure"]

DOTS_PER_INCH = 110


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path) -> None:
    """Draw a figure into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    png = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", dpi=DOTS_PER_INCH)
    write_atomically(path, png.getvalue())


def as_shown(image: "Tensor") -> "Tensor":
    """An image as matplotlib shows it, normalised pixels brought back into [0, 1].

    Args:
        image: (channels, height, width). Numbers of channels other than 1 and 3 are no colours, so their mean
            is shown.

    Returns:
        (height, width), or (height, width, 3) in colour.
    """
    if image.shape[0] not in (1, 3):
        image = image.mean(dim=0, keepdim=True)
    if image.min() < 0 or image.max() > 1:
        image = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-8)
    return image.movedim(0, -1).squeeze(-1)
