"""Training in other precisions than float32, and means that keep their digits in all of them."""

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

import datamodules
import zoo
from datamodules.interface.batches import RegressionBatch
from datamodules.loaders import BatchSampler, TensorLoader
from zoo.tasks import Task


def trainer(precision: Any = "32-true") -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


DTYPES = [("bf16-true", torch.bfloat16), ("64-true", torch.float64), ("32-true", torch.float32)]


@pytest.mark.parametrize(("precision", "dtype"), DTYPES)
def test_images_train_in_the_precision_of_the_trainer(precision: str, dtype: torch.dtype) -> None:
    """Pixels are bytes when Lightning converts its batches, so the datamodule must convert them."""
    run = trainer(precision)
    data = datamodules.Digits(image_size=12)
    model = zoo.LeNet(image_size=12)
    run.fit(model, datamodule=data)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert run.callback_metrics["val/loss"].isfinite()
    run.test(model, datamodule=data, verbose=False)
    predictions = run.predict(model, datamodule=data)
    assert predictions is not None
    assert {p.dtype for p in predictions if isinstance(p, Tensor)} == {dtype}


@pytest.mark.parametrize(("precision", "dtype"), DTYPES)
def test_columns_train_in_the_precision_of_the_trainer(precision: str, dtype: torch.dtype) -> None:
    run = trainer(precision)
    data = datamodules.SyntheticRegression()
    model = zoo.LinearRegression(in_features=data.in_features)
    run.fit(model, datamodule=data)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert run.callback_metrics["val/mse"].isfinite()


class Constant(Task):
    """Always the same loss and accuracy, in some precision."""

    def __init__(self, *, value: float, right: int, dtype: torch.dtype) -> None:
        super().__init__(optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
        self.net = nn.Linear(1, 1)
        self.value, self.right, self.dtype_of_loss = value, right, dtype

    def measure(self, batch: Any) -> tuple[Tensor, dict[str, Tensor], int]:
        loss = (0 * self.net(batch[0]).sum() + self.value).to(self.dtype_of_loss)
        return loss, {"acc": torch.tensor(self.right)}, len(batch[0])


@pytest.mark.parametrize(
    ("value", "dtype"), [(1.0078125, torch.bfloat16), (600.0, torch.float16), (3e38, torch.float32)]
)
def test_means_lose_no_digits_and_do_not_overflow(value: float, dtype: torch.dtype) -> None:
    """A loss that the precision can hold, times 300 examples, is one that it cannot hold."""
    model = Constant(value=value, right=257, dtype=dtype)
    batch = RegressionBatch(torch.ones(600, 1), torch.ones(600, 1))
    run = trainer()
    run.fit(model, TensorLoader(batch, BatchSampler(600, 300)), TensorLoader(batch, BatchSampler(600, 300)))
    held = torch.tensor(value, dtype=dtype).item()
    for stage in ("train", "val"):
        assert run.callback_metrics[f"{stage}/loss"].item() == pytest.approx(held, rel=1e-7)
        assert run.callback_metrics[f"{stage}/acc"].item() == pytest.approx(257 / 300, rel=1e-6)


def test_regression_metrics_do_not_overflow_in_half_precision() -> None:
    model = zoo.LinearRegression(in_features=1).half().eval()
    with torch.no_grad():
        model.net.weight.fill_(0)
        model.net.bias.fill_(0)
    batch = RegressionBatch(torch.ones(600, 1).half(), torch.full((600, 1), 200.0).half())
    _, sums, _ = model.measure(batch)
    assert sums["mse"].item() == pytest.approx(200.0**2 * 600)
    assert sums["mae"].item() == pytest.approx(200.0 * 600)
