"""Warm-up and cosine: the book's values, resuming, the command line's form."""

from typing import Any

import pytest
import torch
from torch import nn

import zoo
from zoo.optim.schedules import WarmupCosine


def rates(steps: int, *, lr: float = 0.3, **arguments: Any) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = WarmupCosine(optimizer, **arguments)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("warmup_steps", "expected"),
    [
        (0, {0: 0.3, 5: 0.25753, 10: 0.155, 20: 0.01, 25: 0.01, 39: 0.01}),
        (5, {0: 0.0, 4: 0.24, 5: 0.3, 10: 0.2275, 20: 0.01, 30: 0.01}),
    ],
)
def test_rates_are_the_books(warmup_steps: int, expected: dict[int, float]) -> None:
    seen = rates(40, total_steps=20, warmup_steps=warmup_steps, final_lr=0.01)
    for step, rate in expected.items():
        assert seen[step] == pytest.approx(rate, abs=5e-6)


def test_each_group_has_its_own_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 1.0)]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    schedule = WarmupCosine(optimizer, total_steps=10, warmup_steps=4)
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == [pytest.approx(0.05), pytest.approx(0.5)]


def test_resumes_from_its_state() -> None:
    expected = rates(20, total_steps=15, warmup_steps=5)

    def make() -> tuple[Any, WarmupCosine]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
        return optimizer, WarmupCosine(optimizer, total_steps=15, warmup_steps=5)

    optimizer, schedule = make()
    for _ in range(7):
        optimizer.step()
        schedule.step()
    state, optimizer_state = schedule.state_dict(), optimizer.state_dict()
    assert all(isinstance(value, bool | int | float | list | type(None)) for value in state.values())
    optimizer, schedule = make()
    schedule.load_state_dict(state)
    optimizer.load_state_dict(optimizer_state)
    seen = []
    for _ in range(7, 20):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert seen == expected[7:]


def test_is_saved_as_class_path_and_arguments() -> None:
    model = zoo.LinearRegression(
        in_features=2,
        lr_scheduler=lambda o: zoo.WarmupCosine(o, total_steps=9, warmup_steps=3, final_lr=0.01),
    )
    spec = model.hparams["lr_scheduler"]
    assert spec["init_args"] == {"total_steps": 9, "warmup_steps": 3, "final_lr": 0.01}
    again = zoo.LinearRegression(in_features=2, lr_scheduler=spec, lr_scheduler_config={"interval": "step"})
    config = again.configure_optimizers()["lr_scheduler"]
    assert isinstance(config["scheduler"], WarmupCosine)
    assert config["scheduler"].total_steps == 9
    assert config["interval"] == "step"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total_steps": 0}, "total_steps is 0, but must be positive"),
        ({"total_steps": 5, "warmup_steps": -1}, "warmup_steps is -1, but must be at least 0"),
        ({"total_steps": 5, "warmup_steps": 5}, "warmup_steps is 5, but must be less than total_steps, 5"),
        ({"total_steps": 5, "final_lr": -0.1}, r"final_lr is -0\.1, but must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rates(1, **arguments)
