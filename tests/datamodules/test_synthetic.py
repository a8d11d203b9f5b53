from typing import Any

import lightning as L
import pytest
import torch
from torch.nn import functional as F

import zoo
from datamodules import EdgeImage, SyntheticHighDimensional, SyntheticRegression, SyntheticSines
from datamodules.base import ZooDataModule
from datamodules.interface.batches import RegressionBatch
from datamodules.tabular.synthetic import edge_batch
from zoo.linear import least_squares


def read(data: ZooDataModule) -> dict[str, RegressionBatch]:
    data.prepare_data()
    data.setup()
    splits: dict[str, RegressionBatch] = {}
    for name, split in data.splits.items():
        assert isinstance(split, RegressionBatch)
        splits[name] = split
    return splits


def test_the_books_line_is_in_the_data() -> None:
    data = SyntheticRegression()
    splits = read(data)
    assert {name: len(split.target) for name, split in splits.items()} == {
        "train": 1000,
        "val": 1000,
        "test": 1000,
    }
    for features, target in splits.values():
        weight, bias = least_squares(features, target)
        torch.testing.assert_close(weight, torch.tensor([[2.0, -3.4]]), atol=0.003, rtol=0)
        torch.testing.assert_close(bias, torch.tensor([4.2]), atol=0.003, rtol=0)
        residual = target - features @ weight.T - bias
        assert residual.std().item() == pytest.approx(0.01, rel=0.1)


def test_default_batch_has_the_books_shapes() -> None:
    data = SyntheticRegression()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, RegressionBatch)
    assert (batch.features.shape, batch.target.shape) == ((32, 2), (32, 1))
    assert batch.features.dtype == batch.target.dtype == torch.float32
    assert (data.in_features, data.out_features) == (2, 1)


def test_the_test_split_is_drawn_last_and_on_its_own() -> None:
    few, many = read(SyntheticRegression(num_test=10)), read(SyntheticRegression(num_test=500))
    for split in ("train", "val"):
        assert torch.equal(few[split].features, many[split].features)
        assert torch.equal(few[split].target, many[split].target)
    everything = torch.cat([split.features for split in many.values()])
    assert len(everything.unique(dim=0)) == 2500


def test_seed_decides_the_data() -> None:
    first, again, other = (read(SyntheticRegression(seed=seed))["train"] for seed in (1, 1, 2))
    assert torch.equal(first.features, again.features)
    assert not torch.equal(first.features, other.features)


def test_noise_of_zero_is_exact() -> None:
    features, target = read(SyntheticRegression(w=[1, 2, 3], b=-1, noise=0))["test"]
    torch.testing.assert_close(target[:, 0], features[:, 0] + 2 * features[:, 1] + 3 * features[:, 2] - 1)


@pytest.mark.parametrize("seed", range(5))
def test_books_recipe_finds_the_weights(seed: int) -> None:
    """M02 on D02: the error of each weight is below .02."""
    L.seed_everything(seed, verbose=False)
    model = zoo.LinearRegression(in_features=2)
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, SyntheticRegression(seed=seed))
    error = (model.net.weight.detach() - torch.tensor([[2.0, -3.4]])).abs()
    assert error.max().item() < 0.02


def test_high_dimensional_data_has_the_books_numbers() -> None:
    data = SyntheticHighDimensional()
    splits = read(data)
    assert data.in_features == 200
    assert {name: len(split.target) for name, split in splits.items()} == {
        "train": 20,
        "val": 100,
        "test": 100,
    }
    features, target = splits["val"]
    residual = target[:, 0] - 0.01 * features.sum(dim=1) - 0.05
    assert residual.mean().abs().item() < 0.003
    assert residual.std().item() == pytest.approx(0.01, rel=0.2)
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, RegressionBatch)
    assert (batch.features.shape, batch.target.shape) == ((5, 200), (5, 1))


def test_two_sines_are_the_books() -> None:
    data = SyntheticSines()
    splits = read(data)
    assert {name: len(split.target) for name, split in splits.items()} == {
        "train": 50,
        "val": 50,
        "test": 500,
    }
    for name, split in splits.items():
        x, y = split.features[:, 0].double(), split.target[:, 0].double()
        residual = y - x.sin() - 0.5 * (4 * x).sin()
        if name == "test":
            assert residual.abs().max() < 1e-6  # the function itself
        else:
            assert residual.std().item() == pytest.approx(0.25, rel=0.25)
            assert abs(residual.mean().item()) < 4 * 0.25 / 50**0.5
        if name == "val":
            assert 0 <= x.min() < 0.5
            assert 4.5 < x.max() <= 5
        else:
            grid = torch.linspace(0, 5, len(x), dtype=torch.float64)
            torch.testing.assert_close(x, grid, atol=1e-6, rtol=0)
    assert len(data.train_dataloader()) == 1


def test_edge_image_is_the_books() -> None:
    train = read(EdgeImage())["train"]
    row = torch.tensor([1.0, 1, 0, 0, 0, 0, 1, 1])
    assert torch.equal(train.features, row.expand(1, 1, 6, 8))
    edges = torch.tensor([0.0, 1, 0, 0, 0, -1, 0])
    assert torch.equal(train.target, edges.expand(1, 1, 6, 7))


def test_kernel_of_one_and_minus_one_finds_every_edge() -> None:
    kernel = torch.tensor([[[[1.0, -1.0]]]])
    splits = read(EdgeImage())
    for features, target in splits.values():
        torch.testing.assert_close(F.conv2d(features, kernel), target)
    images = {tuple(split.features.flatten().tolist()) for split in splits.values()}
    assert len(images) == 3  # what is tested on was not trained on


def test_images_of_one_batch_have_their_own_edges() -> None:
    features, target = edge_batch([(1, 2), (0, 3)], height=1, width=4)
    assert features.tolist() == [[[[1, 0, 1, 1]]], [[[0, 0, 0, 1]]]]
    assert target.tolist() == [[[[1, -1, 0]]], [[[0, 0, -1]]]]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"w": []}, "the length of w is 0, but must be at least 1"),
        ({"noise": -1.0}, "noise is -1.0, but must be at least 0"),
        ({"num_train": 0}, "num_train is 0, but must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1, or `full`"),
    ],
)
def test_bad_values_are_refused(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticRegression(**argument)
