"""Each model from scratch against its twin: same weights and inputs, same outputs, loss and gradients."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo.optim.sgd import SGD
from zoo.scratch import functions
from zoo.tasks import Task


def layers(model: Task) -> list[nn.Linear]:
    return [m for m in model.net.modules() if isinstance(m, nn.Linear)]


def weights_and_biases(scratch: Task) -> tuple[list[Tensor], list[Tensor]]:
    if hasattr(scratch.net, "weights"):
        return list(scratch.net.weights), list(scratch.net.biases)
    return [scratch.net.weight], [scratch.net.bias]


def copy_twin(scratch: Task, twin: Task) -> None:
    """Copy the twin's weights; (out, in) there is (in, out) here."""
    weights, biases = weights_and_biases(scratch)
    with torch.no_grad():
        for layer, weight, bias in zip(layers(twin), weights, biases, strict=True):
            weight.copy_(layer.weight.T)
            bias.copy_(layer.bias)


def assert_twins(scratch: Task, twin: Task, batch: Any) -> None:
    """Outputs, loss and gradients agree to 1e-6."""
    torch.testing.assert_close(scratch(batch[0]), twin(batch[0]), atol=1e-6, rtol=0)
    loss, sums, examples = scratch.measure(batch)
    twin_loss, twin_sums, twin_examples = twin.measure(batch)
    torch.testing.assert_close(loss, twin_loss, atol=1e-6, rtol=0)
    torch.testing.assert_close(sums, twin_sums, atol=1e-5, rtol=0)
    assert examples == twin_examples
    loss.backward()
    twin_loss.backward()
    weights, biases = weights_and_biases(scratch)
    for layer, weight, bias in zip(layers(twin), weights, biases, strict=True):
        torch.testing.assert_close(weight.grad, layer.weight.grad.T, atol=1e-6, rtol=0)
        torch.testing.assert_close(bias.grad, layer.bias.grad, atol=1e-6, rtol=0)
        assert weight.grad.abs().max() > 1e-4


IMAGES = {"image_size": 6, "num_classes": 4}


@pytest.mark.parametrize(
    ("scratch", "twin"),
    [
        (
            lambda: zoo.LinearRegressionScratch(in_features=3, out_features=2),
            lambda: zoo.LinearRegression(in_features=3, out_features=2, loss="half_mse"),
        ),
        (lambda: zoo.SoftmaxRegressionScratch(**IMAGES), lambda: zoo.SoftmaxRegression(**IMAGES)),
        (
            lambda: zoo.MLPScratch(**IMAGES, hidden_sizes=[8, 5]),
            lambda: zoo.MLP(**IMAGES, hidden_sizes=[8, 5]),
        ),
        (
            lambda: zoo.DropoutMLPScratch(**IMAGES, hidden_sizes=[8, 5], dropout=[0, 0]),
            lambda: zoo.DropoutMLP(**IMAGES, hidden_sizes=[8, 5], dropout=[0, 0]),
        ),
    ],
    ids=["M01-M02", "M05-M06", "M07-M08", "M09-M10"],
)
def test_scratch_equals_concise(scratch: Any, twin: Any) -> None:
    scratch, twin = scratch(), twin()
    copy_twin(scratch, twin)
    assert_twins(scratch, twin, twin.example_batch(7))


