"""Losses by name."""

import pytest
import torch

import zoo
from zoo.tasks import losses

PREDICTION = torch.tensor([[3.0], [0.5], [-1.0]])
TARGET = torch.tensor([[1.0], [0.0], [-1.0]])  # errors 2, .5, 0


@pytest.mark.parametrize(
    ("name", "delta", "expected"),
    [
        ("mse", 1.0, (4 + 0.25) / 3),
        ("half_mse", 1.0, (4 + 0.25) / 6),
        ("mae", 1.0, 2.5 / 3),
        ("huber", 1.0, (2 - 0.5 + 0.125) / 3),
        ("huber", 0.25, (0.25 * (2 - 0.125) + 0.25 * (0.5 - 0.125)) / 3),
        ("smooth_l1", 1.0, (2 - 0.5 + 0.125) / 3),
        ("smooth_l1", 0.25, (2 - 0.125 + 0.5 - 0.125) / 3),
    ],
)
def test_values(name: str, delta: float, expected: float) -> None:
    assert losses.regression_loss(name, delta)(PREDICTION, TARGET).item() == pytest.approx(expected)


@pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
def test_smooth_l1_is_huber_divided_by_delta(delta: float) -> None:
    prediction, target = 3 * torch.randn(50, 2), torch.randn(50, 2)
    torch.testing.assert_close(
        losses.smooth_l1(prediction, target, delta=delta),
        losses.huber(prediction, target, delta=delta) / delta,
    )


@pytest.mark.parametrize("name", losses.REGRESSION_LOSSES)
def test_models_take_the_loss_by_name(name: str) -> None:
    model = zoo.LinearRegression(in_features=1, loss=name, huber_delta=0.5)
    expected = losses.regression_loss(name, 0.5)(PREDICTION, TARGET)
    torch.testing.assert_close(model.loss(PREDICTION, TARGET), expected)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"loss is 'hubert', but must be one of .*; did you mean huber"):
        zoo.LinearRegression(in_features=1, loss="hubert")
    with pytest.raises(ValueError, match="huber_delta is 0, but must be positive"):
        zoo.LinearRegression(in_features=1, huber_delta=0)


def test_label_smoothing_counts_in_training_alone() -> None:
    model = zoo.SoftmaxRegression(image_size=2, num_classes=4, label_smoothing=0.2)
    logits, label = torch.tensor([[2.0, 0.0, -1.0, 0.5]]), torch.tensor([0])
    log_probability = logits.log_softmax(1)[0]
    smoothed = -(0.85 * log_probability[0] + 0.05 * log_probability[1:].sum())
    assert model.loss(logits, label).item() == pytest.approx(smoothed.item())
    assert model.eval().loss(logits, label).item() == pytest.approx(-log_probability[0].item())
    with pytest.raises(ValueError, match=r"label_smoothing is 1.5, but must be in \[0, 1\)"):
        zoo.SoftmaxRegression(label_smoothing=1.5)
