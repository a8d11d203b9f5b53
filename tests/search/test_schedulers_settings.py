"""How a scheduler is made, described and refused."""

import subprocess
import sys

import pytest

from search.schedulers import SCHEDULERS, Scheduler, make_scheduler
from tests.search.curves import curve


def test_every_trial_runs_to_the_end_without_a_scheduler():
    scheduler = Scheduler(max_resource=3)
    assert scheduler.rungs() == []
    assert scheduler.after_report(1, [curve(0, [0.1]), curve(1, [9.0])]) == "continue"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none", "every trial runs all 10 folds"),
        ("median", "after each of 1 to 9 of 10 folds"),
        ("asha", "rungs after 1, 3, 9 of 10 folds: a trial stops there unless it is in the best 1/3"),
        ("asha_promotion", "rungs after 1, 3, 9 of 10 folds: a trial pauses there"),
        ("successive_halving", "when all 30 trials are there, the best 10, 3, 1 go on"),
        ("hyperband", "in the best 1/3 of its bracket: 53% from 1 on, 29% from 3 on, 18% from 9 on"),
    ],
)
def test_what_it_does_is_said_first(name, text):
    assert text in make_scheduler(name, max_resource=10, num_trials=30).describe("folds")


def test_arguments_reach_the_scheduler():
    given = {"max_resource": 20, "min_resource": 2, "reduction_factor": 4}
    for name in "asha", "asha_promotion", "successive_halving", "hyperband":
        scheduler = make_scheduler(name, **given, num_trials=7)
        assert type(scheduler) is SCHEDULERS[name][0]
        assert scheduler.rungs() == [2, 8]
    assert make_scheduler("median", **given).rungs() == list(range(2, 20))
    assert make_scheduler("successive_halving", **given, num_trials=7).num_trials == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "ashra"}, "scheduler is 'ashra', but must be one of none, .*did you mean asha"),
        ({"max_resource": 0}, "max_resource is 0, but must be at least 1"),
        ({"min_resource": 0}, "min_resource is 0, but must be at least 1 and below max_resource, 9"),
        ({"min_resource": 9}, "min_resource is 9, but must be at least 1 and below max_resource, 9"),
        ({"reduction_factor": 1}, "reduction_factor is 1, but must be at least 2"),
        ({"num_trials": None}, "num_trials is None, but must be a number for successive_halving"),
        ({"num_trials": 0}, "num_trials is 0, but must be at least 1"),
    ],
)
def test_bad_values_are_refused(changed, message):
    given = {"name": "successive_halving", "max_resource": 9, "num_trials": 3, **changed}
    with pytest.raises(ValueError, match=message):
        make_scheduler(given.pop("name"), **given)


def test_schedulers_need_no_torch():
    """Fifty workers may run on one machine."""
    code = "import sys, search.schedulers; sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
