"""Learning rate schedules (section 12.11).

Those that torch lacks, or has in another form. Each rate follows from the number of steps taken, not from the
rate before, so that asking for it or drawing it changes nothing. A step is an epoch, or an optimizer step
with ``lr_scheduler_config: {interval: step}``. After a linear warm-up from 0, a schedule starts at the
optimizer's rate; torch's ``LinearLR`` refuses 0, and ``SequentialLR`` cannot be written in a configuration
file.

The book's multi-step schedule is torch's ``MultiStepLR``: with milestone 15, the epoch of that number,
counted from 0, is the first one at the lower rate.
"""

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo._checks import check_at_least, check_positive

__all__ = [
    "ExponentialDecay",
    "FactorDecay",
    "InverseSqrtDecay",
    "PolynomialDecay",
    "WarmupConstant",
    "WarmupCosine",
    "WarmupSchedule",
]


class WarmupSchedule(LRScheduler):
    """Base of the schedules: linear warm-up from 0 to the optimizer's rate, then :meth:`rate_after`.

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        warmup_steps: Steps of the warm-up, at least 0.
        last_epoch: Steps taken so far, or -1 at the start.

    Raises:
        ValueError: If ``warmup_steps`` is negative.
    """

    def __init__(self, optimizer: Optimizer, *, warmup_steps: int, last_epoch: int) -> None:
        check_at_least("warmup_steps", warmup_steps, 0)
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, last_epoch)

    def rate_after(self, base: float | Tensor, step: int) -> float | Tensor:
        """The rate ``step`` steps after the warm-up, from the optimizer's rate ``base``."""
        raise NotImplementedError(f"{type(self).__name__} must define rate_after()")

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group; it depends on ``last_epoch`` alone."""
        if self.last_epoch < self.warmup_steps:
            return [base * (self.last_epoch / self.warmup_steps) for base in self.base_lrs]
        return [self.rate_after(base, self.last_epoch - self.warmup_steps) for base in self.base_lrs]


class WarmupConstant(WarmupSchedule):
    """Linear warm-up from 0 to the optimizer's rate, which then stays (section 12.11.3.5).

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        warmup_steps: Steps of the warm-up, at least 0.
        last_epoch: Steps taken so far, or -1 at the start.

    Raises:
        ValueError: If ``warmup_steps`` is negative.
    """

    def __init__(self, optimizer: Optimizer, *, warmup_steps: int = 0, last_epoch: int = -1) -> None:
        super().__init__(optimizer, warmup_steps=warmup_steps, last_epoch=last_epoch)

    def rate_after(self, base: float | Tensor, step: int) -> float | Tensor:
        """``base``."""
        return base


class ExponentialDecay(WarmupSchedule):
    """The rate times ``exp(-decay * step)`` (section 12.4.2).

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        decay: Speed of the decay per step (the book's lambda), at least 0.
        warmup_steps: Steps of a linear warm-up from 0 before, at least 0.
        last_epoch: Steps taken so far, or -1 at the start.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self, optimizer: Optimizer, *, decay: float = 0.1, warmup_steps: int = 0, last_epoch: int = -1
    ) -> None:
        check_at_least("decay", decay, 0)
        self.decay = decay
        super().__init__(optimizer, warmup_steps=warmup_steps, last_epoch=last_epoch)

    def rate_after(self, base: float | Tensor, step: int) -> float | Tensor:
        """``base * exp(-decay * step)``."""
        return base * math.exp(-self.decay * step)


class PolynomialDecay(WarmupSchedule):
    """The rate times ``(1 + decay * step) ** -power`` (section 12.4.2).

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        decay: Speed of the decay per step (the book's beta), at least 0.
        power: Exponent (the book's alpha), at least 0.
        warmup_steps: Steps of a linear warm-up from 0 before, at least 0.
        last_epoch: Steps taken so far, or -1 at the start.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        decay: float = 0.1,
        power: float = 0.5,
        warmup_steps: int = 0,
        last_epoch: int = -1,
    ) -> None:
        check_at_least("decay", decay, 0)
        check_at_least("power", power, 0)
        self.decay = decay
        self.power = power
        super().__init__(optimizer, warmup_steps=warmup_steps, last_epoch=last_epoch)

    def rate_after(self, base: float | Tensor, step: int) -> float | Tensor:
        """``base * (1 + decay * step) ** -power``."""
        return base * math.pow(1 + self.decay * step, -self.power)


class InverseSqrtDecay(WarmupSchedule):
    """The rate divided by ``sqrt(step + 1)`` (section 12.11.2).

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        warmup_steps: Steps of a linear warm-up from 0 before, at least 0.
        last_epoch: Steps taken so far, or -1 at the start.

    Raises:
        ValueError: If ``warmup_steps`` is negative.
    """

    def __init__(self, optimizer: Optimizer, *, warmup_steps: int = 0, last_epoch: int = -1) -> None:
        super().__init__(optimizer, warmup_steps=warmup_steps, last_epoch=last_epoch)

    def rate_after(self, base: float | Tensor, step: int) -> float | Tensor:
        """``base / sqrt(step + 1)``."""
        return base / math.sqrt(step + 1)


class FactorDecay(WarmupSchedule):
    """The rate times ``factor ** step``, but never below ``final_lr`` (section 12.11.3.1).

    The book's object multiplies before it answers the first time, so it starts at ``factor`` times the rate,
    and each answer changes the next one.

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        factor: What the rate is multiplied by at each step, positive and at most 1.
        final_lr: Lowest learning rate (the book's ``stop_factor_lr``), at least 0.
        warmup_steps: Steps of a linear warm-up from 0 before, at least 0.
        last_epoch: Steps taken so far, or -1 at the start.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        factor: float = 0.9,
        final_lr: float = 1e-7,
        warmup_steps: int = 0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < factor <= 1:
            raise ValueError(f"factor is {factor!r}, but must be in (0, 1]")
        check_at_least("final_lr", final_lr, 0)
        self.factor = factor
        self.final_lr = final_lr
        super().__init__(optimizer, warmup_steps=warmup_steps, last_epoch=last_epoch)

    def rate_after(self, base: float | Tensor, step: int) -> float | Tensor:
        """``max(base * factor ** step, final_lr)``."""
        return max(base * math.pow(self.factor, step), self.final_lr)


class WarmupCosine(WarmupSchedule):
    """Linear warm-up from 0 to the optimizer's rate, then half a cosine to ``final_lr`` (section 12.11.3.4).

    The rate stays at ``final_lr`` after the end, where torch's cosine rises again.

    Args:
        optimizer: The optimizer; its learning rate is the highest one.
        total_steps: Steps until the end, warm-up included (the book's ``max_update``), positive.
        warmup_steps: Steps of the warm-up; at least 0 and less than ``total_steps``.
        final_lr: Learning rate at the end, at least 0.
        last_epoch: Steps taken so far, or -1 at the start.

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
        if not warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}, but must be less than total_steps, {total_steps}"
            )
        check_at_least("final_lr", final_lr, 0)
        self.total_steps = total_steps
        self.final_lr = final_lr
        super().__init__(optimizer, warmup_steps=warmup_steps, last_epoch=last_epoch)

    def rate_after(self, base: float | Tensor, step: int) -> float | Tensor:
        """``final_lr + (base - final_lr) * (1 + cos(pi * step / steps left)) / 2``, then ``final_lr``."""
        progress = min(step / (self.total_steps - self.warmup_steps), 1.0)
        return self.final_lr + (base - self.final_lr) * (1 + math.cos(math.pi * progress)) / 2
