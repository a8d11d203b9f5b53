import json
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import Pruning, RunRecord
from callbacks.metrics_csv import read_metrics
from callbacks.run_record import git_state, read_summary, record_end
from tests.callbacks.conftest import MakeTrainer, Spoil, digits, lenet
from zoo import NonFiniteLossError


class StopAt(L.Callback):
    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error


def test_a_finished_run_is_described(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    L.seed_everything(7, verbose=False)
    trainer = make_trainer(RunRecord(config="cnn/lenet_digits.yaml", command="fit --config x"))
    model = lenet()
    trainer.fit(model, datamodule=digits())
    summary = read_summary(tmp_path)
    assert summary["status"] == "finished"
    assert summary["error"] is None
    assert (summary["model"], summary["data"]) == ("zoo.LeNet", "datamodules.Digits")
    assert (summary["config"], summary["command"]) == ("cnn/lenet_digits.yaml", "fit --config x")
    assert (summary["epochs"], summary["global_step"], summary["seed"]) == (2, 22, 7)
    assert summary["parameters"] == sum(p.numel() for p in model.parameters())
    assert summary["metrics"]["val/acc"] == pytest.approx(float(trainer.callback_metrics["val/acc"]))
    assert set(summary["metrics"]) == {
        f"{s}/{n}"
        for s, names in {"train": ("loss", "acc"), "val": ("loss", "acc", "acc_top5")}.items()
        for n in names
    }
    assert (tmp_path / summary["best_checkpoint"]).is_file()
    assert summary["images_per_s"] > 0
    assert "examples_per_s" not in summary
    assert summary["versions"]["torch"] == torch.__version__
    assert summary["device"]["kind"] == "cpu"


def test_best_is_the_row_with_the_best_monitored_value(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(RunRecord(), Spoil(), max_epochs=3).fit(lenet(), datamodule=digits())
    rows = [row for row in read_metrics(tmp_path / "metrics.csv") if "val/acc" in row]
    best = max(rows, key=lambda row: row["val/acc"])
    recorded = read_summary(tmp_path)["best"]
    assert recorded["step"] == best["step"] == 11
    assert recorded["val/loss"] == pytest.approx(best["val/loss"])


class StopAfter:
    """Lets a search stop a run."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.done = 0

    def report(self, value: float, step: int) -> None:
        self.done = step

    def should_prune(self) -> bool:
        return self.done >= self.epochs


@pytest.mark.parametrize(("epochs", "checkpoint"), [(1, "checkpoints/last.ckpt"), (2, None)])
def test_run_that_a_search_stops_and_whose_only_checkpoint_is_the_newest(
    make_trainer: MakeTrainer, tmp_path: Path, epochs: int, checkpoint: str | None
) -> None:
    """The first epoch is the best one."""
    newest = ModelCheckpoint(
        tmp_path / "checkpoints", "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    pruning = Pruning(StopAfter(epochs), "val/acc")
    callbacks = [RunRecord(), Spoil(), pruning, newest]
    make_trainer(max_epochs=3, callbacks=callbacks).fit(lenet(), datamodule=digits())
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["epochs"]) == ("stopped", epochs)
    assert summary["best"]["epoch"] == 0
    assert summary["best_checkpoint"] == checkpoint
    record_end(tmp_path)
    assert read_summary(tmp_path) == summary
    shutil.rmtree(tmp_path / "checkpoints")
    record_end(tmp_path, "pruned")
    ended = read_summary(tmp_path)
    assert (ended["status"], ended["best_checkpoint"]) == ("pruned", None)
    assert ended["metrics"] == summary["metrics"]


def test_end_of_what_never_began_is_not_recorded(tmp_path: Path) -> None:
    record_end(tmp_path, "failed")
    assert list(tmp_path.iterdir()) == []


def test_the_history_counts_steps_as_the_trainer_does(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(RunRecord()).fit(lenet(), datamodule=digits())
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [
        (0, 5),
        (0, 10),
        (0, 11),
        (1, 15),
        (1, 20),
        (1, 22),
    ]
    assert {"train/loss", "val/loss"} <= set(rows[2])
    assert "train/loss_step" in rows[0]


def test_test_metrics_join_the_record_and_not_the_history(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(RunRecord())
    model = lenet()
    trainer.fit(model, datamodule=digits())
    before = read_summary(tmp_path)
    trainer.test(model, datamodule=digits(), ckpt_path="best", verbose=False)
    after = read_summary(tmp_path)
    assert after["metrics"].pop("test/acc") == pytest.approx(float(trainer.callback_metrics["test/acc"]))
    assert after["tested_checkpoint"] == before["best_checkpoint"]
    assert after["metrics"] | before["metrics"] == after["metrics"]
    for name in before.keys() - {"metrics", "written_at"}:
        assert after[name] == before[name], name
    assert all(not name.startswith("test/") for row in read_metrics(tmp_path / "metrics.csv") for name in row)


def test_validate_alone_makes_a_record(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(RunRecord()).validate(lenet(), datamodule=digits(), verbose=False)
    summary = read_summary(tmp_path)
    assert summary["model"] == "zoo.LeNet"
    assert set(summary["metrics"]) == {"val/loss", "val/acc", "val/acc_top5"}
    assert summary["validated_checkpoint"] is None


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), "stopped", None),
        (OSError("disk full"), "failed", "OSError: disk full"),
    ],
)
def test_a_run_that_ends_early_says_how(
    make_trainer: MakeTrainer, tmp_path: Path, error: BaseException, status: str, message: str | None
) -> None:
    trainer = make_trainer(RunRecord(), StopAt(13, error))
    with pytest.raises((SystemExit, OSError)):
        trainer.fit(lenet(), datamodule=digits())
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["error"]) == (status, message)
    assert (summary["epochs"], summary["global_step"]) == (1, 13)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == [5, 10, 11]


def test_nan_is_null_in_the_record(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    class Lost(type(lenet())):  # type: ignore[misc]
        def measure(self, batch: Any) -> Any:
            loss, sums, examples = super().measure(batch)
            return loss * (1.0 if self.training else torch.nan), sums, examples

    make_trainer(RunRecord()).fit(Lost(image_size=12), datamodule=digits())
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["metrics"]["val/loss"] is None


def test_a_lost_run_is_recorded_as_failed(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    model = lenet()
    torch.nn.init.constant_(model.net.fc3.weight, torch.nan)
    with pytest.raises(NonFiniteLossError):
        make_trainer(RunRecord(), num_sanity_val_steps=0).fit(model, datamodule=digits())
    summary = read_summary(tmp_path)
    assert summary["status"] == "failed"
    assert summary["error"].startswith("NonFiniteLossError: the training loss was not finite at step 1")


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_resuming_replaces_rows_past_the_checkpoint(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    L.seed_everything(0, verbose=False)
    make_trainer(RunRecord(), max_epochs=3).fit(lenet(), datamodule=digits())
    whole = read_metrics(tmp_path / "metrics.csv")
    (tmp_path / "metrics.csv").unlink()

    L.seed_everything(0, verbose=False)
    trainer = make_trainer(RunRecord(), StopAt(21, OSError("lost")), max_epochs=3)
    with pytest.raises(OSError, match="lost"):
        trainer.fit(lenet(), datamodule=digits())
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == [5, 10, 11, 15, 20]
    assert read_summary(tmp_path)["status"] == "failed"
    (tmp_path / "summary.json").write_text(json.dumps({**read_summary(tmp_path), "wall_time_s": 5000.0}))

    (checkpoint,) = tmp_path.glob("checkpoints/*step=11.ckpt")
    make_trainer(RunRecord(), max_epochs=3).fit(lenet(), datamodule=digits(), ckpt_path=str(checkpoint))
    resumed = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in resumed] == [5, 10, 11, 15, 20, 22, 25, 30, 33]
    assert resumed == [pytest.approx(row) for row in whole]
    assert read_summary(tmp_path)["status"] == "finished"
    assert read_summary(tmp_path)["wall_time_s"] > 5000


def test_a_trial_of_a_few_batches_writes_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(RunRecord(), fast_dev_run=True).fit(lenet(), datamodule=digits())
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_code_outside_of_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_every_key_is_documented(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(RunRecord())
    model = lenet()
    trainer.fit(model, datamodule=digits())
    trainer.test(model, datamodule=digits(), verbose=False)
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    documented = {key for line in page.splitlines() for key in line.split("|")[1:2]}
    missing = [key for key in read_summary(tmp_path) if not any(f"`{key}`" in cell for cell in documented)]
    assert not missing
