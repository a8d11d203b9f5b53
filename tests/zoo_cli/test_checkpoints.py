"""What a checkpoint restores, and what wins over it."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml

import datamodules
import zoo
from tests.zoo_cli.conftest import Run
from zoo_cli.sources import shipped_configs

QUICKSTART = ("--config", "configs/quickstart.yaml")
SHORT = (*QUICKSTART, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3")


def saved_settings(version: int = 0, name: str = "quickstart") -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(Path(f"runs/{name}/version_{version}/config.yaml").read_text())
    return settings


def load(path: str) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def test_checkpoint_wins_over_class_defaults_and_loses_to_flags(succeed: Run, run: Run) -> None:
    succeed("fit", *SHORT, "--model.init_args.label_smoothing", "0.1")
    checkpoint = "runs/quickstart/version_0/checkpoints/last.ckpt"
    flags = ["--model", "LeNet", "--data", "Digits", "--ckpt_path", checkpoint, "--trainer.max_epochs", "2"]
    small = ["--trainer.limit_train_batches", "3"]
    succeed("fit", *flags, *small)
    restored = saved_settings(0, "LeNet")["model"]["init_args"]
    assert restored["activation"] == "relu"  # the class's default is sigmoid
    assert restored["label_smoothing"] == 0.1
    assert restored["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert restored["optimizer"]["init_args"]["lr"] == 0.002
    succeed("fit", *flags, *small, "--model.init_args.label_smoothing", "0.2")
    assert saved_settings(1, "LeNet")["model"]["init_args"]["label_smoothing"] == 0.2


def test_optimizer_comes_back_as_it_was_trained_with(succeed: Run) -> None:
    lr = "--model.init_args.optimizer.init_args.lr"
    succeed("fit", *SHORT, lr, "0.005")
    path = "runs/quickstart/version_0/checkpoints/last.ckpt"
    model = zoo.LeNet.load_from_checkpoint(path)
    optimizer = model.build_optimizer(model.parameters())
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["lr"] == 0.005
    succeed(
        "fit",
        *QUICKSTART[:1],
        "runs/quickstart/version_0/config.yaml",
        "--ckpt_path",
        "last",
        "--trainer.max_epochs",
        "2",
    )
    assert load(path)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.005


def test_changed_learning_rate_wins_on_resume_and_keeps_its_place_in_the_schedule(succeed: Run) -> None:
    schedule = ["--model.init_args.lr_scheduler", "torch.optim.lr_scheduler.StepLR"]
    schedule += ["--model.init_args.lr_scheduler.init_args.step_size", "1"]
    succeed("fit", *SHORT, *schedule)
    lr = ["--model.init_args.optimizer.init_args.lr", "0.01"]
    succeed("fit", *SHORT, *schedule, *lr, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    checkpoint = load("runs/quickstart/version_0/checkpoints/last.ckpt")
    # Two epochs have passed, each dividing the rate by ten.
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-4)


def test_resuming_with_another_optimizer_is_refused(succeed: Run, one_line_error: Callable[..., str]) -> None:
    succeed("fit", *SHORT)
    flags = ["--ckpt_path", "last", "--model.init_args.optimizer", "torch.optim.SGD"]
    line = one_line_error(2, "fit", *SHORT, *flags)
    assert "optimizer is torch.optim.SGD, but the checkpoint holds the state of torch.optim.AdamW" in line


@pytest.mark.parametrize("schedule", [{"total_steps": 10}, {"final_lr": 0.001}])
def test_changed_schedule_wins_on_resume(succeed: Run, schedule: dict[str, float]) -> None:
    flags = ["--model.init_args.lr_scheduler", "zoo.WarmupCosine"]
    flags += ["--model.init_args.lr_scheduler.init_args.total_steps", "4"]
    succeed("fit", *SHORT, *flags)
    changed = [f"--model.init_args.lr_scheduler.init_args.{k}={v}" for k, v in schedule.items()]
    succeed("fit", *SHORT, *flags, *changed, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    state = load("runs/quickstart/version_0/checkpoints/last.ckpt")["lr_schedulers"][0]
    assert state["last_epoch"] == 2
    assert {k: state[k] for k in schedule} == schedule


def test_changed_weight_decay_wins_on_resume_and_spares_the_biases(succeed: Run) -> None:
    flags = ["--model.init_args.optimizer.init_args.weight_decay"]
    succeed("fit", *SHORT, *flags, "0")
    succeed("fit", *SHORT, *flags, "0.25", "--ckpt_path", "last", "--trainer.max_epochs", "2")
    groups = load("runs/quickstart/version_0/checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]


def test_one_argument_of_a_schedule_that_only_the_checkpoint_names(succeed: Run) -> None:
    name = "--model.init_args.lr_scheduler"
    step = [name, "torch.optim.lr_scheduler.StepLR", f"{name}.init_args.step_size", "1"]
    succeed("fit", *SHORT, *step)
    flags = [f"{name}.init_args.gamma", "0.5", "--ckpt_path", "last", "--trainer.max_epochs", "2"]
    succeed("fit", *SHORT, *flags)
    checkpoint = load("runs/quickstart/version_0/checkpoints/last.ckpt")
    # A tenth after the first epoch, half of that after the second.
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.002 / 20)


def test_another_optimizer_starts_from_its_own_defaults(succeed: Run) -> None:
    """Not from those that it shares with the model's default, as the parser would have it."""
    settings = succeed(
        "fit",
        "--model",
        "LeNet",
        "--data",
        "Digits",
        "--model.init_args.optimizer",
        "AdamW",
        "--print_config",
    ).out
    optimizer = yaml.safe_load(settings)["model"]["init_args"]["optimizer"]
    own = torch.optim.AdamW([torch.zeros(1)]).defaults
    assert optimizer["init_args"]["lr"] == own["lr"]
    assert optimizer["init_args"]["weight_decay"] == own["weight_decay"]
    settings = succeed("fit", *QUICKSTART, "--print_config").out
    optimizer = yaml.safe_load(settings)["model"]["init_args"]["optimizer"]
    assert optimizer["init_args"]["lr"] == 0.002
    assert optimizer["init_args"]["weight_decay"] == own["weight_decay"]


