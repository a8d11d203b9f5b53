"""Choosing the next token: temperature, top-k and top-p (nucleus) sampling (section 9.5.5 takes the best)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from datamodules.interface.checks import check_at_least, check_positive

__all__ = ["check_sampling", "filter_logits", "sample"]


def check_sampling(*, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse arguments of :func:`sample` that are out of range.

    Raises:
        ValueError: If one is.
    """
    check_positive("temperature", temperature)
    if top_k is not None:
        check_at_least("top_k", top_k, 1)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p!r}, but must be in (0, 1]")


def filter_logits(
    logits: Float[Tensor, "rows vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Float[Tensor, "rows vocab"]:
    """The logits to sample from, in float32 or more; those of tokens that are left out are minus infinity.

    The likeliest token's is 0, so that no temperature makes them overflow: only differences count.

    Args:
        logits: Logits of the next token.
        temperature: What the logits are divided by, positive: below 1 likely tokens become likelier.
        top_k: How many of the likeliest tokens remain, at least 1; None keeps all.
        top_p: The fewest likeliest tokens whose probabilities, after temperature and ``top_k``, sum up to
            this much remain, in (0, 1] (Holtzman et al., 2020); None keeps all.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # What is divided by must not be rounded to 0: 0 / 0 is no number.
    temperature = max(temperature, torch.finfo(logits.dtype).tiny)
    logits = (logits - logits.max(dim=1, keepdim=True).values) / temperature
    if top_k is not None and top_k < logits.shape[1]:
        # By index, not by value: exactly as many remain where several are equal.
        kept = logits.topk(top_k, dim=1)
        logits = torch.full_like(logits, -torch.inf).scatter(1, kept.indices, kept.values)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=1, descending=True, stable=True)
        probabilities = ordered.values.softmax(dim=1)
        before = probabilities.cumsum(dim=1) - probabilities  # 0 for the likeliest, which always remains
        values = ordered.values.masked_fill(before >= top_p, -torch.inf)
        logits = torch.full_like(logits, -torch.inf).scatter(1, ordered.indices, values)
    return logits


def sample(
    logits: Float[Tensor, "rows vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " rows"]:
    """A token for each row, int64; ``top_k=1`` takes the likeliest.

    Args:
        logits: Logits of the next token.
        temperature: As in :func:`filter_logits`.
        top_k: As in filter_logits.
        top_p: As in filter_logits.
        generator: What to draw from; None is torch's own.
    """
    if top_k == 1:
        return logits.argmax(dim=1)
    left = filter_logits(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    return torch.multinomial(left.softmax(dim=1), 1, generator=generator)[:, 0]