class GivenMask(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


def test_scratch_dropout_equals_concise_with_the_same_mask() -> None:
    scratch = zoo.DropoutMLPScratch(**IMAGES, hidden_sizes=[8, 5], dropout=[0.5, 0.25])
    twin = zoo.DropoutMLP(**IMAGES, hidden_sizes=[8, 5], dropout=[0.5, 0.25])
    batch = twin.example_batch(7)
    copy_twin(scratch, twin)
    torch.manual_seed(1)
    masks = [functions.dropout(torch.ones(7, 8), 0.5), functions.dropout(torch.ones(7, 5), 0.25)]
    for i, mask in zip((3, 6), masks, strict=True):
        assert isinstance(twin.net[i], nn.Dropout)
        twin.net[i] = GivenMask(mask)
    for forward in (lambda: scratch(batch[0]), lambda: scratch.measure(batch)[0]):
        torch.manual_seed(1)
        expected = twin(batch[0]) if forward().ndim else twin.measure(batch)[0]
        torch.manual_seed(1)
        torch.testing.assert_close(forward(), expected, atol=1e-6, rtol=0)
    torch.manual_seed(1)
    scratch.measure(batch)[0].backward()
    twin.measure(batch)[0].backward()
    for layer, weight in zip(layers(twin), weights_and_biases(scratch)[0], strict=True):
        torch.testing.assert_close(weight.grad, layer.weight.grad.T, atol=1e-6, rtol=0)


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    kept = functions.dropout(torch.ones(100_000), 0.3)
    assert kept.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    assert (kept == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert kept.mean().item() == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(functions.dropout(torch.ones(5), 0.0), torch.ones(5))
    with pytest.raises(ValueError, match=r"dropout is 1.0, but must be in \[0, 1\)"):
        functions.dropout(torch.ones(5), 1.0)


def test_dropout_is_off_in_evaluation() -> None:
    model = zoo.DropoutMLPScratch(**IMAGES, hidden_sizes=[16, 16])
    x = torch.rand(3, 1, 6, 6)
    assert not torch.equal(model(x), model(x))
    model.eval()
    torch.testing.assert_close(model(x), model(x), atol=0, rtol=0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_l2_in_the_loss_equals_the_weight_decay_of_torch_sgd(weight_decay: float) -> None:
    scratch = zoo.WeightDecayScratch(
        in_features=5, weight_decay=weight_decay, optimizer=lambda p: SGD(p, lr=0.1)
    )
    twin = zoo.WeightDecay(
        in_features=5,
        loss="half_mse",
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=weight_decay),
    )
    with torch.no_grad():
        for layer in layers(twin):
            layer.bias.fill_(2.0)  # decay of the bias would show
    copy_twin(scratch, twin)
    batch = twin.example_batch(8)
    optimizers = [scratch.configure_optimizers(), twin.configure_optimizers()]
    for _ in range(20):
        for model, optimizer in zip((scratch, twin), optimizers, strict=True):
            optimizer.zero_grad()
            model.measure(batch)[0].backward()
            optimizer.step()
    torch.testing.assert_close(scratch.net.weight, layers(twin)[0].weight.T, atol=1e-6, rtol=0)
    torch.testing.assert_close(scratch.net.bias, layers(twin)[0].bias, atol=1e-6, rtol=0)


def test_penalty_is_in_the_training_loss_alone() -> None:
    model = zoo.WeightDecayScratch(in_features=2, weight_decay=3.0)
    with torch.no_grad():
        model.net.weight.copy_(torch.tensor([[1.0], [2.0]]))
    prediction, target = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    assert model.loss(prediction, target).item() == pytest.approx(0.5 + 3 * (1 + 4) / 2)
    assert model.eval().loss(prediction, target).item() == pytest.approx(0.5)


def test_q16_weight_decay_scratch_halves_the_error_and_weight_decay_does_not() -> None:
    prediction, target = torch.tensor([[3.0], [1.0]]), torch.tensor([[1.0], [1.0]])
    assert zoo.LinearRegressionScratch(in_features=1).loss(prediction, target).item() == pytest.approx(1)
    assert zoo.WeightDecayScratch(in_features=1).eval().loss(prediction, target).item() == pytest.approx(1)
    assert zoo.WeightDecay(in_features=1).loss(prediction, target).item() == pytest.approx(2)
    assert zoo.WeightDecay(in_features=1, loss="half_mse").loss(prediction, target).item() == pytest.approx(1)

    # The minima agree when the whole squared error gets twice the decay.
    features, target = torch.randn(30, 3), torch.randn(30, 1)

    def minimum(model: Task) -> Tensor:
        optimizer = model.configure_optimizers()
        for _ in range(800):
            optimizer.zero_grad()
            model.loss(model(features), target).backward()
            optimizer.step()
        return next(p for p in model.parameters() if p.ndim == 2).detach().flatten()

    scratch = minimum(
        zoo.WeightDecayScratch(in_features=3, weight_decay=0.5, optimizer=lambda p: SGD(p, lr=0.1))
    )

    def concise(decay: float) -> Tensor:
        return minimum(
            zoo.WeightDecay(
                in_features=3, optimizer=lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=decay)
            )
        )

    torch.testing.assert_close(scratch, concise(1.0), atol=1e-5, rtol=0)
    assert (scratch - concise(0.5)).abs().max() > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: zoo.LinearRegressionScratch(in_features=2),
        lambda: zoo.WeightDecayScratch(in_features=2),
        lambda: zoo.SoftmaxRegressionScratch(**IMAGES),
    ],
    ids=["M01", "M03", "M05"],
)
def test_q2_scratch_weights_are_saved_and_move_with_the_model(make: Any) -> None:
    model = make()
    assert sorted(model.state_dict()) == ["net.bias", "net.weight"]
    assert {p.device.type for p in model.to("meta").parameters()} == {"meta"}
    assert model(torch.zeros(2, *model.example_input_array.shape[1:], device="meta")).device.type == "meta"


