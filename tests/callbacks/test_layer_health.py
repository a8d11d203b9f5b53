from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks import LayerHealth, RunRecord
from callbacks.metrics_csv import read_metrics
from tests.callbacks.conftest import MakeTrainer, digits, lenet
from zoo import LeNet


def first_look(trainer_of: MakeTrainer, folder: Path, model: LeNet) -> dict[str, float]:
    trainer_of(RunRecord(), LayerHealth(), max_epochs=1, num_sanity_val_steps=0).fit(
        model, datamodule=digits()
    )
    return next(r for r in read_metrics(folder / "metrics.csv") if "health/conv1/grad_norm" in r)


def test_known_dead_units_are_counted(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    model = lenet()
    with torch.no_grad():
        model.net.conv1.bias.fill_(1e3)
        model.net.conv1.bias[:3] = -1e3  # three of six channels
        model.net.conv2.bias.fill_(1e3)
        model.net.fc1.bias.fill_(1e5)
        model.net.fc1.bias[:30] = -1e5  # 30 of 120
    row = first_look(make_trainer, tmp_path, model)
    assert row["step"] == 1
    assert row["health/act1/dead"] == pytest.approx(0.5)
    assert row["health/act3/dead"] == pytest.approx(0.25)


def test_a_unit_alive_for_one_example_is_not_dead(make_trainer: MakeTrainer) -> None:
    health = LayerHealth()
    look = health._look_at_relu("a")
    look(nn.ReLU(), None, torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    assert health._alive["a"].tolist() == [False, True, False]
    look(nn.ReLU(), None, torch.tensor([[1.0, 0.0, 0.0]]))
    assert health._alive["a"].tolist() == [True, True, False]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_known_saturated_units_are_counted(
    make_trainer: MakeTrainer, tmp_path: Path, activation: str
) -> None:
    model = lenet(activation=activation)
    with torch.no_grad():
        for layer in (model.net.fc1, model.net.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
        model.net.fc2.bias[:21] = 10.0  # a quarter of 84 at the upper limit
        model.net.fc2.bias[21:42] = -10.0  # and a quarter at the lower
    row = first_look(make_trainer, tmp_path, model)
    assert row["health/act3/saturated"] == 0.0
    assert row["health/act4/saturated"] == pytest.approx(0.5)


def test_the_gradient_norm_is_that_of_the_layers_parameters(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    model = lenet()
    twin = lenet()
    twin.load_state_dict(model.state_dict())
    row = first_look(make_trainer, tmp_path, model)
    data = digits()
    data.setup()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    twin.measure(batch)[0].backward()
    expected = torch.cat([p.grad.flatten() for p in twin.net.conv2.parameters()]).norm()
    assert row["health/conv2/grad_norm"] == pytest.approx(float(expected), rel=1e-4)


def test_it_looks_every_n_steps_and_leaves_no_hook(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    model = lenet()
    make_trainer(RunRecord(), LayerHealth(every_n_steps=4)).fit(model, datamodule=digits())
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows if "health/act1/dead" in row] == [1, 5, 9, 13, 17, 21]
    assert not any(module._forward_hooks for module in model.modules())


def test_a_compiled_network_is_refused(make_trainer: MakeTrainer) -> None:
    model = lenet()
    model.net.compile()
    with pytest.raises(ValueError, match="compile is True, but must be False for LayerHealth"):
        make_trainer(LayerHealth(), num_sanity_val_steps=0).fit(model, datamodule=digits())


def test_every_n_steps_must_be_positive() -> None:
    with pytest.raises(ValueError, match="every_n_steps is 0, but must be at least 1"):
        LayerHealth(every_n_steps=0)
