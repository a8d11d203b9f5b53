"""Means over several processes, also across a checkpoint made within an epoch."""

from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import SingleDeviceStrategy

import zoo
from datamodules.interface.batches import ImageBatch
from datamodules.loaders import BatchSampler, TensorLoader
from zoo.tasks._sums import MetricSums

EXAMPLES = 12


def images() -> ImageBatch:
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(EXAMPLES) % 4
    return ImageBatch(torch.rand(EXAMPLES, 1, 6, 6, generator=generator), label)


class Images(L.LightningDataModule):
    """Six batches of one image for each of two processes; two images and one for validation."""

    def loader(self, size: int) -> TensorLoader:
        assert self.trainer is not None
        batch = ImageBatch(*(field[:size] for field in images()))
        return TensorLoader(
            batch,
            BatchSampler(size, 1, rank=self.trainer.global_rank, world_size=self.trainer.world_size),
        )

    def train_dataloader(self) -> TensorLoader:
        return self.loader(EXAMPLES)

    def val_dataloader(self) -> TensorLoader:
        return self.loader(3)


class HalfWay(L.Callback):
    """Saves within the epoch, and leaves each process's metrics in a file."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        torch.save(metrics, f"metrics_{trainer.global_rank}.pt")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, i: int) -> None:
        assert pl_module._sums["train"].steps == i + 1
        if trainer.global_step == 4:
            trainer.save_checkpoint("half.ckpt")


def fit(ckpt_path: str | None = None) -> list[dict[str, float]]:
    """Metrics of both processes."""
    model = zoo.SoftmaxRegression(image_size=6, num_classes=4, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        max_epochs=1,
        logger=False,
        callbacks=[HalfWay()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=2,
    ).fit(model, datamodule=Images(), ckpt_path=ckpt_path)
    return [torch.load(f"metrics_{rank}.pt", weights_only=True) for rank in range(2)]


def test_epoch_means_over_two_processes_survive_a_resume_within_the_epoch() -> None:
    first = fit()
    saved = torch.load("half.ckpt", weights_only=True)
    model = zoo.SoftmaxRegression.load_from_checkpoint("half.ckpt")
    batch = images()
    losses = F.cross_entropy(model(batch.image), batch.label, reduction="none").detach()
    assert saved["train_sums"]["examples"] == 8
    assert saved["train_sums"]["totals"][0].item() == pytest.approx(losses[:8].sum().item(), rel=1e-6)
    for metrics in (*first, *fit("half.ckpt")):
        assert metrics["train/loss"] == pytest.approx(losses.mean().item(), rel=1e-6)
        assert metrics["val/loss"] == pytest.approx(losses[:3].mean().item(), rel=1e-6)


def test_first_bad_step_is_known_where_another_process_has_taken_the_sums() -> None:
    sums, restored = MetricSums(), MetricSums()
    for _ in range(3):
        sums.add({"loss": torch.tensor(1.0)}, 2)
    restored.load_state_dict(sums.state_dict())
    restored.leave_to_another()
    assert (restored.totals(), restored.examples) == ({"loss": 0.0}, 0)
    restored.add({"loss": torch.tensor(1.0)}, 2)
    assert restored.first_bad_step() is None
    restored.add({"loss": torch.tensor(torch.nan)}, 2)
    assert restored.first_bad_step() == 4


class TwoProcesses(SingleDeviceStrategy):
    """The strategy of a process beside another one, which has seen one example."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        return ("loss", "acc")

    def reduce(self, tensor: Any, *args: Any, reduce_op: str = "mean") -> Any:
        assert reduce_op == "sum"
        return tensor + torch.tensor([0.25, 1.0, 1.0], dtype=torch.float64)


def test_a_process_without_examples_takes_part() -> None:
    """The other one would wait for it for ever."""
    whole = MetricSums().over_processes(TwoProcesses(), torch.device("cpu"))
    assert (whole.totals(), whole.examples) == ({"loss": 0.25, "acc": 1.0}, 1)