def test_scratch_parameter_counts() -> None:
    counts = {
        zoo.LinearRegressionScratch(in_features=2): 2 + 1,
        zoo.WeightDecayScratch(in_features=200): 200 + 1,
        zoo.SoftmaxRegressionScratch(): 784 * 10 + 10,
        zoo.SoftmaxRegressionScratch(in_channels=4, image_size=1, num_classes=3): 15,
        zoo.MLPScratch(): 784 * 256 + 256 + 256 * 10 + 10,
        zoo.DropoutMLPScratch(): 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10,
    }
    for model, count in counts.items():
        assert sum(p.numel() for p in model.parameters()) == count


def test_initial_values_are_the_books() -> None:
    model = zoo.MLPScratch()
    assert model.net.weights[0].std().item() == pytest.approx(0.01, rel=0.01)
    assert all(torch.equal(bias, torch.zeros_like(bias)) for bias in model.net.biases)
    weight = zoo.DropoutMLPScratch().net.weights[0]
    reference = zoo.DropoutMLP().net[1].weight
    assert weight.std().item() == pytest.approx(reference.std().item(), rel=0.01)
    assert weight.abs().max().item() == pytest.approx(784**-0.5, rel=0.001)


def test_cross_entropy_of_one_row_and_its_gradient() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0.1, 0.2, 0.7]], dtype=torch.float64)
    loss = functions.cross_entropy(logits, target)
    assert loss.item() == pytest.approx(0.807606, abs=1e-6)
    assert loss.item() == pytest.approx((logits.logsumexp(1) - (target * logits).sum(1)).item(), abs=1e-12)
    loss.backward()
    torch.testing.assert_close(logits.grad, functions.softmax(logits.detach()) - target, atol=1e-12, rtol=0)


def test_cross_entropy_of_large_logits_is_finite() -> None:
    logits = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    loss = functions.cross_entropy(logits, torch.tensor([1]))
    assert loss.item() == 1000
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0, 0.0]]))


def test_softmax_rows_sum_to_one() -> None:
    probability = functions.softmax(torch.randn(5, 3) * 50)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(functions.log_softmax(torch.eye(3)), F.log_softmax(torch.eye(3), dim=1))


def test_relu_has_slope_zero_at_zero() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    functions.relu(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: zoo.MLPScratch(hidden_sizes=[0]), "layer width is 0, but must be positive"),
        (lambda: zoo.DropoutMLPScratch(dropout=[0.5, 1.5]), r"dropout is 1.5, but must be in \[0, 1\)"),
        (lambda: zoo.DropoutMLPScratch(dropout=[0.5]), "dropout has 1 values, but must have 2"),
        (
            lambda: zoo.WeightDecayScratch(in_features=2, weight_decay=-1),
            "weight_decay is -1, but must be at least 0",
        ),
        (lambda: zoo.LinearRegressionScratch(in_features=0), "in_features is 0, but must be positive"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
