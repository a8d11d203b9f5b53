"""Trials made by hand, for what shows them."""

from typing import Any

from search.objectives import Objective
from search.trials import TrialView

ACC = (Objective("val/acc", "maximize"),)
ERROR = (Objective("val/err", "minimize"),)
TWO = (Objective("val/acc", "maximize"), Objective("parameters", "minimize"))


def trial(number: int, state: Any = "complete", *values: float, **more: Any) -> TrialView:
    more.setdefault("params", {"model.init_args.optimizer.init_args.lr": 0.1})
    return TrialView(number, state, values=values or None, **more)
