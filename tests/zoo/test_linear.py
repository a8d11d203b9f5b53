"""Linear regression in closed form and by descent."""

import lightning as L
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

import zoo
from datamodules.interface.batches import RegressionBatch
from datamodules.loaders import BatchSampler, TensorLoader
from zoo.linear import least_squares


def data(examples: int = 40, columns: int = 3, outputs: int = 2) -> RegressionBatch:
    features = torch.randn(examples, columns) + 5  # far from the origin, so that the bias matters
    return RegressionBatch(
        features, features @ torch.randn(columns, outputs) + torch.randn(examples, outputs)
    )


def test_least_squares_is_torchs() -> None:
    features, target = data()
    weight, bias = least_squares(features, target)
    with_ones = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    solution = torch.linalg.lstsq(with_ones, target.double()).solution.float()
    torch.testing.assert_close(weight, solution[:-1].T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bias, solution[-1], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("l2", [0.1, 10.0])
def test_ridge_is_scikit_learns(l2: float) -> None:
    features, target = data()
    weight, bias = least_squares(features, target, l2=l2)
    reference = Ridge(alpha=l2).fit(features.double().numpy(), target.double().numpy())
    torch.testing.assert_close(weight, torch.from_numpy(reference.coef_).float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bias, torch.from_numpy(reference.intercept_).float(), atol=1e-4, rtol=1e-5)


def dependent() -> Tensor:
    features = torch.randn(20, 3)
    return torch.cat([features, features[:, :1] - 2 * features[:, 1:2]], dim=1)


@pytest.mark.parametrize(
    "features",
    [dependent(), torch.cat([torch.randn(20, 2), torch.ones(20, 1)], dim=1), torch.randn(3, 5)],
    ids=["dependent columns", "constant column", "more columns than examples"],
)
def test_rank_deficiency_is_refused_unless_penalised(features: Tensor) -> None:
    target = torch.randn(len(features), 1)
    with pytest.raises(
        ValueError, match=f"the {features.shape[1]} columns have rank .* not unique: drop columns"
    ):
        least_squares(features, target)
    weight, _ = least_squares(features, target, l2=0.1)
    assert weight.isfinite().all()
    with pytest.raises(ValueError, match="l2 is -1, but must be at least 0"):
        least_squares(features, target, l2=-1)


def fit(model: zoo.LinearRegression, batch: RegressionBatch, batch_size: int | str) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=1,
    )
    loaders = [
        TensorLoader(batch, BatchSampler(len(batch.target), batch_size, shuffle=True)) for _ in range(2)
    ]
    trainer.fit(model, *loaders)
    return trainer


def test_columns_of_very_different_scales_are_not_refused() -> None:
    features, target = data()
    scale = torch.tensor([1e-4, 1.0, 1e6])
    weight, bias = least_squares(features * scale, target)
    expected_weight, expected_bias = least_squares(features, target)
    torch.testing.assert_close(weight * scale, expected_weight, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(bias, expected_bias, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("l2", [0.0, 2.0])
def test_closed_form_through_the_trainer(l2: float) -> None:
    batch = data()
    model = zoo.LinearRegression(in_features=3, out_features=2, closed_form=True, l2=l2)
    trainer = fit(model, batch, "full")
    weight, bias = least_squares(*batch, l2=l2)
    torch.testing.assert_close(model.net.weight.detach(), weight, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.net.bias.detach(), bias, atol=1e-4, rtol=0)
    assert trainer.global_step == 1


def test_closed_form_refuses_more_than_one_batch() -> None:
    model = zoo.LinearRegression(in_features=3, out_features=2, closed_form=True)
    with pytest.raises(ValueError, match="makes 4 batches, but must be `full` for closed_form"):
        fit(model, data(), 10)


def test_closed_form_refuses_several_devices() -> None:
    """Each would solve for its own share of the data."""
    model = zoo.LinearRegression(in_features=3, closed_form=True)
    model.trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp_fork", logger=False)
    with pytest.raises(ValueError, match="the number of devices is 2, but must be 1 for closed_form"):
        model.setup("fit")
    model.setup("test")


@pytest.mark.parametrize("loss", ["mae", "huber", "smooth_l1"])
def test_closed_form_refuses_losses_that_it_does_not_minimise(loss: str) -> None:
    with pytest.raises(ValueError, match=f"loss is '{loss}', but must be mse or half_mse for closed_form"):
        zoo.LinearRegression(in_features=3, closed_form=True, loss=loss)
    assert zoo.LinearRegression(in_features=3, closed_form=True, loss="half_mse").closed_form


def test_softmax_regression_counts() -> None:
    model = zoo.SoftmaxRegression(in_channels=4, image_size=1, num_classes=3)
    assert sum(p.numel() for p in model.parameters()) == 15


def test_linear_regression_starts_as_in_the_book() -> None:
    model = zoo.LinearRegression(in_features=1000)
    assert model.net.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert model.net.bias.item() == 0
