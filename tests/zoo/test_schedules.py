"""Schedules: the book's values and torch's, closed forms, resuming, the command line's form."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, MultiStepLR

import zoo
from zoo.optim.schedules import (
    ExponentialDecay,
    FactorDecay,
    InverseSqrtDecay,
    PolynomialDecay,
    WarmupConstant,
    WarmupCosine,
    WarmupSchedule,
)

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "cnn"


def sgd(lr: float = 0.3) -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def take(optimizer: torch.optim.Optimizer, schedule: LRScheduler, steps: int) -> list[float]:
    """The rates of the next steps."""
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def rates(build: Callable[..., LRScheduler], steps: int, *, lr: float = 0.3, **arguments: Any) -> list[float]:
    optimizer = sgd(lr)
    return take(optimizer, build(optimizer, **arguments), steps)


# What the optimizer's rate is multiplied by, from the number of steps.
CLOSED_FORMS: list[tuple[type[WarmupSchedule], dict[str, Any], Callable[[int], float]]] = [
    (WarmupConstant, {}, lambda t: 1.0),
    (ExponentialDecay, {}, lambda t: math.e ** (-0.1 * t)),
    (ExponentialDecay, {"decay": 0.5}, lambda t: math.e ** (-0.5 * t)),
    (PolynomialDecay, {}, lambda t: 1 / math.sqrt(1 + 0.1 * t)),
    (PolynomialDecay, {"decay": 2.0, "power": 1.0}, lambda t: 1 / (1 + 2 * t)),
    (InverseSqrtDecay, {}, lambda t: (t + 1) ** -0.5),
    (FactorDecay, {}, lambda t: 0.9**t),
    (FactorDecay, {"factor": 0.5, "final_lr": 0.02}, lambda t: max(0.5**t, 0.02 / 0.3)),
    (
        WarmupCosine,
        {"total_steps": 20, "final_lr": 0.03},
        lambda t: 0.1 + 0.9 * (1 + math.cos(math.pi * min(t, 20) / 20)) / 2,
    ),
]

every_schedule = pytest.mark.parametrize(
    ("schedule", "arguments", "share"),
    CLOSED_FORMS,
    ids=[f"{c.__name__}{a or ''}" for c, a, _ in CLOSED_FORMS],
)


@every_schedule
def test_rates_are_the_closed_form(
    schedule: type[WarmupSchedule], arguments: dict[str, Any], share: Callable[[int], float]
) -> None:
    assert rates(schedule, 40, **arguments) == pytest.approx([0.3 * share(t) for t in range(40)])


@every_schedule
def test_warmup_rises_from_zero_and_the_decay_starts_after_it(
    schedule: type[WarmupSchedule], arguments: dict[str, Any], share: Callable[[int], float]
) -> None:
    if "total_steps" in arguments:
        arguments = {**arguments, "total_steps": arguments["total_steps"] + 5}  # it counts the warm-up in
    seen = rates(schedule, 30, warmup_steps=5, **arguments)
    assert seen[:5] == pytest.approx([0, 0.06, 0.12, 0.18, 0.24])
    assert seen[5:] == pytest.approx([0.3 * share(t) for t in range(25)])


@pytest.mark.parametrize(
    ("warmup_steps", "expected"),
    [
        (0, {0: 0.3, 5: 0.25753, 10: 0.155, 20: 0.01, 25: 0.01, 39: 0.01}),
        (5, {0: 0.0, 4: 0.24, 5: 0.3, 10: 0.2275, 20: 0.01, 30: 0.01}),
    ],
)
def test_cosine_rates_are_the_books(warmup_steps: int, expected: dict[int, float]) -> None:
    seen = rates(WarmupCosine, 40, total_steps=20, warmup_steps=warmup_steps, final_lr=0.01)
    for step, rate in expected.items():
        assert seen[step] == pytest.approx(rate, abs=5e-6)


def test_rates_are_torchs_where_torch_has_them() -> None:
    theirs = rates(ExponentialLR, 30, gamma=math.exp(-0.1))
    assert rates(ExponentialDecay, 30) == pytest.approx(theirs)
    assert rates(FactorDecay, 30, factor=0.9, final_lr=0.0) == pytest.approx(
        rates(ExponentialLR, 30, gamma=0.9)
    )
    theirs = rates(CosineAnnealingLR, 30, T_max=20, eta_min=0.01)
    ours = rates(WarmupCosine, 30, total_steps=20, final_lr=0.01)
    assert ours[:21] == pytest.approx(theirs[:21])
    assert ours[25] == 0.01
    assert theirs[25] > 0.05  # torch's rises again


@every_schedule
def test_rate_depends_on_the_number_of_steps_alone(
    schedule: type[WarmupSchedule], arguments: dict[str, Any], share: Callable[[int], float]
) -> None:
    made = schedule(sgd(), **arguments)
    for step in (17, 3, 3, 0):
        made.last_epoch = step
        for _ in range(2):
            assert made.get_lr() == [pytest.approx(0.3 * share(step))]


def test_each_group_has_its_own_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 1.0)]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    schedule = WarmupCosine(optimizer, total_steps=10, warmup_steps=4)
    take(optimizer, schedule, 2)
    assert schedule.get_last_lr() == [pytest.approx(0.05), pytest.approx(0.5)]


@every_schedule
def test_resumes_from_its_state(
    schedule: type[WarmupSchedule], arguments: dict[str, Any], share: Callable[[int], float]
) -> None:
    arguments = {**arguments, "warmup_steps": 5}
    expected = rates(schedule, 20, **arguments)
    optimizer = sgd()
    made = schedule(optimizer, **arguments)
    take(optimizer, made, 7)
    state, optimizer_state = made.state_dict(), optimizer.state_dict()
    assert all(isinstance(value, bool | int | float | list | type(None)) for value in state.values())
    optimizer = sgd()
    made = schedule(optimizer, **arguments)
    made.load_state_dict(state)
    optimizer.load_state_dict(optimizer_state)
    assert take(optimizer, made, 13) == expected[7:]


@every_schedule
def test_is_saved_as_class_path_and_arguments(
    schedule: type[WarmupSchedule], arguments: dict[str, Any], share: Callable[[int], float]
) -> None:
    arguments = {**arguments, "warmup_steps": 3}
    model = zoo.LinearRegression(in_features=2, lr_scheduler=lambda o: schedule(o, **arguments))
    spec = model.hparams["lr_scheduler"]
    assert spec["class_path"] == f"zoo.{schedule.__name__}"
    assert arguments.items() <= spec["init_args"].items()
    again = zoo.LinearRegression(in_features=2, lr_scheduler=spec, lr_scheduler_config={"interval": "step"})
    config = again.configure_optimizers()["lr_scheduler"]
    assert type(config["scheduler"]) is schedule
    assert {name: getattr(config["scheduler"], name) for name in arguments} == arguments
    assert config["interval"] == "step"


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (WarmupCosine, {"total_steps": 0}, "total_steps is 0, but must be positive"),
        (WarmupCosine, {"total_steps": 5, "warmup_steps": -1}, "warmup_steps is -1, but must be at least 0"),
        (
            WarmupCosine,
            {"total_steps": 5, "warmup_steps": 5},
            "warmup_steps is 5, but must be less than total_steps, 5",
        ),
        (WarmupCosine, {"total_steps": 5, "final_lr": -0.1}, r"final_lr is -0\.1, but must be at least 0"),
        (ExponentialDecay, {"decay": -1}, "decay is -1, but must be at least 0"),
        (PolynomialDecay, {"decay": -1}, "decay is -1, but must be at least 0"),
        (PolynomialDecay, {"power": -1}, "power is -1, but must be at least 0"),
        (InverseSqrtDecay, {"warmup_steps": -1}, "warmup_steps is -1, but must be at least 0"),
        (FactorDecay, {"factor": 1.5}, r"factor is 1\.5, but must be in \(0, 1\]"),
        (FactorDecay, {"factor": 0}, r"factor is 0, but must be in \(0, 1\]"),
        (FactorDecay, {"final_lr": -1}, "final_lr is -1, but must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(
    schedule: type[WarmupSchedule], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rates(schedule, 1, **arguments)


# The book's five runs of LeNet


def rates_of_config(name: str, epochs: int) -> list[float]:
    """The rate of each epoch of a configuration file."""
    text = (CONFIGS / f"lenet_modern_fashion_mnist_{name}.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert config["trainer"]["max_epochs"] == epochs
    assert config["model"]["class_path"] == "zoo.LeNetModern"
    made = zoo.LeNetModern(**config["model"].get("init_args", {})).configure_optimizers()
    if isinstance(made, torch.optim.Optimizer):
        return [made.param_groups[0]["lr"]] * epochs
    assert "interval" not in made["lr_scheduler"]  # so a step is an epoch
    return take(made["optimizer"], made["lr_scheduler"]["scheduler"], epochs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", {0: 0.3, 29: 0.3}),
        ("sqrt", {0: 0.1, 3: 0.05, 24: 0.02}),
        ("multi_step", {0: 0.5, 14: 0.5, 15: 0.25, 29: 0.25}),
        ("cosine", {0: 0.3, 5: 0.25753, 10: 0.155, 20: 0.01, 29: 0.01}),
        ("warmup_cosine", {0: 0.0, 1: 0.06, 5: 0.3, 10: 0.2275, 20: 0.01, 29: 0.01}),
    ],
)
def test_configurations_have_the_books_schedules(name: str, expected: dict[int, float]) -> None:
    seen = rates_of_config(name, 30)
    assert {epoch: seen[epoch] for epoch in expected} == pytest.approx(expected, abs=5e-6)


def test_multi_step_drops_at_the_milestone() -> None:
    """One step earlier than in formulas that multiply after it: step 15, counted from 0, is at half."""
    seen = rates(MultiStepLR, 31, lr=0.5, milestones=[15, 30], gamma=0.5)
    assert [seen[i] for i in (14, 15, 29, 30)] == [0.5, 0.25, 0.25, 0.125]
