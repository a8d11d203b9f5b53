"""Short trainings, points and a command line, for the tests of optimizers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo_cli.main import main

START = (-5.0, -2.0)
GRADIENTS: NDArray[np.float64] = np.array([1e-4, 0.5, -2.0, 0.3, 0.0, 4.0, -0.1, 1e-3, 1.0, -3.0])


def f64(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """A small network with weights and biases of many sizes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).to(dtype)


def problem(step: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The minibatch of a step: its gradients differ from step to step, and are of several magnitudes."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 4, generator=generator, dtype=torch.float64) * torch.tensor([1, 3, 0.1, 0.01])
    y = x @ torch.tensor([1.0, -2, 3, 40], dtype=torch.float64) + torch.sin(3 * x[:, 0])
    return x.to(dtype), y[:, None].to(dtype)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> Tensor:
    """The network's parameters after each of the steps, one row for each."""
    dtype = next(net.parameters()).dtype
    path = []
    for step in steps:
        x, y = problem(step, dtype)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
        path.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    return torch.stack(path)


def path_of(
    cls: type[torch.optim.Optimizer],
    *,
    steps: int = 100,
    dtype: torch.dtype = torch.float64,
    **arguments: Any,
) -> Tensor:
    net = network(dtype)
    return train(net, cls(net.parameters(), **arguments), range(steps))


def take(cls: type[torch.optim.Optimizer], start: float = 0.5, **arguments: Any) -> list[float]:
    """One parameter after each step with the gradients above, whatever its value."""
    parameter = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = cls([parameter], **arguments)
    path = []
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        path.append(parameter.item())
    return path


def printed_optimizer(
    chosen: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """What the command line prints for a configuration with this optimizer."""
    config = {
        "model": {"class_path": "zoo.LinearRegression", "init_args": {"in_features": 2, "optimizer": chosen}},
        "data": {"class_path": "datamodules.SyntheticRegression"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["fit", "--config", str(folder / "config.yaml"), "--print_config"]) == 0
    printed: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["optimizer"]
    return printed
