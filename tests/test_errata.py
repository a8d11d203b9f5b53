"""Faults of the book's data and training that are mended here, as far as no package's own tests hold them."""

import inspect
import math
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

import datamodules
import zoo
from datamodules.interface.batches import ImageBatch
from datamodules.loaders import BatchSampler, TensorLoader
from tests.datamodules.fixtures import idx
from zoo.scratch import multi_device

# 15: a metric of an epoch is a mean over its examples

ROOT = Path(__file__).resolve().parent.parent


def test_erratum_15_accuracy_is_over_examples_not_over_batches() -> None:
    model = zoo.SoftmaxRegression(in_channels=1, image_size=1, num_classes=2)
    with torch.no_grad():  # chooses class 1 for positive pixels
        model.net[1].weight.copy_(torch.tensor([[-1.0], [1.0]]))
        model.net[1].bias.zero_()
    image = torch.ones(5, 1, 1, 1)
    label = torch.tensor([1, 1, 1, 1, 0])  # batches of 4 and 1: right 4 of 4, and 0 of 1
    loader = TensorLoader(ImageBatch(image, label), BatchSampler(5, 4))
    trainer = L.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    (metrics,) = trainer.validate(model, dataloaders=loader, verbose=False)
    assert metrics["val/acc"] == pytest.approx(4 / 5)  # the mean over batches is 1/2
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert metrics["val/loss"] == pytest.approx((4 * right + wrong) / 5, rel=1e-5)


# 16: the test split is only tested on


def test_erratum_16_fashion_mnist_is_not_validated_on_its_test_split(tmp_path: Path) -> None:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    # Each image is one number of its own: 0-59 in the training files, 200-209 in the test files.
    for name, pixels in (("train", torch.arange(60)), ("t10k", torch.arange(200, 210))):
        images = pixels.to(torch.uint8).reshape(-1, 1, 1).numpy()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(images.reshape(-1) % 10))
    data = datamodules.FashionMNIST(data_dir=str(tmp_path), val_size=6, image_size=1, batch_size=4)
    data.setup()
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    seen = {
        split: sorted(torch.cat([batch.image.flatten() for batch in loader]).tolist())
        for split, loader in loaders.items()
    }
    assert seen["test"] == list(range(200, 210))
    assert len(seen["val"]) == 6
    assert sorted(seen["train"] + seen["val"]) == list(range(60))


# 17: neither the competition's rows nor the validation split shape what a model learns from

HOUSES = [
    "1,10,RL,100000",
    "2,20,RM,110000",
    "3,900,FV,900000",
    "4,,C,950000",
    "5,30,RL,120000",
    "6,40,RL,130000",
]


def houses(folder: Path, rows: list[str]) -> datamodules.HousePrices:
    """The middle rows are held out. There are no competition rows: nothing can be learnt from them."""
    (folder / "house-prices").mkdir(parents=True)
    text = "\n".join(["Id,LotArea,MSZoning,SalePrice", *rows])
    (folder / "house-prices" / "kaggle_house_pred_train.csv").write_text(text + "\n")
    data = datamodules.HousePrices(data_dir=str(folder), fold=1, num_folds=3)
    data.setup()
    return data


def test_erratum_17_held_out_houses_leave_the_training_features_as_they_are(tmp_path: Path) -> None:
    before = houses(tmp_path / "a", HOUSES)
    after = houses(tmp_path / "b", [*HOUSES[:2], "3,1,Other,1", "4,5,New,2", *HOUSES[4:]])
    assert before.encoder is not None
    assert after.encoder is not None
    assert before.encoder.names == ["LotArea", "MSZoning_RL", "MSZoning_RM", "MSZoning_nan"]
    assert before.encoder.state_dict() == after.encoder.state_dict()
    train = [data.splits["train"].features for data in (before, after)]
    torch.testing.assert_close(*train, atol=0, rtol=0)
    areas = torch.tensor([10.0, 20, 30, 40])
    torch.testing.assert_close(train[0][:, 0], (areas - 25) / areas.std())


