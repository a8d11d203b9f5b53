"""Figures read, and a space with trials to draw."""

import numpy as np
from matplotlib.axes import Axes
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

SPACE: dict[str, BaseDistribution] = {
    "m.opt": CategoricalDistribution(["torch.optim.SGD", "torch.optim.Adam"]),
    "m.opt.init_args.lr@torch.optim.SGD": FloatDistribution(1e-2, 1.0, log=True),
    "m.opt.init_args.lr@torch.optim.Adam": FloatDistribution(1e-4, 1e-1, log=True),
    "m.opt.init_args.momentum@torch.optim.SGD": FloatDistribution(0.0, 0.8),
    "d.batch_size": IntDistribution(32, 256, log=True),
}
SGD = {
    "m.opt": "torch.optim.SGD",
    "m.opt.init_args.lr": 1.0,
    "m.opt.init_args.momentum": 0.2,
    "d.batch_size": 32,
}
ADAM = {"m.opt": "torch.optim.Adam", "m.opt.init_args.lr": 1e-4, "d.batch_size": 256}


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def line(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Points of the line whose label begins so."""
    (found,) = [found for found in axes.get_lines() if str(found.get_label()).startswith(label)]
    return [(float(x), float(y)) for x, y in np.asarray(found.get_xydata())]


def dots(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Points of the scattered marks whose label begins so."""
    (found,) = [found for found in axes.collections if str(found.get_label()).startswith(label)]
    return [(float(x), float(y)) for x, y in np.asarray(found.get_offsets())]
