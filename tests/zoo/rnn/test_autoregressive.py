import lightning as L
import pytest
import torch

from datamodules import SineWave
from zoo import AutoRegressive
from zoo.linear import least_squares


def fibonacci() -> AutoRegressive:
    """The next value is the sum of the last two, and 0 times the one before."""
    model = AutoRegressive(in_features=3)
    with torch.no_grad():
        model.net.weight.copy_(torch.tensor([[0.0, 1.0, 1.0]]))
    return model


def test_the_books_model_has_small_weights_and_no_bias_at_first() -> None:
    torch.manual_seed(0)
    weight = AutoRegressive(in_features=10_000).net.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.05)
    model = AutoRegressive()
    assert model.net.weight.shape == (1, 4)
    assert model.net.bias.item() == 0
    optimizer = model.build_optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.defaults["lr"] == 0.01


def test_predictions_are_fed_back() -> None:
    model = fibonacci()
    assert model.predict_ahead(torch.tensor([7.0, 9.0, 1.0, 2.0]), 5).tolist() == [3, 5, 8, 13, 21]
    with torch.no_grad():
        model.net.bias.fill_(1.0)
    assert model.predict_ahead(torch.tensor([9.0, 1.0, 2.0]), 3).tolist() == [4, 7, 12]


def test_several_series_are_continued_at_once() -> None:
    histories = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 2.0, 3.0]]])
    assert fibonacci().predict_ahead(histories, 2).tolist() == [[[2, 3], [5, 8]]]


def test_k_steps_ahead_begin_with_true_values_only() -> None:
    model, series = fibonacci(), torch.tensor([1.0, 2, 5, 0, 1, 7])
    assert model.k_step(series, 1).tolist() == [7, 5, 1]
    assert model.k_step(series, 2).tolist() == [12, 5]  # 5 + 7; 0 + 5
    assert model.k_step(series, 3).tolist() == [19]  # 7, 12, 19
    assert len(model.k_step(series, 3)) == len(series) - 3 - 3 + 1


def test_one_step_ahead_is_the_network_on_each_window() -> None:
    model, data = AutoRegressive(), SineWave()
    data.setup()
    expected = model(data.splits["train"][0])[:, 0]
    torch.testing.assert_close(model.k_step(data.series, 1)[:600], expected)
    for k in (4, 16):
        last = model.predict_ahead(data.series[:-k], k)[-1]
        torch.testing.assert_close(model.k_step(data.series, k)[-1], last)


def test_predictions_have_no_graph() -> None:
    assert not fibonacci().predict_ahead(torch.ones(3), 2).requires_grad


@pytest.mark.parametrize(
    ("history", "steps", "message"),
    [
        (torch.ones(2), 1, "the length of history is 2, but must be at least 3"),
        (torch.ones(3), 0, "steps is 0, but must be at least 1"),
    ],
)
def test_what_cannot_be_continued_is_refused(history: torch.Tensor, steps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fibonacci().predict_ahead(history, steps)


@pytest.mark.parametrize(
    ("length", "k", "message"),
    [(9, 0, "k is 0, but must be at least 1"), (4, 2, "the length of series is 4, but must be at least 5")],
)
def test_what_is_too_short_for_k_steps_is_refused(length: int, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fibonacci().k_step(torch.ones(length), k)


def test_training_comes_near_to_least_squares_and_free_running_decays() -> None:
    torch.manual_seed(0)
    model, data = AutoRegressive(), SineWave()
    trainer = L.Trainer(
        **{"accelerator": "cpu", "max_epochs": 5, "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False},
    )
    trainer.fit(model, datamodule=data)
    train = data.splits["train"]
    weight, bias = least_squares(*train)
    best = (train[0] @ weight.T + bias - train[1]).square().mean().item()
    assert trainer.callback_metrics["train/loss"].item() < 1.2 * best
    free = model.predict_ahead(data.series[: data.train_end], 396)
    # Such a recursion has one fixed point, the constant to which it comes.
    constant = model.net.bias.item() / (1 - model.net.weight.sum().item())
    torch.testing.assert_close(free[-1], torch.tensor(constant), atol=0.05, rtol=0)
    assert free[-100:].std() < 0.02
