"""The objectives of chapter 12: the ways on them, which end where the book's do, and their pictures."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.zoo.optim_runs import START, f64
from zoo import optim
from zoo.optim import toy, trajectories

BOOKS = {"eps": 1e-6, "eps_inside_root": True}


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
