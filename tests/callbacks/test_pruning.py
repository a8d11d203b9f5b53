"""Reports of the first process, a stop on all of them, and what never reaches the search."""

from pathlib import Path
from typing import Any

import lightning as L
import optuna
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import Pruning


class Model(L.LightningModule):
    """Logs ``val/x``: 1 / epoch, or what it is given."""

    def __init__(self, values: list[float] | None = None) -> None:
        super().__init__()
        self.values = values
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return (self.weight - batch[0].mean()).square().sum()

    def validation_step(self, batch: Any, index: int) -> None:
        epoch = self.current_epoch
        value = 1 / (1 + epoch) if self.values is None else self.values[epoch]
        self.log("val/x", 100.0 if self.trainer.sanity_checking else value, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Recorder:
    """Notes reports, and stops after so many."""

    def __init__(self, stop_after: int = 100) -> None:
        self.stop_after = stop_after
        self.reports: list[tuple[int, float]] = []

    def report(self, value: float, step: int) -> None:
        self.reports.append((step, value))

    def should_prune(self) -> bool:
        return len(self.reports) >= self.stop_after


class Epochs(L.Callback):
    """Leaves each process's number of epochs in a file."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        Path(f"epochs_{trainer.global_rank}.txt").write_text(str(trainer.current_epoch))


def fit(pruning: Pruning, model: Model | None = None, **options: Any) -> L.Trainer:
    data = DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=1)
    trainer = L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 6,
            "logger": False,
            "callbacks": [pruning, Epochs()],
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            **options,
        }
    )
    trainer.fit(model or Model(), data, data)
    return trainer


def test_every_epoch_is_reported_by_its_count_and_the_sanity_check_is_not() -> None:
    recorder = Recorder()
    pruning = Pruning(recorder, "val/x")
    fit(pruning, num_sanity_val_steps=2)
    assert recorder.reports == [(epoch, pytest.approx(1 / epoch)) for epoch in range(1, 7)]
    pruning.raise_if_pruned()


def test_epochs_without_validation_are_not_reported() -> None:
    recorder = Recorder()
    fit(Pruning(recorder, "val/x"), check_val_every_n_epoch=2)
    assert [step for step, _ in recorder.reports] == [2, 4, 6]


def test_stop_ends_the_training_and_raises_after_it() -> None:
    pruning = Pruning(Recorder(stop_after=2), "val/x")
    trainer = fit(pruning)
    assert trainer.current_epoch == 2
    with pytest.raises(optuna.TrialPruned):
        pruning.raise_if_pruned()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_value_that_is_no_number_stops(value: float) -> None:
    recorder = Recorder()
    pruning = Pruning(recorder, "val/x")
    trainer = fit(pruning, Model([0.5, value, 0.1, 0.1, 0.1, 0.1]))
    assert trainer.current_epoch == 2
    with pytest.raises(optuna.TrialPruned):
        pruning.raise_if_pruned()


def test_missing_metric_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the metric 'val/y' is not logged; the model logs val/x"):
        fit(Pruning(Recorder(), ["val/x", "val/y"]))


def test_optuna_s_own_trial_is_pruned_and_goes_on_in_a_study() -> None:
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.3, n_warmup_steps=3))

    def objective(trial: optuna.Trial) -> float:
        pruning = Pruning(trial, "val/x")
        fit(pruning, Model([0.5, 0.5, 0.5 if trial.number else 0.1, 0.1, 0.1, 0.1]))
        pruning.raise_if_pruned()
        return 0.1

    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert study.trials[1].last_step == 3


def test_all_processes_stop_when_the_first_is_told_to() -> None:
    recorder = Recorder(stop_after=3)
    fit(Pruning(recorder, "val/x"), devices=2, strategy="ddp_fork", use_distributed_sampler=False)
    assert [Path(f"epochs_{rank}.txt").read_text() for rank in range(2)] == ["3", "3"]


class Silent(Recorder):
    """As in a further process of a search's trial."""

    def report(self, value: float, step: int) -> None:
        raise AssertionError("only the first process may report")


class OnFirst(Pruning):
    """Its second process has nothing to report to."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_rank > 0:
            self.trial = Silent()


def test_only_the_first_process_reports() -> None:
    fit(
        OnFirst(Recorder(stop_after=2), "val/x"),
        devices=2,
        strategy="ddp_fork",
        use_distributed_sampler=False,
    )
    assert [Path(f"epochs_{rank}.txt").read_text() for rank in range(2)] == ["2", "2"]
