"""One worker: claims trials of a study and runs them until there is nothing left to do."""

import _thread
import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from search.claims import Claim
from search.errors import SearchError
from search.liveness import SECONDS_BETWEEN_BEATS
from search.storage import one_line
from search.study import SharedStudy

__all__ = ["Run", "RunningTrial", "work"]


class Run(Protocol):
    """Runs one trial to its end, or as far as it may."""

    def __call__(self, trial: "RunningTrial", values: Mapping[str, Any]) -> Sequence[float]:
        """Train with these values, from where the trial stands.

        Args:
            trial: Is told the first objective after each epoch or fold, and then says whether to stop.
            values: Values by name of the space.

        Returns:
            The final objectives; of no account if the trial was stopped.
        """


class RunningTrial:
    """A trial while it runs: what the training sees of the study.

    Args:
        study: The study.
        claim: The trial.
        deadline: When to hand the trial back, by :func:`time.monotonic`; None for never.

    Attributes:
        number: Its number.
        resource: Epochs or folds done before this worker had it; training goes on from its checkpoint.
        decision: ``stop`` (pruned), ``pause`` (until it is promoted) or ``interrupt`` (the time is over),
            once :meth:`should_prune` is true.
    """

    def __init__(self, study: SharedStudy, claim: Claim, deadline: float | None) -> None:
        self._study = study
        self._claim = claim
        self._deadline = deadline
        self._started = time.monotonic()
        self.number = claim.number
        self.resource = claim.resource
        self.decision: Literal["continue", "pause", "stop", "interrupt"] = "continue"

    @property
    def newest(self) -> float | None:
        """The value that was reported last, by whichever worker."""
        return self._claim.newest

    @property
    def seconds(self) -> float:
        """Time since this worker has it."""
        return time.monotonic() - self._started

    def report(self, value: float, step: int) -> None:
        """Note the first objective; what comes after the decision to stop does not count.

        Args:
            value: The objective as measured.
            step: Epochs or folds done, counted from 1.

        Raises:
            KeyboardInterrupt: If the trial is another worker's by now.
        """
        if self.decision != "continue":
            return
        self.decision = self._study.report(self._claim, step, value)
        if self._claim.lost:
            raise KeyboardInterrupt  # before this worker's checkpoint replaces the new owner's
        late = self._deadline is not None and time.monotonic() > self._deadline
        if self.decision == "continue" and late and step < self._study.scheduler.max_resource:
            self.decision = "interrupt"

    def should_prune(self) -> bool:
        """Whether to stop after the last report."""
        return self.decision != "continue"


def work(
    study: SharedStudy,
    run: Run,
    *,
    deadline: float | None = None,
    seconds_between_beats: float = SECONDS_BETWEEN_BEATS,
    seconds_between_looks: float = 1.0,
) -> None:
    """Run trials until the study is over or the time is.

    Args:
        study: The study.
        run: Runs one trial.
        deadline: When to stop, by :func:`time.monotonic`; None for never.
        seconds_between_beats: How often to say that this worker lives.
        seconds_between_looks: How often to look for work while others run the last trials; the longer that
            takes, the less often, down to a third: many that wait must not keep the storage busy.

    Raises:
        SearchError: If as many trials failed as the study was to have.
        KeyboardInterrupt: On Ctrl-C; the trial is handed back first, to go on from its last checkpoint.
    """
    pause = seconds_between_looks
    while deadline is None or time.monotonic() < deadline:
        claim = study.next_trial()
        if claim == "over":
            return
        if claim == "wait":
            left = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
            time.sleep(min(pause, left))
            pause = min(1.5 * pause, 3 * seconds_between_looks)
            continue
        pause = seconds_between_looks
        trial = RunningTrial(study, claim, deadline)
        if claim.undecided and (decision := study.decide(claim)) != "continue":
            trial.decision = decision
            _end(study, claim, trial, [])
            continue
        try:
            with _beating(study, claim, seconds_between_beats):
                values = run(trial, claim.values)
        except KeyboardInterrupt:
            if claim.lost:  # it was declared dead, as after a long sleep of this machine
                continue
            if trial.decision == "continue":
                trial.decision = "interrupt"
            _end(study, claim, trial, [])
            raise
        except SearchError:
            raise
        except Exception as error:
            # Whatever it is, it is this trial's: the others may do better.
            study.fail(claim, one_line(error), trial.seconds)
            continue
        _end(study, claim, trial, values)


def _end(study: SharedStudy, claim: Claim, trial: RunningTrial, values: Sequence[float]) -> None:
    """Tell the study what became of a trial."""
    if trial.decision == "pause":
        study.pause(claim, "promotion", trial.seconds)
    elif trial.decision == "interrupt":
        study.pause(claim, "worker", trial.seconds)
    elif trial.decision == "stop" or not all(map(math.isfinite, values)):
        study.prune(claim, trial.seconds)
    else:
        study.complete(claim, values, trial.seconds)


@contextlib.contextmanager
def _beating(study: SharedStudy, claim: Claim, seconds: float) -> Iterator[None]:
    """Beat in a thread, and notice other workers' deaths; stop the training if the trial is lost."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(seconds):
            count += 1
            with contextlib.suppress(Exception):  # the training's own thread will see it too
                study.beat(claim, count)
                study.observe()
            if claim.lost and not ended.is_set():
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
