"""Search methods on recorded learning curves: what each would have spent, and found.

The curves are those of 60 random configurations of the book's search space (section 19.2: learning rate from
.01 to 1, logarithmic, and batch size from 32 to 256), each trained for all its epochs. A method draws from
these, each one once, and only the epochs that it would have trained count.
"""

import argparse
import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._search_engine import Draw, History, Training, simulate
from benchmarks._tables import mean_interval, table
from benchmarks.epoch import verdict
from callbacks._pictures import new_figure, save_figure
from search.schedulers import Scheduler, make_scheduler
from search.trials import Curve

__all__ = [
    "METHODS",
    "MODELS",
    "Method",
    "Recorded",
    "compare",
    "draw_picture",
    "format_replay",
    "read_curves",
]

LEARNING_RATES = (0.01, 1.0)
BATCH_SIZES = (32, 256)
STARTUP = 10
"""Random trials before the first that is proposed."""
FEWEST = 4
"""A rung with so many outcomes can be modelled; one more than there are coefficients of a plane."""


@dataclass(frozen=True)
class Model:
    """A model whose curves are replayed.

    Attributes:
        name: Its name.
        curves: File of its curves, in ``benchmarks/curves``.
        min_resource: First rung, in epochs.
        share: ASHA is to reach the target with at most this share of random search's epochs.
    """

    name: str
    curves: str
    min_resource: int
    share: float


