"""Learning rate schedules (section 12.11)."""

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo._checks import check_at_least, check_positive

__all__ = ["WarmupCosine"]


class WarmupCosine(LRScheduler):
    """Linear warm-up from 0 to the optimizer's rate, then half a cosine to ``final_lr`` (section 12.11.3).

    The rate stays at ``final_lr`` after the end, where torch's cosine rises again. A step is an epoch, or an
    optimizer step with ``lr_scheduler_config: {interval: step}``. Torch's own parts would need
    ``SequentialLR``, which cannot be written in a configuration file.

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        total_steps: Steps until the end, warm-up included (the book's ``max_update``), positive.
        warmup_steps: Steps of the warm-up; at least 0 and less than ``total_steps``.
        final_lr: Learning rate at the end, at least 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: int,
        warmup_steps: int = 0,
        final_lr: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check_positive("total_steps", total_steps)
        check_at_least("warmup_steps", warmup_steps, 0)
        if not warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}, but must be less than total_steps, {total_steps}"
            )
        check_at_least("final_lr", final_lr, 0)
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.final_lr = final_lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group; it depends on ``last_epoch`` alone."""
        if self.last_epoch < self.warmup_steps:
            return [base * (self.last_epoch / self.warmup_steps) for base in self.base_lrs]
        progress = min((self.last_epoch - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        share = (1 + math.cos(math.pi * progress)) / 2
        return [self.final_lr + (base - self.final_lr) * share for base in self.base_lrs]
