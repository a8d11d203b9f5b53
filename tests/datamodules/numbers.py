"""A data set for worker processes, which import this file: it must be quick to import."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.interface.errors import DataError


class Numbers(Dataset[tuple[Tensor, Tensor]]):
    """The given numbers; a negative one cannot be read."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self.numbers[index] < 0:
            raise DataError(f"number {self.numbers[index]}: cannot be read")
        return torch.tensor([float(self.numbers[index])]), torch.tensor([0.0])
