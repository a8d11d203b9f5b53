"""Time to a target of search methods with many virtual workers, on synthetic learning curves."""

import argparse
import math

import numpy as np

from benchmarks._fast_schedulers import make_fast_scheduler
from benchmarks._search_engine import History, Training, simulate
from benchmarks._tables import mean_interval, table

__all__ = ["METHODS", "compare", "format_simulation", "search_once", "synthetic_training", "target_loss"]

MAX_RESOURCE = 81
REDUCTION_FACTOR = 3
RARITY = 1000
"""The target is what one configuration in so many reaches."""
METHODS = {
    "random search": "none",
    "successive halving": "successive_halving",
    "ASHA, stopping": "asha",
    "ASHA, promoting": "asha_promotion",
    "Hyperband": "hyperband",
}
"""Schedulers by what the tables call them."""


def synthetic_training(rng: np.random.Generator) -> Training:
    """The losses of a random configuration after each epoch.

    The loss falls from .9 to a floor, as one over the epochs. Configurations differ in the floor and in how
    soon half of the way is done, so that curves cross: what is best after one epoch need not be in the end.
    Spearman's correlation of the losses with the lowest one of the curve is .54 after the first epoch, .79
    after 3 and .96 after 9. Configurations differ in the time of an epoch too, from 2/3 to 4/3 of a second.
    """
    floor = rng.uniform(0.1, 0.5)
    half_life = math.exp(rng.uniform(math.log(0.3), math.log(3)))
    epochs = np.arange(1, MAX_RESOURCE + 1)
    losses = floor + (0.9 - floor) / (1 + epochs / half_life) + rng.normal(0, 0.005, MAX_RESOURCE)
    return Training(losses.tolist(), [float(rng.uniform(2 / 3, 4 / 3))] * MAX_RESOURCE)


def target_loss() -> float:
    """What the best epoch of one configuration in ``RARITY`` reaches."""
    rng = np.random.default_rng(0)
    best = [min(synthetic_training(rng).losses) for _ in range(20 * RARITY)]
    return float(np.quantile(best, 1 / RARITY))


def search_once(name: str, *, num_workers: int, target: float, seed: int) -> History:
    """Search until the target is reached; successive halving begins again as often as it takes.

    The trial of a number has the same configuration for every scheduler and number of workers.

    Args:
        name: Of the scheduler.
        num_workers: Trials that run at the same time.
        target: Loss to reach.
        seed: Of the configurations.
    """
    rng = np.random.default_rng(seed)
    # With fewer trials than workers some would never have anything to do.
    cohort = max(MAX_RESOURCE, num_workers) if name == "successive_halving" else None
    history = History()
    while history.best > target:
        scheduler = make_fast_scheduler(
            name,
            max_resource=MAX_RESOURCE,
            min_resource=1,
            reduction_factor=REDUCTION_FACTOR,
            num_trials=cohort,
        )
        simulate(
            scheduler,
            lambda curves: synthetic_training(rng),
            num_trials=cohort,
            num_workers=num_workers,
            target=target,
            history=history,
        )
    return history


def format_simulation(found: dict[str, dict[int, list[History]]], value: str) -> str:
    """A row for each method, a column for each number of workers; mean and 95% interval over the seeds.

    Args:
        found: Searches that reached the target, by method and number of workers.
        value: What of them to show: ``seconds`` or ``epochs``.
    """
    workers = list(next(iter(found.values())))
    head = ["method", *(f"{count:,} worker{'s' if count > 1 else ''}" for count in workers)]
    rows = [
        [method, *(mean_interval([getattr(h, value) for h in by_workers[count]]).text() for count in workers)]
        for method, by_workers in found.items()
    ]
    return table([head, *rows])


def compare(given: argparse.Namespace) -> None:
    """Simulate all methods with all numbers of workers, and print the tables."""
    target = target_loss()
    found: dict[str, dict[int, list[History]]] = {}
    for method, name in METHODS.items():
        found[method] = {
            count: [
                search_once(name, num_workers=count, target=target, seed=seed) for seed in range(given.seeds)
            ]
            for count in given.virtual_workers
        }
        print(f"simulate: {method} done", flush=True)
    print(
        f"\nSearch on synthetic learning curves of {MAX_RESOURCE} epochs until a loss of {target:.4f} is "
        f"seen, which one configuration in {RARITY:,} reaches. First rung 1, reduction factor "
        f"{REDUCTION_FACTOR}; successive halving with cohorts of {MAX_RESOURCE} trials, or as many as there "
        f"are workers, one after the other. Mean (95% interval) of {given.seeds} seeds; all reached it.\n\n"
        f"Virtual seconds, where an epoch takes one on average:\n\n{format_simulation(found, 'seconds')}\n\n"
        f"Epochs of all workers:\n\n{format_simulation(found, 'epochs')}\n"
    )
