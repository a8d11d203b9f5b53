"""A search in virtual time: any scheduler on learning curves that are known beforehand.

Virtual workers do what real ones do (:mod:`search._scheduler` says what), but an epoch only moves the clock.
To pause a trial and to go on with it costs nothing.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from search.schedulers import Decision, Scheduler
from search.trials import Curve, TrialState

__all__ = ["Draw", "History", "Training", "simulate"]


@dataclass(frozen=True)
class Training:
    """What the training of a configuration would give.

    Attributes:
        losses: After each epoch; the lower, the better. As many as the scheduler's ``max_resource``.
        seconds: Of each epoch.
    """

    losses: Sequence[float]
    seconds: Sequence[float]


Draw = Callable[[Sequence[Curve]], Training]
"""Chooses the configuration of a new trial from what is known of the others."""


@dataclass
class History:
    """What a search spent, and what it had found by then.

    Attributes:
        improvements: Each time the best loss fell: epochs spent by all workers, seconds passed, the loss.
        epochs: Spent in all.
        seconds: Passed in all.
        curves: The trials at the end.
    """

    improvements: list[tuple[int, float, float]] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0
    curves: list[Curve] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The lowest loss seen after any epoch of any trial."""
        return self.improvements[-1][2] if self.improvements else math.inf

    def best_after(self, epochs: int) -> float:
        """The lowest loss seen by the time so many epochs were spent."""
        return min((loss for spent, _, loss in self.improvements if spent <= epochs), default=math.inf)

    def cost_of(self, target: float) -> tuple[int, float] | None:
        """Epochs and seconds until a loss of at most ``target`` was seen; None if it never was."""
        return next(((epochs, time) for epochs, time, loss in self.improvements if loss <= target), None)


def simulate(
    scheduler: Scheduler,
    draw: Draw,
    *,
    num_trials: int | None,
    num_workers: int = 1,
    target: float = -math.inf,
    max_epochs: float = math.inf,
    history: History | None = None,
) -> History:
    """Search until there is nothing left to do.

    Args:
        scheduler: Decides which trials go on.
        draw: Chooses configurations.
        num_trials: Trials to start, None for no end.
        num_workers: Trials that run at the same time.
        target: A loss that ends the search at once.
        max_epochs: Epochs that end it, those of the given history included.
        history: Of a study that is over, to go on counting from there.

    Returns:
        What was spent and found.
    """
    study = _Study(scheduler, draw, num_trials, max_epochs, history or History())
    idle = num_workers
    while study.history.best > target and study.history.epochs < max_epochs:
        while idle and study.start_one():
            idle -= 1
        if not study.running:
            break
        idle += study.end_epochs()
    return study.history


class _Study:
    """Trials, and a clock that stands at the end of the epoch that ended last."""

    def __init__(
        self, scheduler: Scheduler, draw: Draw, num_trials: int | None, max_epochs: float, history: History
    ) -> None:
        self.scheduler = scheduler
        self.rungs = set(scheduler.rungs())
        self.draw = draw
        self.num_trials = num_trials
        self.max_epochs = max_epochs
        self.history = history
        self.trainings: list[Training] = []
        self.losses: list[dict[int, float]] = []
        self.curves: list[Curve] = history.curves
        self.curves.clear()
        self.running: list[tuple[float, int, int]] = []
        """Heap of when a trial's epoch ends, the order in which epochs began, and the trial."""
        self.begun = 0

    def start_one(self) -> bool:
        """Have a free worker go on with a trial or start one; False if it has to wait."""
        trial = self.scheduler.to_promote(self.curves)
        if trial is None and (self.num_trials is None or len(self.curves) < self.num_trials):
            trial = len(self.curves)
            self.trainings.append(self.draw(self.curves))
            self.losses.append({})
            self.curves.append(Curve(trial, self.losses[trial], "running"))
        if trial is None and not self.running:
            trial = self.scheduler.to_finish(self.curves)
        if trial is None:
            return False
        self._set(trial, "running")
        self._begin_epoch(trial)
        return True

    def end_epochs(self) -> int:
        """Let epochs end until those who wait, or the search, must look; returns how many workers are free.

        Between rungs nothing becomes of other trials, and only a better loss or the last epoch ends a search.
        """
        while True:
            history = self.history
            history.seconds, _, trial = heapq.heappop(self.running)
            history.epochs += 1
            losses = self.losses[trial]
            epoch = len(losses) + 1
            loss = losses[epoch] = self.trainings[trial].losses[epoch - 1]
            if loss < history.best:
                history.improvements.append((history.epochs, history.seconds, loss))
            decision = self._decide(trial, epoch, loss)
            if decision == "continue":
                self._begin_epoch(trial)
            over = loss == history.best or history.epochs >= self.max_epochs
            if over or decision != "continue" or epoch in self.rungs:
                return int(decision != "continue")

    def _decide(self, trial: int, epoch: int, loss: float) -> Decision:
        decision: Decision = "stop"
        if math.isfinite(loss):
            if epoch == self.scheduler.max_resource:
                self._set(trial, "complete")
                return "stop"
            decision = self.scheduler.after_report(trial, self.curves)
        if decision != "continue":
            self._set(trial, "paused" if decision == "pause" else "pruned")
        return decision

    def _begin_epoch(self, trial: int) -> None:
        seconds = self.trainings[trial].seconds[len(self.losses[trial])]
        heapq.heappush(self.running, (self.history.seconds + seconds, self.begun, trial))
        self.begun += 1

    def _set(self, trial: int, state: TrialState) -> None:
        self.curves[trial] = replace(self.curves[trial], state=state)