MODELS = {
    "lenet": Model("LeNet", "lenet.csv", min_resource=3, share=0.5),
    "lenet_modern": Model("LeNetModern", "lenet_modern.csv", min_resource=1, share=0.333),
}


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        scheduler: Name of its scheduler.
        proposes: Whether a Gaussian process proposes its trials after the first ``STARTUP``.
    """

    scheduler: str
    proposes: bool = False


METHODS = {
    "random search": Method("none"),
    "successive halving": Method("successive_halving"),
    "ASHA, stopping": Method("asha"),
    "ASHA, promoting": Method("asha_promotion"),
    "Hyperband": Method("hyperband"),
    "BO": Method("none", proposes=True),
    "BO + ASHA": Method("asha_promotion", proposes=True),
}


@dataclass(frozen=True)
class Recorded:
    """A configuration and how its training went.

    Attributes:
        point: Its learning rate and batch size as shares of their ranges, the first one logarithmic.
        training: Validation error and seconds of each epoch.
    """

    point: tuple[float, float]
    training: Training


def read_curves(path: Path) -> list[Recorded]:
    """Read a file of curves: columns trial, lr, batch_size, epoch (from 1 on), error, loss and seconds."""
    rows: dict[int, list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(int(row["trial"]), []).append(row)
    recorded = []
    for of_trial in rows.values():
        of_trial.sort(key=lambda row: int(row["epoch"]))
        rate, size = float(of_trial[0]["lr"]), float(of_trial[0]["batch_size"])
        low, high = LEARNING_RATES
        point = (
            math.log(rate / low) / math.log(high / low),
            (size - BATCH_SIZES[0]) / (BATCH_SIZES[1] - BATCH_SIZES[0]),
        )
        errors = [float(row["error"]) for row in of_trial]
        recorded.append(Recorded(point, Training(errors, [float(row["seconds"]) for row in of_trial])))
    return recorded


def draw_randomly(recorded: Sequence[Recorded], order: Sequence[int]) -> Draw:
    """Configurations in a given order."""
    left = iter(order)
    return lambda curves: recorded[next(left)].training


def draw_proposed(
    recorded: Sequence[Recorded], order: Sequence[int], rungs: Sequence[int], seed: int
) -> Draw:
    """Configurations in a given order at first, then each the one of the rest that promises most.

    With rungs, trials have come to different ones, and their losses do not compare. As in BOHB (Falkner et
    al. 2018), the model is of the losses at the highest rung, or the end, to which enough trials have come.

    Args:
        recorded: All configurations.
        order: The order.
        rungs: At which trials may have been paused or stopped, ascending, the last one the end.
        seed: Of ties between proposals.
    """
    from search.gp_sampler import propose  # with torch, which the rest can do without

    points = np.array([one.point for one in recorded])
    chosen: list[int] = []

    def draw(curves: Sequence[Curve]) -> Training:
        left = [index for index in order if index not in chosen]
        index = left[0]
        if len(chosen) >= STARTUP:
            losses = losses_at_highest(curves, rungs)
            x = points[[chosen[number] for number in losses]]
            y = np.array(list(losses.values()))
            index = left[propose(x, y, points[left], acquisition="ei", seed=seed + len(chosen))]
        chosen.append(index)
        return recorded[index].training

    return draw


def losses_at_highest(curves: Sequence[Curve], rungs: Sequence[int]) -> dict[int, float]:
    """The lowest loss of each trial up to the highest rung to which ``FEWEST`` have come, by trial."""
    for rung in reversed(rungs):
        came = [curve for curve in curves if curve.resource >= rung]
        if len(came) >= FEWEST:
            break
    return {c.number: min(loss for epoch, loss in c.losses.items() if epoch <= rung) for c in came}


def search_once(
    method: Method,
    recorded: Sequence[Recorded],
    *,
    min_resource: int,
    reduction_factor: int,
    trials: int,
    more_trials: bool,
    seed: int,
) -> History:
    """One search by one worker.

    Args:
        method: How to search.
        recorded: Configurations to draw from.
        min_resource: First rung.
        reduction_factor: One trial in this many leaves a rung.
        trials: How many, and of successive halving at a time.
        more_trials: Whether a method that has spent less than this number of trials takes to the end starts
            others, as long as there are any.
        seed: Of the order in which configurations are drawn randomly, the same for all methods.
    """
    order = np.random.default_rng(seed).permutation(len(recorded)).tolist()
    max_resource = len(recorded[0].training.losses)

    def make() -> Scheduler:
        return make_scheduler(
            method.scheduler,
            max_resource=max_resource,
            min_resource=min_resource,
            reduction_factor=reduction_factor,
            num_trials=trials,
        )

    draw = draw_randomly(recorded, order)
    if method.proposes:
        draw = draw_proposed(recorded, order, [*make().rungs(), max_resource], 1000 * seed)
    budget = trials * max_resource
    if not more_trials:
        return simulate(make(), draw, num_trials=trials, max_epochs=budget)
    if method.scheduler != "successive_halving":
        return simulate(make(), draw, num_trials=len(recorded), max_epochs=budget)
    history = History()
    for _ in range(len(recorded) // trials):
        simulate(make(), draw, num_trials=trials, max_epochs=budget, history=history)
    return history


def mean_best(histories: Sequence[History], epochs: int) -> list[float]:
    """The lowest error seen after 1, 2, ... epochs spent, a mean over the seeds."""
    return [statistics.fmean(h.best_after(spent) for h in histories) for spent in range(1, epochs + 1)]


def format_replay(found: dict[str, list[History]], *, budget: int, share: float) -> str:
    """A row for each method; the target is the mean error at which random search ends.

    Args:
        found: Searches by method, a seed each; random search is the first.
        budget: Epochs of random search.
        share: ASHA is to reach the target with at most this share of them.
    """
    target = statistics.fmean(history.best for history in next(iter(found.values())))
    head = ["method", "epochs until the mean error is there", "share of random search's"]
    rows = [[*head, "epochs by seed", "share", "seeds there", "error in the end", "epochs in the end"]]
    for name, histories in found.items():
        mean = next((i for i, best in enumerate(mean_best(histories, budget), 1) if best <= target), None)
        costs = [history.cost_of(target) for history in histories]
        by_seed = mean_interval([cost[0] if cost else budget for cost in costs])
        share_of_mean = math.inf if mean is None else mean / budget
        rows.append(
            [
                name,
                "never" if mean is None else str(mean),
                verdict(share_of_mean, at_most=share if "ASHA" in name else None),
                by_seed.text(),
                f"{by_seed.mean / budget:.2f}",
                f"{sum(cost is not None for cost in costs)} of {len(costs)}",
                mean_interval([history.best for history in histories]).text(4),
                f"{statistics.fmean(history.epochs for history in histories):.0f}",
            ]
        )
    return table(rows)


def draw_picture(found: dict[str, list[History]], *, budget: int, title: str, path: Path) -> None:
    """Draw the best error against the epochs spent, a mean over the seeds.

    Random search has its 95% interval around it; with one around each nothing could be told apart.

    Args:
        found: Searches by method, a seed each; random search is the first.
        budget: Epochs of random search.
        title: Title of the picture.
        path: File to write.
    """
    figure = new_figure(7.5, 4.5)
    axes = figure.add_subplot()
    spent = list(range(1, budget + 1))
    for name, histories in found.items():
        axes.step(spent, mean_best(histories, budget), where="post", label=name, linewidth=1.4)
    random_search = next(iter(found.values()))
    intervals = [mean_interval([h.best_after(epochs) for h in random_search]) for epochs in spent]
    low, high = [i.low for i in intervals], [i.high for i in intervals]
    axes.fill_between(spent, low, high, step="post", alpha=0.15, linewidth=0)
    target = intervals[-1].mean
    label = f"random search in the end, {target:.4f}"
    axes.axhline(target, color="gray", linewidth=0.9, linestyle="--", label=label)
    lowest = min(mean_best(histories, budget)[-1] for histories in found.values())
    axes.set_ylim(min(lowest, intervals[-1].low) - 0.004, target + 0.08)
    axes.set_xscale("log")
    axes.set_xlim(3, budget)
    ticks = [n for n in (3, 10, 30, 100, 300, 1000) if n <= budget]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.set_xlabel("epochs spent")
    axes.set_ylabel("lowest validation error so far")
    axes.set_title(title)
    axes.legend(fontsize=8)
    save_figure(figure, path)


def compare(given: argparse.Namespace) -> None:
    """Replay all methods on the curves of each model; print the tables and draw the picture."""
    for model in (MODELS[key] for key in given.models):
        recorded = read_curves(given.curves / model.curves)
        epochs = len(recorded[0].training.losses)
        min_resource = given.min_resource or model.min_resource
        budget = given.trials * epochs
        about = (
            f"{model.name}, {len(recorded)} recorded configurations of {epochs} epochs, {given.seeds} seeds; "
            f"first rung {min_resource}, reduction factor {given.reduction_factor}"
        )
        found: dict[str, list[History]] = {}
        for more_trials in False, True:
            for name, method in METHODS.items():
                if more_trials and method.scheduler == "none":
                    continue  # it has spent the budget
                found[name] = [
                    search_once(
                        method,
                        recorded,
                        min_resource=min_resource,
                        reduction_factor=given.reduction_factor,
                        trials=given.trials,
                        more_trials=more_trials,
                        seed=seed,
                    )
                    for seed in range(given.seeds)
                ]
            each = f"{budget} epochs" if more_trials else f"{given.trials} trials"
            target = statistics.fmean(history.best for history in found["random search"])
            print(
                f"\n{about}; {each} each. Target: {target:.4f}, the mean error at which random search ends. "
                f"By seed, those that never came there count as {budget} epochs. Mean (95% interval).\n\n"
                f"{format_replay(found, budget=budget, share=model.share)}\n",
                flush=True,
            )
        picture = given.pictures / f"search_{Path(model.curves).stem}.png"
        draw_picture(
            found,
            budget=budget,
            title=f"{model.name}, {each} each; mean of {given.seeds} seeds",
            path=picture,
        )
        print(f"picture: {picture}", flush=True)
