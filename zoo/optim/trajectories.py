"""Pictures of the ways that optimizers take on the small objectives of chapter 12.

``python -m zoo.optim.trajectories --output runs/trajectories`` draws them and prints the last points.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.optim import SGD, Adadelta, Adagrad, Adam, Momentum, Newton, RMSprop, Yogi, toy
from zoo.optim.convergence import polyak_average
from zoo.optim.convexity import Objective
from zoo.optim.schedules import ExponentialDecay, PolynomialDecay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Run", "draw", "main", "one_dimensional", "stochastic", "two_dimensional"]

COLUMNS = 4
DOTS_PER_INCH = 110


@dataclass(frozen=True)
class Run:
    """One way: an optimizer on an objective, and the part of the plane (or of the axis) to show."""

    title: str
    objective: Objective
    start: Sequence[float]
    optimizer: Callable[[list[nn.Parameter]], Optimizer]
    low: Sequence[float]
    high: Sequence[float]
    steps: int = 20
    lr_scheduler: Callable[[Any], LRScheduler] | None = None
    noise: float = 0.0
    average: bool = False
    """Whether to show the Polyak average; for a constant rate."""

    def path(self) -> Tensor:
        """The points, the first one included: (steps + 1, dimensions)."""
        return toy.trajectory(
            self.objective,
            self.start,
            self.optimizer,
            steps=self.steps,
            lr_scheduler=self.lr_scheduler,
            noise=self.noise,
        )


def two_dimensional(objective: Objective, *, rate: float, low: Sequence[float] = (-5.6, -3.0)) -> list[Run]:
    """The optimizers of the chapter on one objective, from (-5, -2), with the book's rates where it has them.

    Args:
        objective: The objective.
        rate: Learning rate of gradient descent; momentum has 1.5 times that, the others know no such scale.
        low: Lower left corner of the picture.
    """
    adagrad = partial(Adagrad, eps=1e-6, eps_inside_root=True)
    rmsprop = partial(RMSprop, alpha=0.9, eps=1e-6, eps_inside_root=True)
    optimizers: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
        f"gradient descent, {rate:g}": partial(SGD, lr=rate),
        f"gradient descent, {1.5 * rate:g}": partial(SGD, lr=1.5 * rate),
        f"momentum .25, {1.5 * rate:g}": partial(Momentum, lr=1.5 * rate, momentum=0.25),
        f"momentum .5, {1.5 * rate:g}": partial(Momentum, lr=1.5 * rate, momentum=0.5),
        "Adagrad, 0.4": partial(adagrad, lr=0.4),
        "Adagrad, 2": partial(adagrad, lr=2.0),
        "RMSprop .9, 0.4": partial(rmsprop, lr=0.4),
        "Adadelta .9": partial(Adadelta, rho=0.9, eps=1e-5),
        "Adam, 0.4": partial(Adam, lr=0.4, eps=1e-6),
        "Yogi, 0.4": partial(Yogi, lr=0.4),
        "Newton": partial(Newton),
        "Newton, diagonal": partial(Newton, diagonal=True),
    }
    # Adadelta's first steps are as small as the root of its eps.
    return [
        Run(title, objective, (-5.0, -2.0), build, low, (2.0, 2.0), steps=200 if "delta" in title else 20)
        for title, build in optimizers.items()
    ]


def leaving_the_saddle() -> list[Run]:
    """From near the line on which a saddle looks like a minimum."""
    optimizers: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
        "gradient descent, 0.1": partial(SGD, lr=0.1),
        "momentum .5, 0.1": partial(Momentum, lr=0.1, momentum=0.5),
        "Newton, 0.5": partial(Newton, lr=0.5),
        "Newton, 0.5, absolute": partial(Newton, lr=0.5, absolute=True),
    }
    return [
        Run(title, toy.saddle, (-5.0, -0.1), build, (-5.6, -4.0), (2.0, 2.0))
        for title, build in optimizers.items()
    ]


def one_dimensional() -> list[Run]:
    """Gradient descent and Newton's method on the curves of section 12.3, from 10."""
    optimizers: list[tuple[str, Objective, Callable[[list[nn.Parameter]], Optimizer]]] = [
        ("gradient descent, 0.05", toy.parabola, partial(SGD, lr=0.05)),
        ("gradient descent, 0.2", toy.parabola, partial(SGD, lr=0.2)),
        ("gradient descent, 1.1", toy.parabola, partial(SGD, lr=1.1)),
        ("gradient descent, 2", toy.wave, partial(SGD, lr=2.0)),
        ("Newton", toy.cosh, partial(Newton)),
        ("Newton", toy.wave, partial(Newton)),
        ("Newton, 0.5", toy.wave, partial(Newton, lr=0.5)),
        ("Newton, absolute, line search", toy.wave, partial(Newton, absolute=True, line_search=True)),
    ]
    return [
        Run(
            title,
            objective,
            (10.0,),
            build,
            (-12.0,),
            (28.0,) if objective is toy.wave else (12.0,),
            steps=10,
        )
        for title, objective, build in optimizers
    ]


