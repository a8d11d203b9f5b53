"""Newton's method, the objectives of chapter 12 and the ways on them, convexity and rates of convergence."""

import itertools
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from torch import Tensor, nn

import datamodules
import zoo
from zoo import optim
from zoo.optim import convergence, convexity, toy, trajectories
from zoo.optim.newton import newton_direction
from zoo_cli.main import main

START = (-5.0, -2.0)
BOOKS = {"eps": 1e-6, "eps_inside_root": True}


def f64(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# The figures that the book prints


@pytest.mark.parametrize(
    ("objective", "cls", "arguments", "steps", "printed"),
    [
        (toy.parabola, optim.SGD, {"lr": 0.2}, 10, (0.060466,)),
        (toy.parabola, optim.SGD, {"lr": 0.05}, 10, (3.486784,)),
        (toy.parabola, optim.SGD, {"lr": 1.1}, 10, (61.917364,)),
        (toy.wave, optim.SGD, {"lr": 2.0}, 10, (-1.528166,)),
        (toy.cosh, optim.Newton, {}, 10, (0.0,)),
        (toy.wave, optim.Newton, {}, 10, (26.834133,)),
        (toy.wave, optim.Newton, {"lr": 0.5}, 10, (7.269860,)),
        (toy.bowl, optim.SGD, {"lr": 0.1}, 20, (-0.057646, -0.000073)),
        (toy.valley, optim.SGD, {"lr": 0.4}, 20, (-0.943467, -0.000073)),
        (toy.valley, optim.SGD, {"lr": 0.6}, 20, (-0.387814, -1673.365109)),
        (toy.valley, optim.Momentum, {"lr": 0.6, "momentum": 0.5}, 20, (0.007188, 0.002553)),
        (toy.valley, optim.Momentum, {"lr": 0.6, "momentum": 0.25}, 20, (-0.126340, -0.186632)),
        (toy.valley, optim.Adagrad, {"lr": 0.4, **BOOKS}, 20, (-2.382563, -0.158591)),
        (toy.valley, optim.Adagrad, {"lr": 2.0, **BOOKS}, 20, (-0.002295, 0.0)),
        (toy.valley, optim.RMSprop, {"lr": 0.4, "alpha": 0.9, **BOOKS}, 20, (-0.010599, 0.0)),
    ],
)
def test_ways_end_where_the_books_do(
    objective: Any, cls: Any, arguments: dict[str, Any], steps: int, printed: tuple[float, ...]
) -> None:
    start = START if len(printed) == 2 else (10.0,)
    path = toy.trajectory(objective, start, lambda p: cls(p, **arguments), steps=steps)
    assert path.shape == (steps + 1, len(start))
    assert path[0].tolist() == list(start)
    assert path[-1].tolist() == pytest.approx(printed, abs=6e-7)


def test_objectives_take_grids_as_well_as_points() -> None:
    assert toy.tilted_valley(f64(1, 3)).item() == pytest.approx(0.1 * 16 + 2 * 4)
    assert toy.saddle(torch.ones(4, 5, 2)).shape == (4, 5)
    assert toy.wave(f64(10 / 3)).item() == pytest.approx(0, abs=1e-12)  # cos(pi / 2)


def test_a_flat_place_hardly_moves() -> None:
    path = toy.trajectory(lambda x: torch.tanh(x[0]), (4.0,), lambda p: optim.SGD(p, lr=1.0), steps=1)
    assert 4 - path[1].item() == pytest.approx(0.001341, abs=1e-6)


def test_noise_is_normal_and_follows_from_the_seed() -> None:
    def run(seed: int, noise: float = 0.5) -> Tensor:
        flat = toy.trajectory(
            lambda x: (0 * x).sum(),
            [0.0] * 4000,
            lambda p: optim.SGD(p, lr=1.0),
            steps=1,
            noise=noise,
            seed=seed,
        )
        return flat[1]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert run(1).mean().item() == pytest.approx(0, abs=5 * 0.5 / math.sqrt(4000))
    assert run(1).std().item() == pytest.approx(0.5, rel=0.06)
    assert not run(1, noise=0).any()


def test_schedule_sets_the_rate_of_each_step() -> None:
    path = toy.trajectory(
        lambda x: x[0],
        (0.0,),
        lambda p: optim.SGD(p, lr=1.0),
        steps=3,
        lr_scheduler=lambda o: zoo.InverseSqrtDecay(o),
    )
    assert -path[-1].item() == pytest.approx(1 + 2**-0.5 + 3**-0.5)


# Newton


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
    config = {
        "model": {"class_path": "zoo.LinearRegression", "init_args": {"in_features": 2, "optimizer": chosen}},
        "data": {"class_path": "datamodules.SyntheticRegression"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["fit", "--config", str(tmp_path / "config.yaml"), "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["optimizer"]
    arguments = {"lr": 1.0, "diagonal": False, "absolute": True, "line_search": True}
    assert printed == {"class_path": "zoo.optim.Newton", "init_args": arguments}


# Critical points, convexity, constraints


@pytest.mark.parametrize(
    ("objective", "x", "kind"),
    [
        (toy.saddle, (0, 0), "saddle point"),
        (toy.valley, (0, 0), "minimum"),
        (lambda x: -toy.valley(x), (0, 0), "maximum"),
        (lambda x: x[0] ** 3, (0,), "undecided"),
        (lambda x: x[0] ** 2 + x[1] ** 4, (0, 0), "undecided"),
        (lambda x: x[0] ** 2 - x[1] ** 2 + x[2] ** 4, (0, 0, 0), "saddle point"),
        (lambda x: x[0] * x[1], (0, 0), "saddle point"),
        (lambda x: torch.cos(math.pi * x[0]), (1,), "minimum"),
        (lambda x: torch.cos(math.pi * x[0]), (2,), "maximum"),
    ],
)
def test_critical_points(objective: Any, x: tuple[float, ...], kind: str) -> None:
    assert convexity.classify_critical_point(objective, f64(*x)) == kind


def test_point_with_a_slope_is_not_critical() -> None:
    with pytest.raises(ValueError, match="the gradient at x has length 5, but must be 0 at a critical point"):
        convexity.classify_critical_point(lambda x: 3 * x[0] + 4 * x[1], f64(0, 0))


def test_hessian_by_hand() -> None:
    hessian = convexity.hessian(lambda x: x[0] ** 3 * x[1] + x[1] ** 2, f64(2, 5))
    torch.testing.assert_close(hessian, f64([60, 12], [12, 2]))


def test_convex_functions_of_the_section() -> None:
    line = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    assert convexity.is_convex(lambda x: 0.5 * x[0] ** 2, line)
    assert convexity.is_convex(lambda x: torch.exp(0.5 * x[0]), line)
    assert convexity.is_convex(lambda x: -x[0], line)
    assert not convexity.is_convex(lambda x: torch.cos(math.pi * x[0]), line)
    assert not convexity.is_convex(lambda x: -(x[0] ** 2), line)
    plane = torch.cartesian_prod(line[:, 0], line[:, 0])
    assert convexity.is_convex(toy.tilted_valley, plane)
    assert not convexity.is_convex(toy.saddle, plane)


def test_jensen_gap_is_the_variance_for_a_square() -> None:
    points, weights = f64([1], [2], [6]), f64(0.5, 0.25, 0.25)
    mean = 0.5 + 0.5 + 1.5
    variance = 0.5 * (1 - mean) ** 2 + 0.25 * (2 - mean) ** 2 + 0.25 * (6 - mean) ** 2
    assert convexity.jensen_gap(lambda x: x[0] ** 2, points, weights).item() == pytest.approx(variance)
    assert convexity.jensen_gap(lambda x: 3 * x[0] + 1, points, weights).item() == pytest.approx(0, abs=1e-12)
    assert convexity.jensen_gap(lambda x: -(x[0] ** 2), points, weights).item() == pytest.approx(-variance)
    for bad in (f64(0.5, 0.5, 0.5), f64(1.5, -0.25, -0.25)):
        with pytest.raises(ValueError, match="but must be at least 0 each and sum to 1"):
            convexity.jensen_gap(lambda x: x[0], points, bad)


def test_projection_is_the_nearest_point_of_the_ball() -> None:
    x = f64([3, 0], [0, 4])
    projected = convexity.project_onto_ball(x, radius=2.5)
    torch.testing.assert_close(projected, x / 2)
    others = torch.randn(500, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    others = others * (2.5 / others.flatten(1).norm(dim=1).clamp(min=2.5))[:, None, None]
    assert ((others - x).flatten(1).norm(dim=1) >= (projected - x).norm()).all()
    assert torch.equal(convexity.project_onto_ball(x, radius=6), x)
    assert not convexity.project_onto_ball(torch.zeros(2), radius=1).any()
    with pytest.raises(ValueError, match="radius is 0, but must be positive"):
        convexity.project_onto_ball(x, radius=0)


def test_projection_of_a_gradient_is_clipping() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([3.0, -4, 12])
    expected = convexity.project_onto_ball(parameter.grad, radius=1)
    nn.utils.clip_grad_norm_([parameter], 1)
    torch.testing.assert_close(parameter.grad, expected)


def test_multiplier_enforces_a_constraint() -> None:
    """(x - 2)^2 under x <= 1 has the multiplier 2: there the slopes of objective and penalty cancel."""
    penalized = convexity.lagrangian(lambda x: (x[0] - 2) ** 2, [lambda x: x[0] - 1], [2.0])
    path = toy.trajectory(penalized, (0.0,), lambda p: optim.Newton(p), steps=1)
    assert path[-1].item() == pytest.approx(1)
    assert penalized(f64(1)).item() == pytest.approx(1)  # the constraint is tight: its penalty is 0
    with pytest.raises(ValueError, match="the number of multipliers is 1, but must be 0"):
        convexity.lagrangian(toy.bowl, [], [1.0])
    with pytest.raises(ValueError, match=r"multipliers\[0\] is -1\.0, but must be at least 0"):
        convexity.lagrangian(toy.bowl, [toy.bowl], [-1.0])


def test_weight_decay_is_a_penalty() -> None:
    penalized = convexity.lagrangian(toy.valley, [lambda x: (x @ x) / 2 - 7], [0.3])
    path = toy.trajectory(penalized, START, lambda p: optim.SGD(p, lr=0.1), steps=5)
    decayed = toy.trajectory(toy.valley, START, lambda p: optim.SGD(p, lr=0.1, weight_decay=0.3), steps=5)
    torch.testing.assert_close(path, decayed)


# Convergence


def test_bound_of_stochastic_gradient_descent() -> None:
    assert convergence.best_constant_rate(1, 1, 100) == pytest.approx(0.1)
    assert convergence.sgd_bound(1, 1, [0.1] * 100) == pytest.approx(0.1)
    assert convergence.sgd_bound(2, 3, [0.5, 0.25]) == pytest.approx((4 + 9 * 0.3125) / 1.5)
    best = convergence.best_constant_rate(2, 3, 50)
    assert convergence.sgd_bound(2, 3, [best] * 50) == pytest.approx(2 * 3 / math.sqrt(50))
    for other in (0.9 * best, 1.1 * best):
        assert convergence.sgd_bound(2, 3, [other] * 50) > convergence.sgd_bound(2, 3, [best] * 50)
    with pytest.raises(ValueError, match=r"the sum of rates is 0\.0, but must be positive"):
        convergence.sgd_bound(1, 1, [])
    with pytest.raises(ValueError, match=r"rates\[1\] is -1, but must be at least 0"):
        convergence.sgd_bound(1, 1, [2, -1])


def test_averaged_point_keeps_within_the_bound() -> None:
    """The risk mean |x - x_i| over 8 points has gradients of norm 1 at most, and the median as a minimum."""
    data = torch.arange(8, dtype=torch.float64) ** 2

    def risk(x: Tensor) -> Tensor:
        return (x - data).abs().mean()

    rate, start = convergence.best_constant_rate(10, 1, 100), float(data.median()) + 10
    gaps = []
    for seed in range(20):
        drawn = iter(torch.randint(8, (100,), generator=torch.Generator().manual_seed(seed)).tolist())
        path = toy.trajectory(
            lambda x, drawn=drawn: (x[0] - data[next(drawn)]).abs(),  # type: ignore[misc]
            (start,),
            lambda p: optim.SGD(p, lr=rate),
            steps=100,
        )
        average = convergence.polyak_average(path[:-1], [rate] * 100)
        gaps.append((risk(average) - risk(data.median())).item())
    bound = convergence.sgd_bound(10, 1, [rate] * 100)
    assert bound == pytest.approx(1)
    assert 0 < sum(gaps) / 20 <= bound


def test_polyak_average_weighs_with_the_rates() -> None:
    path = f64([1, 0], [2, 4], [3, -4])
    torch.testing.assert_close(convergence.polyak_average(path, [1, 1, 2]), f64(9, -4) / 4)
    torch.testing.assert_close(convergence.polyak_average(path, [3, 3, 3]), path.mean(dim=0))
    assert convergence.polyak_average(path.reshape(3, 1, 2), [1, 0, 0]).tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="the number of rates is 2, but must be 3, one for each step"):
        convergence.polyak_average(path, [1, 1])


def test_chance_to_be_drawn() -> None:
    assert convergence.chance_drawn(1000, 1000) == pytest.approx(0.632305, abs=5e-7)
    assert convergence.chance_drawn(2, 3) == pytest.approx(7 / 8)
    drawn = list(itertools.product(range(3), repeat=4))
    assert convergence.chance_drawn(3, 4) == pytest.approx(sum(0 in d for d in drawn) / len(drawn))
    assert convergence.chance_drawn(5, 0) == 0


def test_deviation_of_a_minibatch_over_all_minibatches() -> None:
    gradients = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (1, 2, 3):
        for replacement, batches in (
            (True, itertools.product(range(5), repeat=size)),
            (False, itertools.permutations(range(5), size)),
        ):
            means = torch.stack([gradients[list(batch)].mean(dim=0) for batch in batches])
            got = convergence.minibatch_deviation(gradients, size, replacement=replacement)
            torch.testing.assert_close(got, means.std(dim=0, correction=0))
    one = convergence.minibatch_deviation(gradients, 1, replacement=True)
    torch.testing.assert_close(convergence.minibatch_deviation(gradients, 64, replacement=True), one / 8)
    assert not convergence.minibatch_deviation(gradients, 5, replacement=False).any()
    with pytest.raises(
        ValueError, match="batch_size is 6, but must be at most 5 to draw without replacement"
    ):
        convergence.minibatch_deviation(gradients, 6, replacement=False)


@pytest.mark.parametrize(
    ("product", "momentum", "radius"),
    [
        (2.59, 0.3, 0.9856),
        (2.61, 0.3, 1.0142),
        (3.79, 0.9, 0.9487),
        (3.81, 0.9, 1.0647),
        (1.99, 0.0, 0.99),
        (2.01, 0.0, 1.01),
    ],
)
def test_range_of_rates_with_momentum(product: float, momentum: float, radius: float) -> None:
    assert convergence.momentum_radius(product, momentum) == pytest.approx(radius, abs=5e-5)


def test_radius_is_that_of_the_optimizer() -> None:
    """With curvature 2 and rate 1.305; the distance grows by the radius per step."""
    path = toy.trajectory(toy.parabola, (1.0,), lambda p: optim.Momentum(p, lr=1.305, momentum=0.3), steps=60)
    growth = (path[-1] / path[-31]).abs().item() ** (1 / 30)
    assert growth == pytest.approx(convergence.momentum_radius(2 * 1.305, 0.3), rel=1e-6)


# Pictures


def test_a_picture_shows_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    runs = [trajectories.one_dimensional()[1], trajectories.stochastic()[1]]
    runs += trajectories.two_dimensional(toy.valley, rate=0.4)[:3]
    paths = trajectories.draw(runs, tmp_path / "five.png")
    assert (tmp_path / "five.png").read_bytes().startswith(b"\x89PNG")
    curve, plane, *rest = drawn[0].axes
    assert len(rest) == 3
    assert curve.lines[1].get_xdata().tolist() == paths[0][:, 0].tolist()
    assert curve.lines[1].get_ydata().tolist() == paths[0][:, 0].square().tolist()
    assert plane.lines[0].get_ydata().tolist() == paths[1][:, 1].tolist()
    average = [float(plane.lines[1].get_xdata()[0]), float(plane.lines[1].get_ydata()[0])]
    assert average == pytest.approx(paths[1][:-1].mean(dim=0).tolist())
    assert "20 steps" in rest[0].get_title()


def test_runs_have_their_noise_and_their_schedule() -> None:
    """Without noise all would end within 5 * 0.8^50 of the minimum, the decayed one farther off."""
    constant, averaged, exponential, _ = (run.path() for run in trajectories.stochastic())
    assert torch.equal(constant, averaged[:51])
    assert constant[-1].norm() > 10 * 5 * 0.8**50
    # After 500 steps the rate is 1e-23.
    assert (exponential[-1] - exponential[-500]).norm() < 1e-6


def test_contours_are_those_of_the_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    grids: list[Any] = []
    contour = Axes.contour
    monkeypatch.setattr(Axes, "contour", lambda self, *a, **k: (grids.append(a), contour(self, *a, **k))[1])
    trajectories.draw([trajectories.two_dimensional(toy.valley, rate=0.4)[0]], tmp_path / "one.png")
    x1, x2, height = grids[0]
    torch.testing.assert_close(height, 0.1 * x1**2 + 2 * x2**2)
    assert (x1[0, 0].item(), x2[0, 0].item()) == (-5.6, -3.0)
    assert (x1[-1, -1].item(), x2[-1, -1].item()) == (2.0, 2.0)


def test_command_draws_and_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectories, "PICTURES", {"saddle": trajectories.PICTURES["saddle"]})
    trajectories.main(["--output", str(tmp_path / "new" / "folder")])
    picture, *rows = capsys.readouterr().out.splitlines()
    assert picture == str(tmp_path / "new" / "folder" / "saddle.png")
    assert Path(picture).stat().st_size > 10_000
    # x1 is multiplied by 1 - 0.2 in each step, x2 by 1 + 0.2.
    assert rows[0].split() == ["gradient", "descent,", "0.1", f"{-5 * 0.8**20:.6f}", f"{-0.1 * 1.2**20:.6f}"]
    assert len(rows) == 4


@pytest.mark.slow
def test_command_draws_all_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trajectories.main(["--output", str(tmp_path)])
    names = {"one_dimensional", "bowl", "valley", "tilted_valley", "saddle", "stochastic"}
    assert {path.stem for path in tmp_path.iterdir()} == names
    assert "    -0.943467     -0.000073" in capsys.readouterr().out
