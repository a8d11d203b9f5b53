"""Newton's method: its steps, line search, refusals, Lightning and the command line."""

import itertools
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

import datamodules
import zoo
from tests.zoo.optim_runs import START, f64, printed_optimizer
from zoo import optim
from zoo.optim import convexity, toy
from zoo.optim.newton import newton_direction


def quadratic(*, definite: bool = True) -> tuple[Tensor, Tensor]:
    """A symmetric matrix of curvatures 0.1 to 20 (or one of them negative), and a minimum."""
    generator = torch.Generator().manual_seed(3)
    axes, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    curvatures = f64(0.1, 1, 5 if definite else -5, 20)
    return axes @ torch.diag(curvatures) @ axes.T, torch.randn(4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 2e-3)], ids=str)
def test_newton_takes_one_step_on_a_quadratic(dtype: torch.dtype, tolerance: float) -> None:
    matrix, minimum = (t.to(dtype) for t in quadratic())
    parts = [nn.Parameter(torch.ones(1, 3, dtype=dtype)), nn.Parameter(torch.ones((), dtype=dtype))]
    optimizer = optim.Newton(parts)

    def closure() -> Tensor:
        optimizer.zero_grad()
        away = torch.cat([p.flatten() for p in parts]) - minimum
        loss = away @ matrix @ away / 2 + 3
        loss.backward()
        return loss

    before = closure()
    assert optimizer.step(closure) == before
    torch.testing.assert_close(
        torch.cat([p.detach().flatten() for p in parts]), minimum, atol=tolerance, rtol=0
    )
    assert closure().item() == pytest.approx(3, abs=tolerance)


def test_newton_error_is_squared_at_each_step() -> None:
    """Section 12.3.3.2: e' = f''' / (2 f'') e^2; the third derivative of e^x - x at 0 is 1, as the second."""
    path = toy.trajectory(lambda x: torch.exp(x[0]) - x[0], (0.05,), lambda p: optim.Newton(p), steps=2)
    for before, after in itertools.pairwise(path[:, 0].tolist()):
        assert after == pytest.approx(before**2 / 2, rel=0.02)


def test_differences_of_gradients_give_the_hessian() -> None:
    """On an objective with third derivatives, in several parameters, far from the scale 1."""

    def objective(x: Tensor) -> Tensor:
        return x[0] ** 3 * x[1] + torch.exp(0.1 * x[2] * x[1]) + x[2] ** 2 * x[0] + 50 * (x @ x)

    x = f64(0.7, -3, 20)
    step = newton_direction(torch.func.grad(objective)(x), convexity.hessian(objective, x))
    path = toy.trajectory(objective, x.tolist(), lambda p: optim.Newton(p), steps=1)
    torch.testing.assert_close(path[1], x - step, atol=1e-8, rtol=0)


def test_newton_direction_by_hand() -> None:
    hessian, gradient = f64([2, 1], [1, -3]), f64(4, 6)
    # Determinant -7: the inverse is [[3, 1], [1, -2]] / 7.
    torch.testing.assert_close(newton_direction(gradient, hessian), f64(18, -8) / 7)
    torch.testing.assert_close(newton_direction(gradient, hessian, diagonal=True), f64(2, -2))
    torch.testing.assert_close(newton_direction(gradient, hessian, diagonal=True, absolute=True), f64(2, 2))
    # |H| is the root of H^2 = [[5, -1], [-1, 10]]: (H^2 + det|H| I) / sqrt(trace + 2 det|H|).
    absolute = (f64([5, -1], [-1, 10]) + 7 * torch.eye(2)) / math.sqrt(15 + 14)
    torch.testing.assert_close(absolute @ newton_direction(gradient, hessian, absolute=True), gradient)


def test_preconditioning_gives_each_coordinate_its_rate() -> None:
    """One step on an objective without mixed terms; else the rest of the Hessian is what is left to do."""

    def run(objective: Any, **arguments: Any) -> Tensor:
        return toy.trajectory(
            objective, START, lambda p: optim.Newton(p, diagonal=True, **arguments), steps=1
        )[1]

    torch.testing.assert_close(run(toy.valley), f64(0, 0), atol=1e-8, rtol=0)
    torch.testing.assert_close(run(toy.valley, lr=0.25), f64(-5, -2) * 0.75)
    # Of the Hessian [[4.2, -3.8], [-3.8, 4.2]]: x - H x / 4.2.
    torch.testing.assert_close(run(toy.tilted_valley), f64(-2, -5) * 3.8 / 4.2)


def test_newton_goes_to_a_saddle_but_for_absolute_curvatures() -> None:
    def end(**arguments: Any) -> list[float]:
        return toy.trajectory(toy.saddle, START, lambda p: optim.Newton(p, **arguments), steps=1)[1].tolist()

    assert end() == pytest.approx([0, 0], abs=1e-8)
    assert end(absolute=True) == pytest.approx([0, -4])


