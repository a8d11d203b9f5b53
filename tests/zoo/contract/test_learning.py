"""What every registered model must do with a batch."""

import pytest
import torch
from torch import Tensor

import zoo
from tests.zoo.contract.parts import NAMES, every_model
from tests.zoo.models import count_predicted, example_inputs, inputs_of, other_inputs, tiny
from zoo.tasks import Regressor

# Loss to reach on one batch, after 200 steps at most.
OVERFIT_LOSS = {
    "gaussian process regression": 0.1,  # a log density, which has no lowest value
    "image classification": 0.05,
    "image regression": 0.01,
    "language modelling": 0.05,
    "masked language modelling": 0.5,  # other tokens are hidden in each step
    "NiN": 1.2,  # chance is log(16); its last ReLU leaves some classes without a gradient
    "regression": 0.01,
    "sequence classification": 0.05,
    "sequence regression": 0.01,
    "tabular classification": 0.05,
    "translation": 0.1,
}

# Batch statistics of a map of one pixel are those of the batch alone, so that two examples are too few.
OVERFIT_BATCH = {
    "image classification": 8,
    "gaussian process regression": 8,
    "ResNet18": 4,
    "ResNet18Small": 4,
    "VGG": 4,
}

# Where Adam's usual rate of 0.02 kills the ReLUs of so small a network, or is far too high for so deep a one.
OVERFIT_LR = {
    "AlexNet": 0.0005,
    "ChimeraMLP": 0.003,
    "ExactGP": 0.1,
    "GoogLeNet": 0.0003,
    "ImageNetAlexNet": 0.0003,
    "ImageNetDenseNet": 0.003,
    "LeNet": 0.005,
    "LeNetModern": 0.005,
    "NiN": 0.0003,
    "RegNet": 0.003,
    "ResNeXt": 0.003,
    "VGG": 0.0001,
    "VGG11": 0.001,
}

# Fifty layers are as easy as a few if their blocks start by handing on their input.
OVERFIT_ARGUMENTS = {"ResNeXt": {"zero_init_residual": True}}


@every_model
@pytest.mark.parametrize("batch_size", [1, 5])
def test_output_is_finite_and_has_one_row_per_example(name: str, batch_size: int) -> None:
    model = tiny(name).eval()
    batch = model.example_batch(batch_size)
    inputs = model.network_inputs(batch)
    output = model(*inputs)
    reference = model(*inputs_of(model, 2))
    assert output.shape == (batch_size, *reference.shape[1:])
    assert output.dtype == torch.float32
    assert output.isfinite().all()
    for field, example in zip(inputs, example_inputs(model), strict=True):
        assert field.shape == (batch_size, *example.shape[1:])
    assert model(*example_inputs(model)).shape == reference.shape
    loss, sums, examples = model.measure(batch)
    assert loss.shape == ()
    assert loss.isfinite()
    assert examples == count_predicted(model, batch)
    assert all(value.shape == () and value.isfinite() for value in sums.values())


@every_model
def test_evaluation_is_deterministic(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 4)
    torch.testing.assert_close(model(*inputs), model(*inputs), atol=0, rtol=0)


@every_model
def test_example_batch_leaves_the_mode_alone(name: str) -> None:
    model = tiny(name)
    frozen = next(module for module in model.net.modules() if not list(module.children())).eval()
    modes = [module.training for module in model.modules()]
    model.example_batch(2)
    assert not frozen.training
    assert [module.training for module in model.modules()] == modes


@every_model
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(name: str) -> None:
    model = tiny(name)
    model.measure(model.example_batch(16))[0].backward()
    bad = [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert bad == []


@every_model
def test_examples_do_not_mix_in_evaluation(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 4)
    changed = tuple(torch.cat([a[:1], b[1:]]) for a, b in zip(inputs, other_inputs(inputs), strict=True))
    output, changed_output = model(*inputs), model(*changed)
    torch.testing.assert_close(output[0], changed_output[0], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(output[1:], changed_output[1:])
    torch.testing.assert_close(model(*(field[:1] for field in inputs)), output[:1], atol=1e-6, rtol=1e-5)


@every_model
def test_training_never_waits_for_the_device(name: str) -> None:
    """On the meta device, which has no values, whatever asks for one raises."""
    with torch.device("meta"):
        model = zoo.MODELS[name].cls(**zoo.MODELS[name].tiny)
        batch = model.example_batch(4)
        for step in range(2):  # the second adds to the sums of the first
            loss = model.training_step(batch, step)
    assert loss.device.type == "meta"


@every_model
def test_overfits_one_batch(name: str) -> None:
    model = tiny(name, **OVERFIT_ARGUMENTS.get(name, {}))
    task = zoo.MODELS[name].task
    batch = model.example_batch(OVERFIT_BATCH.get(name) or OVERFIT_BATCH.get(task, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=OVERFIT_LR.get(name, 0.02), fused=True)
    wanted = OVERFIT_LOSS.get(name) or OVERFIT_LOSS[task]
    assert model.eval().measure(batch)[0].item() > 2 * wanted
    for _ in range(20):
        model.train()
        for _ in range(10):
            optimizer.zero_grad()
            model.measure(batch)[0].backward()
            optimizer.step()
        loss = model.eval().measure(batch)[0].item()
        if loss < wanted:
            break
    assert loss < wanted


# What guesses its inputs has no targets.
@pytest.mark.parametrize("name", [n for n in NAMES if zoo.MODELS[n].task != "masked language modelling"])
def test_wrong_targets_are_refused_not_broadcast(name: str) -> None:
    """Targets (batch,) against predictions (batch, 1) would else make a (batch, batch) loss."""
    model = tiny(name)
    batch = model.example_batch(3)
    field = next(name for name in ("target_length", "target", "label", "labels") if hasattr(batch, name))
    target: Tensor = getattr(batch, field)
    wrong = target[:, :1].squeeze(1) if target.ndim >= 2 else target[:, None].expand(3, 2)
    if isinstance(model, Regressor):
        refused = pytest.raises(ValueError, match="the model predicts")
    else:
        refused = pytest.raises((ValueError, RuntimeError, TypeError))
    with refused:
        model.measure(batch._replace(**{field: wrong}))