def stochastic() -> list[Run]:
    """Noisy gradients, and what a falling rate or an average does about them (section 12.4)."""

    def run(title: str, **other: Any) -> Run:
        descent = partial(SGD, lr=0.1)
        return Run(title, toy.bowl, (-5.0, -2.0), descent, (-5.6, -3.0), (2.0, 2.0), noise=1.0, **other)

    return [
        run("rate 0.1", steps=50),
        run("rate 0.1, and average", steps=200, average=True),
        run("exponential decay", steps=1000, lr_scheduler=partial(ExponentialDecay, decay=0.1)),
        run("polynomial decay", steps=50, lr_scheduler=partial(PolynomialDecay, decay=0.1, power=0.5)),
    ]


PICTURES: dict[str, Callable[[], list[Run]]] = {
    "one_dimensional": one_dimensional,
    "bowl": partial(two_dimensional, toy.bowl, rate=0.1),
    "valley": partial(two_dimensional, toy.valley, rate=0.4),
    "tilted_valley": partial(two_dimensional, toy.tilted_valley, rate=0.2, low=(-5.6, -5.0)),
    "saddle": leaving_the_saddle,
    "stochastic": stochastic,
}


def draw(runs: Sequence[Run], file: Path) -> list[Tensor]:
    """Draw runs side by side into a PNG file.

    Args:
        runs: The runs, each in one or two dimensions.
        file: Where to; its folder exists.

    Returns:
        The paths.
    """
    # matplotlib takes long to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(runs) // COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, 2.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    paths = [run.path() for run in runs]
    for axes, run, path in zip(grid.flat[: len(runs)], runs, paths, strict=True):
        if len(run.start) == 1:
            _draw_curve(axes, run, path)
        else:
            _draw_plane(axes, run, path)
        axes.set_title(f"{run.title} ({run.steps} steps)", fontsize=9)
    for axes in grid.flat[len(runs) :]:
        axes.remove()
    figure.savefig(file, dpi=DOTS_PER_INCH)
    return paths


def _draw_curve(axes: "Axes", run: Run, path: Tensor) -> None:
    x = torch.linspace(run.low[0], run.high[0], 400, dtype=path.dtype)
    axes.plot(x, run.objective(x[:, None]), color="tab:blue", linewidth=1)
    axes.plot(path[:, 0], run.objective(path), "o-", color="tab:orange", markersize=3, linewidth=1)
    axes.set_xlim(run.low[0], run.high[0])
    inside = run.objective(x[:, None])
    margin = 0.05 * float(inside.max() - inside.min())
    axes.set_ylim(float(inside.min()) - margin, float(inside.max()) + margin)
    axes.set_xlabel("x")
    axes.set_ylabel("f(x)")


def _draw_plane(axes: "Axes", run: Run, path: Tensor) -> None:
    sides = [
        torch.linspace(low, high, 200, dtype=path.dtype) for low, high in zip(run.low, run.high, strict=True)
    ]
    x1, x2 = torch.meshgrid(*sides, indexing="xy")
    axes.contour(
        x1, x2, run.objective(torch.stack([x1, x2], dim=-1)), levels=12, colors="tab:blue", linewidths=0.6
    )
    axes.plot(path[:, 0], path[:, 1], "o-", color="tab:orange", markersize=3, linewidth=1)
    if run.average:
        mean = polyak_average(path[:-1], [1.0] * run.steps)
        axes.plot(mean[0], mean[1], "*", color="black", markersize=11)
    axes.set_xlim(run.low[0], run.high[0])
    axes.set_ylim(run.low[1], run.high[1])
    axes.set_xlabel("x1")
    axes.set_ylabel("x2")


def main(args: Sequence[str] | None = None) -> None:
    """Draw all pictures.

    Args:
        args: Arguments of the command; None for those it was called with.
    """
    parser = argparse.ArgumentParser(prog="python -m zoo.optim.trajectories", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/trajectories"), help="folder of the pictures"
    )
    output: Path = parser.parse_args(args).output
    output.mkdir(parents=True, exist_ok=True)
    for name, build in PICTURES.items():
        runs = build()
        paths = draw(runs, output / f"{name}.png")
        print(output / f"{name}.png")
        for run, path in zip(runs, paths, strict=True):
            print(f"  {run.title:32}{'  '.join(f'{value:12.6f}' for value in path[-1].tolist())}")


if __name__ == "__main__":
    main()
