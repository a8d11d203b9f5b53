import json
import time
from argparse import Namespace
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import clock, search_overhead
from benchmarks.search_overhead import Ended, format_overhead, format_workers, overheads, trials_per_minute


class Slow(L.LightningModule):
    """Says how long each phase of its training takes, on a clock that stands otherwise."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def training_step(self, batch, batch_idx):
        self.now += 1
        return self.layer(batch[0]).sum()

    def validation_step(self, batch, batch_idx):
        self.now += 1000 if self.trainer.sanity_checking else 10

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if (batch_idx + 1) % self.trainer.val_check_batch == 0 or batch_idx == 3:
            self.now += 1_000_000  # before a validation, or the epoch's end

    def on_train_start(self):
        self.now += 10_000

    def on_train_epoch_end(self):
        self.now += 100_000

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize(("interval", "validations"), [(4, 1), (2, 2), (3, 1)])
def test_the_clock_counts_batches_and_validation_only(interval, validations, monkeypatch, tmp_path):
    module = Slow()
    monkeypatch.setattr(clock, "time", module)
    data = DataLoader(TensorDataset(torch.zeros(4, 1)))
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_epochs=2,
        val_check_interval=interval,
        callbacks=[clock.TrialClock()],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, DataLoader(TensorDataset(torch.zeros(2, 1))))
    assert json.loads((tmp_path / "trial_clock.json").read_text()) == 2 * (4 + validations * 2 * 10)


def test_overhead_is_what_lies_between_two_ends_without_the_training():
    cold = Ended("a", 107.0, 2.0)
    others = [Ended("a", 110.5, 3.25), Ended("a", 114.5, 3.5)]
    assert overheads([others[1], cold, others[0]]) == [0.25, 0.5]
    table = format_overhead([others[1], cold, others[0]])
    assert "| 2 | 3.38 (3.25-3.50) | 0.38 (0.25-0.50) | 0.38 (<= 0.4: reached) |" in table
    assert "0.42 (<= 0.4: MISSED)" in format_overhead([cold, Ended("a", 110.0, 2.58)])


def ends(worker, *times):
    return [Ended(worker, at, 0.0) for at in times]


def test_a_worker_counts_after_its_first_trial():
    # 3 trials in 30 seconds.
    assert trials_per_minute(ends("a", 120.0, 110.0, 140.0, 130.0)) == 6


def test_two_workers_count_while_both_work():
    both = [*ends("a", 10.0, 20.0, 30.0), *ends("b", 15.0, 30.0, 31.0, 32.0, 33.0)]
    # After 30 the second one is alone.
    assert trials_per_minute(both) == pytest.approx(60 * (2 / 20 + 1 / 15))
    with pytest.raises(ValueError, match="worker b has ended 1 trials"):
        trials_per_minute([*ends("a", 10.0, 20.0), *ends("b", 15.0, 22.0)])


def test_the_ratio_is_one_of_neighbours():
    table = format_workers({1: [4.0, 2.0, 1.0], 2: [8.0, 3.4, 1.1]})
    assert "| 2.00 (1.00-4.00) | 3.40 (1.10-8.00) | 1.70 (>= 1.7: reached) |" in table
    assert "1.50 (>= 1.7: MISSED)" in format_workers({1: [4.0], 2: [6.0]})


def test_what_is_run(monkeypatch, capsys):
    ran = []

    def run_study(folder, *, workers, trials, epochs):
        assert not list(folder.iterdir())
        ran.append((workers, trials, epochs))
        return [Ended(str(n % workers), 60.0 * n, 59.5) for n in range(trials)]

    monkeypatch.setattr(search_overhead, "run_study", run_study)
    search_overhead.compare(
        Namespace(overhead_trials=5, overhead_epochs=3, pair_trials=4, pair_epochs=9, repetitions=2)
    )
    assert ran == [(1, 5, 3), *2 * [(1, 4, 9), (2, 8, 9)]]
    out = capsys.readouterr().out
    assert "| 4 | 59.50 (59.50-59.50) | 0.50 (0.50-0.50) | 0.50 (<= 0.4: MISSED) |" in out
    # Each of two has a trial every two minutes.
    assert "| 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | 1.00 (>= 1.7: MISSED) |" in out


@pytest.mark.slow
def test_a_search_of_two_workers_is_read(tmp_path: Path) -> None:
    begun = time.time()
    ended = search_overhead.run_study(tmp_path, workers=2, trials=6, epochs=1)
    assert len(ended) == 6
    assert len({trial.worker for trial in ended}) == 2
    for trial in ended:
        assert begun < trial.at < time.time()
        assert 0 < trial.training < time.time() - begun
