"""Networks and examples of Gaussian process regression, and how results are compared."""

from typing import Any

import torch
from torch import Tensor

from zoo.gp.regression import ExactGPNetwork


def network(
    in_features: int = 1,
    *,
    lengthscale: float | list[float] = 1.0,
    output_scale: float = 1.0,
    noise: float = 0.1,
    **arguments: Any,
) -> ExactGPNetwork:
    made = ExactGPNetwork(in_features, **arguments).double()
    made.covar_module.base_kernel.lengthscale = torch.tensor(lengthscale, dtype=torch.float64)
    made.covar_module.outputscale = torch.tensor(output_scale, dtype=torch.float64)
    made.likelihood.noise = torch.tensor(noise, dtype=torch.float64)
    return made


def examples(count: int = 20, columns: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, columns, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(count, generator=generator, dtype=torch.float64)
    return x, torch.sin(5 * x[:, 0]) + 0.7 + noise


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def close(found: Tensor, expected: Any, tolerance: float = 1e-9) -> None:
    if not isinstance(expected, Tensor):
        expected = torch.tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found.detach(), expected, atol=tolerance, rtol=tolerance)
