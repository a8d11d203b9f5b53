"""Normalisation from scratch against torch: outputs, gradients, running statistics; LeNet with it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from tests.zoo.test_scratch_conv import assert_same
from zoo.scratch.linear import LinearScratchNetwork
from zoo.scratch.normalization import BatchNorm, batch_norm, group_norm, instance_norm, layer_norm

SHAPES = [(8, 6), (4, 6, 5), (3, 6, 4, 5)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_equals_torch(shape: tuple[int, ...], training: bool) -> None:
    x, weight, bias = 3 * torch.randn(shape) + 1, torch.randn(6), torch.randn(6)
    statistics = [(torch.linspace(-1, 1, 6), torch.linspace(0.5, 2, 6)) for _ in range(2)]
    assert_same(
        lambda x, w, b: batch_norm(x, *statistics[0], w, b, training=training, momentum=0.25),
        lambda x, w, b: F.batch_norm(x, *statistics[1], w, b, training=training, momentum=0.25),
        x,
        weight,
        bias,
    )
    torch.testing.assert_close(statistics[0], statistics[1], atol=1e-6, rtol=1e-6)
    assert torch.equal(statistics[0][1], torch.linspace(0.5, 2, 6)) == (not training)


@pytest.mark.parametrize(("unbiased", "variance"), [(False, 5.0), (True, 20 / 3)])
def test_running_variance_by_hand(unbiased: bool, variance: float) -> None:
    """The values 1, 3, 5, 7 have the mean 4 and squares about it 9 + 1 + 1 + 9 = 20."""
    norm = BatchNorm(1, momentum=0.5, unbiased=unbiased)
    output = norm(torch.tensor([[1.0], [3], [5], [7]], requires_grad=True))
    torch.testing.assert_close(output.flatten(), torch.tensor([-3.0, -1, 1, 3]) / 5.00001**0.5)
    assert norm.running_mean.item() == pytest.approx(0.5 * 0 + 0.5 * 4)
    assert norm.running_var.item() == pytest.approx(0.5 * 1 + 0.5 * variance)
    # Else they would hold the graphs of all batches so far.
    assert not norm.running_mean.requires_grad
    assert not norm.running_var.requires_grad


def test_one_value_for_each_channel_is_refused_in_training() -> None:
    norm = BatchNorm(3)
    with pytest.raises(ValueError, match="the batch has 1 value for each channel, but must have at least 2"):
        norm(torch.zeros(1, 3))
    assert norm.eval()(torch.zeros(1, 3)).shape == (1, 3)
    assert norm.train()(torch.zeros(1, 3, 1, 2)).shape == (1, 3, 1, 2)


@pytest.mark.parametrize("options", [{"momentum": 7}, {"momentum": -0.1}, {"eps": -1}, {"eps": 0}], ids=str)
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"^{name} is {value}, but must be "):
        BatchNorm(3, **options)
    BatchNorm(3, momentum=0.0)
    BatchNorm(3, momentum=1.0)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_layer_norm_equals_torch(dims: int) -> None:
    x = 3 * torch.randn(4, 3, 5, 6) + 1
    shape = x.shape[-dims:]
    assert_same(
        layer_norm, lambda x, w, b: F.layer_norm(x, shape, w, b), x, torch.randn(shape), torch.randn(shape)
    )
    with pytest.raises(ValueError, match=r"the weight is \(5,\), but must be as the last dimensions, \(6,\)"):
        layer_norm(x, torch.ones(5), torch.zeros(5))


@pytest.mark.parametrize("factor", [2.5, 1e-3, -1.0, -40.0])
def test_layer_norm_keeps_the_sign_of_a_factor(factor: float) -> None:
    """LN(ax) = sign(a) LN(x): the mean scales with a, the deviation with its magnitude."""
    x, one, zero = torch.randn(5, 8), torch.ones(8), torch.zeros(8)
    normalized = layer_norm(x, one, zero, eps=0)
    expected = normalized if factor > 0 else -normalized
    torch.testing.assert_close(layer_norm(factor * x, one, zero, eps=0), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_group_norm_equals_torch(shape: tuple[int, ...], num_groups: int) -> None:
    x = 3 * torch.randn(shape) + 1
    assert_same(
        lambda x, w, b: group_norm(x, num_groups, w, b),
        lambda x, w, b: F.group_norm(x, num_groups, w, b),
        x,
        torch.randn(6),
        torch.randn(6),
    )


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_instance_norm_equals_torch(shape: tuple[int, ...]) -> None:
    x = 3 * torch.randn(shape) + 1
    assert_same(
        instance_norm,
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        x,
        torch.randn(6),
        torch.randn(6),
    )


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="num_groups is 4, but must divide the 6 channels"):
        group_norm(torch.zeros(2, 6, 3), 4, torch.ones(6), torch.zeros(6))


# LeNet with batch normalisation


def twins(**arguments: Any) -> tuple[zoo.BNLeNetScratch, zoo.BNLeNet]:
    """Both with the twin's weights, and scales and shifts that are not 1 and 0."""
    scratch = zoo.BNLeNetScratch(image_size=16, num_classes=4, **arguments)
    twin = zoo.BNLeNet(image_size=16, num_classes=4)
    with torch.no_grad():
        for module in twin.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    state = {k: v for k, v in twin.state_dict().items() if not k.endswith("num_batches_tracked")}
    linear = {
        f"net.{k}.weight" for k, m in scratch.net.named_modules() if isinstance(m, LinearScratchNetwork)
    }
    scratch.load_state_dict({k: v.T if k in linear else v for k, v in state.items()})
    return scratch, twin


def gradients(model: zoo.BNLeNetScratch | zoo.BNLeNet) -> dict[str, Tensor]:
    transposed = isinstance(model, zoo.BNLeNetScratch)
    return {
        name: p.grad.T if transposed and ".fc" in name and p.ndim == 2 else p.grad
        for name, p in model.named_parameters()
        if p.grad is not None
    }


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.named_buffers() if ".running_" in name}


def test_lenet_from_scratch_equals_its_twin() -> None:
    models = twins()
    for step in range(2):
        batch = models[1].example_batch(6)
        torch.testing.assert_close(models[0](batch[0]), models[1](batch[0]), atol=1e-5, rtol=1e-5)
        losses = [model.measure(batch)[0] for model in models]
        torch.testing.assert_close(*losses, atol=1e-6, rtol=1e-5)
        for model, loss in zip(models, losses, strict=True):
            model.zero_grad()
            loss.backward()
        ours, theirs = (gradients(model) for model in models)
        assert set(ours) == set(theirs)
        assert len(ours) == 18
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(statistics(models[0]), statistics(models[1]), atol=1e-6, rtol=1e-5)
        assert step or len(statistics(models[0])) == 8
    for model in models:
        model.eval()
    torch.testing.assert_close(models[0](batch[0]), models[1](batch[0]), atol=1e-5, rtol=1e-5)


def test_the_books_running_variance_is_smaller_than_torchs() -> None:
    """By (n - 1) / n, which is 5 / 6 for the vectors of a batch of 6."""
    scratch, twin = twins(unbiased=False)
    for module in [*scratch.modules(), *twin.modules()]:
        if hasattr(module, "momentum"):
            module.momentum = 1.0  # the last batch alone
    batch = twin.example_batch(6)
    for model in (scratch, twin):
        model(batch[0])
        model.eval()
    ours, theirs = (statistics(model)["net.bn3.running_var"] for model in (scratch, twin))
    torch.testing.assert_close(ours, theirs * 5 / 6, atol=0, rtol=1e-3)
    assert (scratch(batch[0]) - twin(batch[0])).abs().max() > 0.01
