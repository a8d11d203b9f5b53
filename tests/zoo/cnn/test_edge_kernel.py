"""The edge kernel: its loss, and gradient descent on the book's image step by step."""

import lightning as L
import pytest
import torch

import datamodules
import zoo
from datamodules.interface.batches import RegressionBatch


def test_loss_is_the_sum_over_an_image_and_the_mean_over_images() -> None:
    model = zoo.EdgeKernel()
    with torch.no_grad():
        model.net.weight.zero_()
    images = torch.rand(2, 1, 3, 4)
    edges = torch.stack([torch.full((1, 3, 3), 2.0), torch.full((1, 3, 3), -4.0)])
    loss, sums, examples = model.measure(RegressionBatch(images, edges))
    assert loss.item() == pytest.approx((9 * 4 + 9 * 16) / 2)
    assert sums["mse"].item() / examples == pytest.approx((4 + 16) / 2)


def test_true_kernel_finds_the_edges_of_all_images() -> None:
    model = zoo.EdgeKernel()
    with torch.no_grad():
        model.net.weight.copy_(torch.tensor([1.0, -1]).reshape(1, 1, 1, 2))
    for batch in datamodules.EdgeImage().read_splits().values():
        torch.testing.assert_close(model(batch[0]), batch[1])
        assert model.measure(batch)[0].item() == 0


def test_ten_steps_of_the_books_descent() -> None:
    """By hand: in each of 6 rows, windows 11, 10, 00 (three), 01, 11 and edges 0, 1, 0, 0, 0, -1, 0.

    With the kernel (a, b) the loss is 6 (2 (a + b)^2 + (a - 1)^2 + (b + 1)^2).
    """
    model = zoo.EdgeKernel()
    a, b = model.net.weight.flatten().tolist()
    data = datamodules.EdgeImage()
    trainer = L.Trainer(
        max_epochs=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(model, datamodule=data)
    for _ in range(10):
        loss = 6 * (2 * (a + b) ** 2 + (a - 1) ** 2 + (b + 1) ** 2)
        gradient = 12 * (2 * (a + b) + a - 1), 12 * (2 * (a + b) + b + 1)
        a, b = a - 0.03 * gradient[0], b - 0.03 * gradient[1]
    assert model.net.weight.flatten().tolist() == pytest.approx([a, b], abs=1e-5)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(loss, rel=1e-4)
    assert max(abs(a - 1), abs(b + 1)) < 0.2