# Q15: a schedule that was drawn still does its work


class Rates(L.Callback):
    """The learning rate at each epoch's start."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_q15_multi_step_schedule_works_after_it_was_drawn() -> None:
    text = (ROOT / "configs" / "cnn" / "lenet_modern_fashion_mnist_multi_step.yaml").read_text()
    arguments = yaml.safe_load(text)["model"]["init_args"]
    model = zoo.LeNetModern(image_size=12, num_classes=4, **arguments)

    # Drawing a schedule takes its steps, so that the run after it goes on where the picture ended.
    drawn = model.configure_optimizers()
    curve = []
    for _ in range(30):
        curve.append(drawn["optimizer"].param_groups[0]["lr"])
        drawn["optimizer"].step()
        drawn["lr_scheduler"]["scheduler"].step()
    assert drawn["optimizer"].param_groups[0]["lr"] == 0.125

    rates = Rates()
    trainer = L.Trainer(
        max_epochs=30,
        limit_val_batches=0,
        logger=False,
        callbacks=[rates],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        log_every_n_steps=1,
    )
    loader = TensorLoader(model.example_batch(2), BatchSampler(2, 2))
    trainer.fit(model, loader, loader)
    assert rates.seen == curve == [0.5] * 15 + [0.25] * 15


# 18: a learning rate means the same on any number of devices


@pytest.mark.parametrize("devices", [2, 4])
def test_erratum_18_learning_rate_does_not_depend_on_the_number_of_devices(devices: int) -> None:
    model = zoo.MultiDeviceLeNet(image_size=14, num_classes=4)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    start = model.net.as_tuple()
    batch = model.example_batch(8)

    def after(devices: int, lr: float) -> list[Tensor]:
        copies = [multi_device.copy_parameters(start, "cpu") for _ in range(devices)]
        multi_device.train_batch(batch.image, batch.label, copies, lr=lr)
        return [p.detach() for p in copies[-1]]

    torch.testing.assert_close(after(devices, 0.1), after(1, 0.1), atol=1e-6, rtol=1e-5)

    # Each device's mean loss, and gradients only added up: the rate acts times the number of devices.
    parts = zip(batch.image.chunk(devices), batch.label.chunk(devices), strict=True)
    losses = [F.cross_entropy(multi_device.lenet(x, start), y) for x, y in parts]
    gradients = [list(torch.autograd.grad(loss, start)) for loss in losses]
    for of_one_parameter in zip(*gradients, strict=True):
        multi_device.allreduce(of_one_parameter)
    summed = [p.detach() - 0.1 * g for p, g in zip(start, gradients[0], strict=True)]
    torch.testing.assert_close(summed, after(1, 0.1 * devices), atol=1e-6, rtol=1e-5)
    assert (summed[6] - after(1, 0.1)[6]).abs().max() > 0.01


def test_q13_step_on_the_mean_is_the_books_on_the_sum() -> None:
    config = yaml.safe_load((ROOT / "configs/cnn/resnet18_small_kaggle_cifar10.yaml").read_text())
    ours = config["model"]["init_args"]["optimizer"]["init_args"]
    batch_size = inspect.signature(datamodules.KaggleCIFAR10).parameters["batch_size"].default
    inputs, label = torch.randn(batch_size, 4), torch.arange(batch_size) % 3

    def weights_after_two_steps(reduction: str, settings: dict[str, float]) -> Tensor:
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(net.parameters(), **settings)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), label, reduction=reduction).backward()
            optimizer.step()
        return net.weight.detach()

    book = weights_after_two_steps("sum", {"lr": 2e-4, "momentum": 0.9, "weight_decay": 5e-4})
    torch.testing.assert_close(weights_after_two_steps("mean", ours), book, atol=1e-7, rtol=1e-6)
    undivided = weights_after_two_steps("mean", {**ours, "weight_decay": 5e-4})
    assert (undivided - book).abs().max() > 1e-6