def test_default_optimizer_is_overridden_one_argument_at_a_time(succeed: Run) -> None:
    flags = [
        "--model",
        "LeNet",
        "--data",
        "Digits",
        "--trainer.max_epochs",
        "1",
        "--trainer.limit_train_batches",
        "2",
    ]
    succeed("fit", *flags, "--model.init_args.optimizer.init_args.momentum", "0.9")
    optimizer = saved_settings(0, "LeNet")["model"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.SGD"
    assert optimizer["init_args"]["lr"] == 0.1  # the class's own default
    assert optimizer["init_args"]["momentum"] == 0.9


def test_resuming_goes_on_in_the_same_run(succeed: Run) -> None:
    succeed("fit", *SHORT)
    succeed("fit", *SHORT, "--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert [p.name for p in Path("runs/quickstart").iterdir()] == ["version_0"]
    checkpoint = load("runs/quickstart/version_0/checkpoints/last.ckpt")
    assert checkpoint["global_step"] == 9
    rows = Path("runs/quickstart/version_0/metrics.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["3", "6", "9"]
    rate = rows[0].split(",").index("lr")
    # Though there are 50 steps between logs
    assert [row.split(",")[rate] for row in rows[1:]] == ["0.002"] * 3


def test_best_and_last_mean_the_newest_run_with_a_checkpoint(succeed: Run) -> None:
    succeed("fit", *SHORT)
    succeed("fit", *SHORT, "--seed_everything", "7")
    Path("runs/quickstart/version_2").mkdir()
    succeed("test", *QUICKSTART, "--ckpt_path", "last")
    tested = {p.parent.name for p in Path("runs/quickstart").rglob("predictions_test.png")}
    assert tested == {"version_1"}


def test_last_is_the_last_epoch_even_when_the_metric_stalls(succeed: Run) -> None:
    still = ["--model.init_args.optimizer.init_args.lr", "0"]
    succeed("fit", *SHORT, *still, "--trainer.max_epochs", "3")
    folder = "runs/quickstart/version_0/checkpoints"
    assert load(f"{folder}/last.ckpt")["global_step"] == 9
    assert load(f"{folder}/best.ckpt")["global_step"] == 3


def test_best_is_of_the_data_and_model_that_are_named(
    succeed: Run, one_line_error: Callable[..., str]
) -> None:
    small = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    succeed("fit", "--model", "LinearRegression", "--data", "SyntheticRegression", *small)
    run = Path("runs/LinearRegression/version_0")
    before = (run / "summary.json").read_text()
    other = ["--model", "LinearRegression", "--data", "HouseTiny"]
    assert (
        "no run in runs/LinearRegression of zoo.LinearRegression and datamodules.HouseTiny"
        in one_line_error(1, "test", *other)
    )
    # A named file is the user's own choice; the record of the run it comes from is left alone.
    flags = ["--data.init_args.w", "[1.0, 2.0]"]
    succeed(
        "test", "--data", "SyntheticRegression", *flags, "--ckpt_path", str(run / "checkpoints/last.ckpt")
    )
    assert (run / "summary.json").read_text() != before


def test_model_may_be_left_to_the_checkpoint(succeed: Run) -> None:
    succeed("fit", *SHORT)
    path = "runs/quickstart/version_0/checkpoints/last.ckpt"
    out = succeed("test", "--data", "Digits", "--ckpt_path", path).out
    assert out.startswith(path)


def test_class_under_its_full_path_is_the_same_model(succeed: Run) -> None:
    succeed("fit", *SHORT)
    path = "runs/quickstart/version_0/checkpoints/last.ckpt"
    succeed("test", "--model", "zoo.cnn.lenet.LeNet", "--data", "Digits", "--ckpt_path", path)


def test_saved_config_of_a_run_with_a_logger_makes_a_run_of_its_own(succeed: Run) -> None:
    succeed("fit", *SHORT, "--config", "configs/logger/tensorboard.yaml")
    succeed("fit", "--config", "runs/quickstart/version_0/config.yaml")
    for version in (0, 1):
        assert len(list(Path(f"runs/quickstart/version_{version}").glob("events.out.tfevents*"))) == 1


def python_made(path: str, **arguments: Any) -> zoo.LeNet:
    model = zoo.LeNet(activation="relu", **arguments)
    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=2,
        limit_val_batches=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, datamodules.Digits())
    trainer.save_checkpoint(path)
    return model


def test_checkpoint_made_in_python_is_tested_by_the_command_line(succeed: Run) -> None:
    model = python_made("made.ckpt", optimizer=functools.partial(torch.optim.Adam, lr=3e-3))
    reloaded = zoo.LeNet.load_from_checkpoint("made.ckpt")
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(reloaded.eval()(images), model.eval()(images))
    succeed("test", "--model", "LeNet", "--data", "Digits", "--ckpt_path", "made.ckpt")
    flags = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "2"]
    succeed("fit", "--model", "LeNet", "--data", "Digits", "--ckpt_path", "made.ckpt", *flags)
    optimizer = load("runs/LeNet/version_1/checkpoints/last.ckpt")["hyper_parameters"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.Adam"
    assert optimizer["init_args"]["lr"] == 3e-3


def test_optimizer_that_cannot_be_written_is_named_and_asked_for(
    one_line_error: Callable[..., str], succeed: Run
) -> None:
    class Local(torch.optim.SGD):  # has no path by which it could be imported
        pass

    with pytest.warns(UserWarning, match="optimizer=.*cannot be written"):
        python_made("made.ckpt", optimizer=lambda p: Local(p, lr=0.1))
    flags = ["--model", "LeNet", "--data", "Digits", "--ckpt_path", "made.ckpt"]
    succeed("test", *flags)  # the weights are enough for that
    assert "give --model.init_args.optimizer to resume" in one_line_error(2, "fit", *flags)


@pytest.mark.slow
def test_compiling_leaves_the_checkpoint_as_it_is(succeed: Run) -> None:
    succeed("fit", *SHORT)
    # In a process of its own: the shapes that the test suite checks cannot be traced.
    command = [sys.executable, "-m", "zoo_cli", "fit", *SHORT, "--compile", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, compiled = (load(f"runs/quickstart/version_{i}/checkpoints/last.ckpt") for i in (0, 1))
    assert list(plain["state_dict"]) == list(compiled["state_dict"])
    assert plain["global_step"] == compiled["global_step"]


def test_configs_are_found_from_anywhere() -> None:
    assert (shipped_configs() / "quickstart.yaml").is_file()


@pytest.mark.parametrize("name", ["optimizer", "lr_scheduler"])
@pytest.mark.parametrize("also", [(), ("--model.init_args.optimizer.init_args.lr", "0.1")])
def test_a_checkpoint_runs_no_function_that_it_names(
    name: str, also: tuple[str, ...], succeed: Run, one_line_error: Any
) -> None:
    succeed("fit", *SHORT)
    checkpoint = load("runs/quickstart/version_0/checkpoints/last.ckpt")
    spec = {"class_path": "pydoc.pipepager", "init_args": {"cmd": "touch ran"}}
    checkpoint["hyper_parameters"][name] = spec
    torch.save(checkpoint, "changed.ckpt")
    err = one_line_error(1, "test", "--data", "Digits", "--ckpt_path", "changed.ckpt", *also)
    assert f"changed.ckpt: {name} is pydoc.pipepager, but must be a class derived from" in err
    assert not Path("ran").exists()