def test_line_search_halves_the_step_until_the_loss_falls() -> None:
    """On sqrt(1 + x^2) Newton's step goes from x to -x^3: from 2 to -8, which is uphill, half of it to -3."""

    def run(start: float, **arguments: Any) -> list[float]:
        path = toy.trajectory(
            lambda x: torch.sqrt(1 + x[0] ** 2), (start,), lambda p: optim.Newton(p, **arguments), steps=1
        )
        return path[1].tolist()

    assert run(2) == pytest.approx([-8])
    assert run(2, line_search=True) == pytest.approx([-0.5])  # a quarter: 2 - 10 / 4
    assert run(1.2, line_search=True) == pytest.approx([-0.264])  # half: 1.2 - (1.2 + 1.2^3) / 2
    assert run(0.5, line_search=True) == pytest.approx([-0.125])
    assert run(2, lr=0.1, line_search=True) == pytest.approx([1.0])


def test_line_search_finds_the_nearest_valley_and_stays_at_a_minimum() -> None:
    path = toy.trajectory(
        toy.wave, (10.0,), lambda p: optim.Newton(p, absolute=True, line_search=True), steps=12
    )
    values = toy.wave(path)
    assert (values.diff() <= 1e-12).all()
    assert path[-1].item() == pytest.approx(7.269388, abs=1e-6)
    assert convexity.classify_critical_point(toy.wave, path[-1]) == "minimum"


def test_line_search_wants_more_than_a_trifle() -> None:
    """From a little below 1 the step leads to nearly -1, and saves a hundred-thousandth."""
    path = toy.trajectory(
        lambda x: torch.sqrt(1 + x[0] ** 2), (0.99999,), lambda p: optim.Newton(p, line_search=True), steps=1
    )
    assert path[1].item() == pytest.approx((0.99999 - 0.99999**3) / 2, abs=1e-8)


def test_line_search_forgives_rounding_of_the_loss() -> None:
    """In float32 nothing is left of a change by 1e-6 beside 1,000."""
    x = nn.Parameter(torch.tensor(3.001))
    optimizer = optim.Newton([x], line_search=True)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 1000 + (x - 3) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert x.item() == pytest.approx(3, abs=1e-6)


def test_line_search_that_finds_nothing_leaves_the_parameters() -> None:
    """The gradient has the wrong sign, so every step is uphill."""
    x = nn.Parameter(f64(1.0))
    optimizer = optim.Newton([x], line_search=True)

    def closure() -> float:
        x.grad = 3 * x.detach() - 9  # of 1.5 (x - 3)^2
        return -((x.item() - 3) ** 2)

    assert optimizer.step(closure) == -4
    assert x.item() == 1


def test_newton_refuses_what_it_cannot_do() -> None:
    def run(objective: Any, **arguments: Any) -> None:
        toy.trajectory(objective, START, lambda p: optim.Newton(p, **arguments), steps=1)

    singular = "the Hessian is singular or not finite, so there is no Newton step"
    with pytest.raises(ValueError, match=singular):
        run(lambda x: (x[0] + x[1]) ** 2)
    with pytest.raises(ValueError, match=singular):
        run(lambda x: x[0] ** 2, diagonal=True, absolute=True)
    with pytest.raises(ValueError, match=singular):
        newton_direction(f64(1, 1), f64([math.nan, 0], [0, 1]), diagonal=True)
    with pytest.raises(
        ValueError, match="the Newton step leads uphill; with absolute=True it leads downhill"
    ):
        toy.trajectory(toy.saddle, (0.1, 1.0), lambda p: optim.Newton(p, line_search=True), steps=1)
    x = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="lr is -1, but must be at least 0"):
        optim.Newton([x], lr=-1)
    with pytest.raises(ValueError, match="closure is None, but must compute loss and gradients anew"):
        optim.Newton([x]).step()
    with pytest.raises(ValueError, match="the number of parameters is 1001, but must be at most 1000"):
        optim.Newton([nn.Parameter(torch.zeros(1001))])
    with pytest.raises(ValueError, match="the number of groups is 2, but must be 1 for Newton"):
        optim.Newton([{"params": [x]}, {"params": [nn.Parameter(torch.ones(1))]}])


def test_newton_trains_in_lightning_and_is_saved_as_class_path() -> None:
    """On linear regression, one epoch of one batch is the closed form."""
    data = datamodules.SyntheticRegression(batch_size="full", noise=0.5)
    newton = {"class_path": "zoo.optim.Newton", "init_args": {"lr": 1.0}}
    model = zoo.LinearRegression(in_features=2, optimizer=lambda p: optim.Newton(p, lr=1.0))
    assert newton["init_args"].items() <= model.hparams["optimizer"]["init_args"].items()
    assert model.hparams["optimizer"]["class_path"] == newton["class_path"]
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert trainer.global_step == 2
    (features, target), *_ = iter(data.train_dataloader())
    weight, bias = zoo.linear.least_squares(features, target)
    torch.testing.assert_close(model.net.weight.detach(), weight, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.net.bias.detach(), bias, atol=1e-4, rtol=0)


def test_command_line_takes_newton(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = {"class_path": "zoo.optim.Newton", "init_args": {"absolute": True, "line_search": True}}
    printed = printed_optimizer(chosen, tmp_path, capsys)
    arguments = {"lr": 1.0, "diagonal": False, "absolute": True, "line_search": True}
    assert printed == {"class_path": "zoo.optim.Newton", "init_args": arguments}
