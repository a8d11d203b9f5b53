"""Pictures as PNG files, without matplotlib's global state; its import is slow, so functions import it."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from callbacks._files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["new_figure", "save_figure"]

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
