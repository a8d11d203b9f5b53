"""Data parallelism by hand: parts of a batch on several devices, and in two processes."""

from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
import zoo.tasks
from datamodules.interface.batches import ImageBatch
from datamodules.loaders import BatchSampler, TensorLoader
from zoo.optim.sgd import SGD
from zoo.scratch import multi_device
from zoo.scratch.multi_device import ByHandStrategy, MultiDeviceLeNetNetwork, Parameters


def network() -> MultiDeviceLeNetNetwork:
    """With weights large enough that steps can be told apart."""
    net = MultiDeviceLeNetNetwork(in_channels=1, num_classes=4, image_size=14)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.2)
    return net


def images(examples: int, size: int = 14) -> ImageBatch:
    generator = torch.Generator().manual_seed(1)
    return ImageBatch(torch.rand(examples, 1, size, size, generator=generator), torch.arange(examples) % 4)


def step(net: MultiDeviceLeNetNetwork, batch: ImageBatch, lr: float) -> Tensor:
    """One step on one device."""
    loss = F.cross_entropy(net(batch.image), batch.label)
    net.zero_grad()
    loss.backward()
    torch.optim.SGD(net.parameters(), lr=lr).step()
    return loss


def test_network_is_the_books_sequence() -> None:
    net = MultiDeviceLeNetNetwork(in_channels=1, num_classes=10, image_size=28)
    assert sum(p.numel() for p in net.parameters()) == 129_068
    assert all(w.std().item() == pytest.approx(0.01, rel=0.15) for w in (net.w1, net.w2, net.w3, net.w4))
    assert not any(b.any() for b in (net.b1, net.b2, net.b3, net.b4))
    torch.nn.init.normal_(net.b1)
    twin = nn.Sequential(
        nn.Conv2d(1, 20, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    with torch.no_grad():
        for ours, theirs in zip(net.as_tuple(), twin.parameters(), strict=True):
            theirs.copy_(ours.T if ours.ndim == 2 else ours)
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(net(x), twin(x), atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="image_size is 13, but must be at least 14"):
        zoo.MultiDeviceLeNet(image_size=13)


def test_parts_cover_the_batch_in_order() -> None:
    parts = multi_device.split_batch(torch.arange(8), ["cpu"] * 3)
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    with pytest.raises(ValueError, match="the batch has 1 examples, but must have one for each of 2"):
        multi_device.split_batch(torch.arange(1), ["cpu"] * 2)


def test_allreduce_adds_up_everywhere() -> None:
    tensors = [torch.tensor([1.0, 2]), torch.tensor([10.0, 20]), torch.tensor([100.0, 200])]
    multi_device.allreduce(tensors)
    assert [t.tolist() for t in tensors] == [[111, 222]] * 3


def test_copies_share_nothing() -> None:
    net = network()
    copy = multi_device.copy_parameters(net.as_tuple(), "cpu")
    assert isinstance(copy, Parameters)
    for mine, other in zip(copy, net.parameters(), strict=True):
        assert torch.equal(mine, other)
        assert mine.data_ptr() != other.data_ptr()
        assert mine.is_leaf
        assert mine.requires_grad


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_steps_on_several_devices_equal_those_on_one(devices: int) -> None:
    """Seven examples: with two or three devices the parts differ in size."""
    net = network()
    copies = [multi_device.copy_parameters(net.as_tuple(), "cpu") for _ in range(devices)]
    batch = images(7)
    start = net.w4.detach().clone()
    for _ in range(3):
        loss = multi_device.train_batch(batch.image, batch.label, copies, lr=0.1)
        torch.testing.assert_close(loss, step(net, batch, 0.1).detach(), atol=1e-6, rtol=1e-5)
    assert (net.w4 - start).abs().max() > 0.01
    for copy in copies:
        torch.testing.assert_close(tuple(copy), tuple(net.parameters()), atol=1e-5, rtol=1e-4)


# Two processes

IN_ORDER, LAST = torch.contiguous_format, torch.channels_last


class LeaveWeights(L.Callback):
    """Leaves each process's weights in a file."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        torch.save(pl_module.state_dict(), f"weights_{trainer.global_rank}.pt")


class Images(L.LightningDataModule):
    """Twelve images; each process sees its own part of every four."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def train_dataloader(self) -> TensorLoader:
        assert self.trainer is not None
        sampler = BatchSampler(
            12,
            4 // self.trainer.world_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return TensorLoader(images(12, self.size), sampler)

    def val_dataloader(self) -> TensorLoader:
        return self.train_dataloader()


def fit(model: zoo.tasks.Task, devices: int, **options: Any) -> list[dict[str, Tensor]]:
    """Weights of all processes after an epoch of three batches of four."""
    L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy=ByHandStrategy(start_method="fork") if devices > 1 else "auto",
        max_epochs=1,
        logger=False,
        callbacks=[LeaveWeights()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **options,
    ).fit(model, datamodule=Images(model.example_input_array.shape[-1]))
    return [torch.load(f"weights_{rank}.pt", weights_only=True) for rank in range(devices)]


class OwnStart(zoo.MultiDeviceLeNet):
    """Each process but the first starts with other weights, which the first one's must replace."""

    def configure_model(self) -> None:
        if self.global_rank > 0:
            with torch.no_grad():
                for p in self.parameters():
                    p.add_(1.0)


@pytest.mark.parametrize(("accumulate", "memory_format"), [(1, IN_ORDER), (2, IN_ORDER), (1, LAST)])
def test_two_processes_equal_one_on_the_whole_batch(
    accumulate: int, memory_format: torch.memory_format
) -> None:
    """Three steps, or one of two batches and one of the last."""
    results = []
    for devices in (1, 2):
        torch.manual_seed(3)
        model = OwnStart(image_size=14, num_classes=4, optimizer=lambda p: SGD(p, lr=0.1))
        model.net.load_state_dict(network().state_dict())
        model.net.to(memory_format=memory_format)
        assert model.net.w2.is_contiguous(memory_format=memory_format)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        results += fit(model, devices, accumulate_grad_batches=accumulate)
    one, *two = results
    assert (one["net.w4"] - before["net.w4"]).abs().max() > 0.01
    torch.testing.assert_close(two[0], two[1], atol=0, rtol=0)
    torch.testing.assert_close(two[0], one, atol=1e-6, rtol=1e-5)


class WithStatistics(zoo.BNLeNet):
    """Each process but the first starts with other running statistics and counters."""

    def configure_model(self) -> None:
        for name, value in self.named_buffers():
            value += self.global_rank * (1 if name.endswith("num_batches_tracked") else 0.5)


def test_buffers_are_sent_too() -> None:
    model = WithStatistics(image_size=16, num_classes=4, optimizer=lambda p: SGD(p, lr=0.0))
    weights = fit(model, 2)
    assert [w["net.bn1.num_batches_tracked"].item() for w in weights] == [3, 3]
    # What differs is what each has seen: the mean of its own images.
    assert (weights[0]["net.bn1.running_mean"] - weights[1]["net.bn1.running_mean"]).abs().max() < 0.1
