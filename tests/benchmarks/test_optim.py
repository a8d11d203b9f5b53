from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmarks.optim import BOOK, Curve, draw_curves, format_losses, train
from datamodules import _download
from tests.datamodules.fixtures import airfoil
from zoo_cli.sources import shipped_configs

# What the chapter's runs say: optimizer, its arguments, examples in a step, epochs.
SCRATCH, TORCH = "zoo.optim", "torch.optim"
ROOT_EPS = {"eps": 1e-6, "eps_inside_root": True}
RUNS: dict[str, tuple[str, dict[str, Any], int | str, int]] = {
    "gd_scratch": (f"{SCRATCH}.SGD", {"lr": 1.0}, "full", 10),
    "sgd_scratch": (f"{SCRATCH}.SGD", {"lr": 0.005}, 1, 2),
    "minibatch_sgd_100_scratch": (f"{SCRATCH}.SGD", {"lr": 0.4}, 100, 2),
    "minibatch_sgd_10_scratch": (f"{SCRATCH}.SGD", {"lr": 0.05}, 10, 2),
    "sgd": (f"{TORCH}.SGD", {"lr": 0.01}, 10, 4),
    "momentum_half_scratch": (f"{SCRATCH}.Momentum", {"lr": 0.02, "momentum": 0.5}, 10, 2),
    "momentum_fast_scratch": (f"{SCRATCH}.Momentum", {"lr": 0.01, "momentum": 0.9}, 10, 2),
    "momentum_scratch": (f"{SCRATCH}.Momentum", {"lr": 0.005, "momentum": 0.9}, 10, 2),
    "momentum": (f"{TORCH}.SGD", {"lr": 0.005, "momentum": 0.9}, 10, 4),
    "adagrad_scratch": (f"{SCRATCH}.Adagrad", {"lr": 0.1, **ROOT_EPS}, 10, 2),
    "adagrad": (f"{TORCH}.Adagrad", {"lr": 0.1}, 10, 4),
    "rmsprop_scratch": (f"{SCRATCH}.RMSprop", {"lr": 0.01, "alpha": 0.9, **ROOT_EPS}, 10, 2),
    "rmsprop": (f"{TORCH}.RMSprop", {"lr": 0.01, "alpha": 0.9}, 10, 4),
    "adadelta_scratch": (f"{SCRATCH}.Adadelta", {"lr": 1.0, "rho": 0.9, "eps": 1e-5}, 10, 2),
    "adadelta": (f"{TORCH}.Adadelta", {"lr": 1.0, "rho": 0.9}, 10, 4),
    "adam_scratch": (f"{SCRATCH}.Adam", {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-6}, 10, 2),
    "adam": (f"{TORCH}.Adam", {"lr": 0.01, "betas": (0.9, 0.999)}, 10, 4),
    "yogi_scratch": (f"{SCRATCH}.Yogi", {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-3}, 10, 2),
}


def test_there_is_a_configuration_for_each_of_the_books_losses() -> None:
    folder = shipped_configs() / "optim"
    assert {path.stem.removesuffix("_airfoil") for path in folder.iterdir()} == set(BOOK) == set(RUNS)
    for name, loss in BOOK.items():
        assert f"# Book's figure: loss .{loss * 1000:.0f} " in (folder / f"{name}_airfoil.yaml").read_text()


@pytest.mark.parametrize("name", RUNS)
def test_configuration_is_the_books_run(name: str) -> None:
    """Defaults that it leaves to the optimizer's class are the book's too."""
    settings = yaml.safe_load((shipped_configs() / "optim" / f"{name}_airfoil.yaml").read_text())
    path, arguments, batch_size, epochs = RUNS[name]
    model = "LinearRegressionScratch" if name.endswith("_scratch") else "LinearRegression"
    assert settings["model"]["class_path"] == f"zoo.{model}"
    given = settings["model"]["init_args"]["optimizer"]
    assert given["class_path"] == path
    module, _, cls = path.rpartition(".")
    optimizer = getattr(__import__(module, fromlist=[cls]), cls)
    defaults = optimizer([torch.zeros(1, requires_grad=True)], **given.get("init_args", {})).defaults
    assert {key: defaults[key] for key in arguments} == arguments
    data = settings["data"]["init_args"]
    assert data["split"] == "book"
    assert data.get("batch_size", 10) == batch_size
    assert settings["trainer"]["max_epochs"] == epochs


def test_a_run_records_the_loss_on_all_training_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against gradient descent by hand, which starts from weights near 0 and a bias of 0."""
    given = airfoil(tmp_path)
    monkeypatch.setattr(_download, "_check", lambda path, file: None)
    flags = [f"--data.init_args.data_dir={given['data_dir']}", "--trainer.max_epochs=2"]
    curve = train("gd_scratch", folder=tmp_path / "runs", flags=[*flags, "--trainer.logger=false"])
    assert curve.epochs == [0, 1, 2, 2]
    assert curve.seconds[0] == 0
    assert curve.seconds[1] > 0
    assert curve.seconds == sorted(curve.seconds)
    assert curve.losses[2] == curve.losses[3]
    lines = (tmp_path / "airfoil" / "airfoil_self_noise.dat").read_text().splitlines()
    rows = torch.tensor([[float(cell) for cell in line.split()] for line in lines], dtype=torch.float64)
    rows = ((rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0))[:1500]
    x, y = rows[:, :-1], rows[:, -1]
    weight, bias = torch.zeros(5).double(), 0.0
    for found in curve.losses[:3]:
        error = x @ weight + bias - y
        assert found == pytest.approx(error.square().mean().item() / 2, rel=0.02)
        weight, bias = weight - x.T @ error / 1500, bias - error.mean()


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)^sgd failed.*max_epoch"):
        train("sgd", folder=tmp_path, flags=["--trainer.max_epoch=1"])


def test_table_says_what_misses_the_book() -> None:
    curves = {"adam": Curve([0, 4], [0, 1.5], [0.5, 0.2479]), "sgd": Curve([0, 4], [0, 1.5], [0.5, 0.2371])}
    adam, sgd = format_losses(curves).splitlines()[2:]
    assert adam == "| adam | 4 | 0.2479 | 0.243 | yes | 1.50 |"
    assert sgd == "| sgd | 4 | 0.2371 | 0.243 | NO (-0.0059) | 1.50 |"


def test_picture_has_a_line_for_each_run_against_epochs_and_against_time() -> None:
    curves = {name: Curve([0, 1, 2], [0, 0.1, 0.2], [0.5, 0.3, 0.25]) for name in BOOK}
    by_epoch, by_time = draw_curves(curves).axes
    assert (len(by_epoch.lines), len(by_time.lines)) == (len(BOOK), len(BOOK))
    assert list(by_epoch.lines[0].get_xdata()) == [0, 1, 2]
    assert list(by_time.lines[0].get_xdata()) == [0.1, 0.2]
    assert len({(line.get_color(), line.get_linestyle()) for line in by_epoch.lines}) == len(BOOK)
