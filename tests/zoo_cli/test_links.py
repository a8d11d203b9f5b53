"""Values pass from data to model, openly."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.zoo_cli.conftest import Run

TABLE = ("--data", "CSVTable", "--data.init_args.file", "table.csv", "--data.init_args.target", "y")
TRIAL = ("--trainer.fast_dev_run", "true")


@pytest.fixture
def table() -> None:
    rows = [f"{i},{i % 3},{'ab'[i % 2]},{2 * i + 1}" for i in range(40)]
    Path("table.csv").write_text("\n".join(["u,v,kind,y", *rows]) + "\n")


@pytest.mark.usefixtures("table")
def test_value_known_only_from_the_file_reaches_model_and_saved_config(succeed: Run) -> None:
    succeed("fit", "--model", "LinearRegression", *TABLE, "--trainer.max_epochs", "1")
    run = Path("runs/LinearRegression/version_0")
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    # Two numbers, and two categories with a column for missing ones, if the encoder makes one.
    in_features = checkpoint["state_dict"]["net.weight"].shape[1]
    assert in_features >= 4
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["model"]["init_args"]["in_features"] == in_features
    assert "ckpt_path" not in saved
    succeed("fit", "--config", str(run / "config.yaml"), *TRIAL)  # the saved values agree with the data


@pytest.mark.usefixtures("table")
def test_agreeing_explicit_value_is_accepted(succeed: Run) -> None:
    succeed("fit", "--model", "LinearRegression", "--model.init_args.out_features", "1", *TABLE, *TRIAL)


@pytest.mark.usefixtures("table")
def test_differing_explicit_value_names_both(one_line_error: Callable[..., str]) -> None:
    line = one_line_error(
        2, "fit", "--model", "LinearRegression", "--model.init_args.in_features", "3", *TABLE, *TRIAL
    )
    assert "in_features is 3, but the data (CSVTable) has" in line


@pytest.mark.usefixtures("table")
def test_model_that_needs_what_the_data_lack(one_line_error: Callable[..., str]) -> None:
    line = one_line_error(2, "fit", "--model", "LeNet", *TABLE, *TRIAL)
    assert "LeNet needs num_classes" in line
    assert "CSVTable does not offer" in line


def test_describing_reads_no_file(run: Run) -> None:
    assert run("fit", "--model", "LinearRegression", *TABLE, "--print_config").code == 0


def test_missing_file_is_a_failed_run(one_line_error: Callable[..., str]) -> None:
    assert "table.csv" in one_line_error(1, "fit", "--model", "LinearRegression", *TABLE, *TRIAL)
