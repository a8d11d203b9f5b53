"""Beam search (section 10.8.3), for many sentences at once."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from zoo._checks import check_at_least
from zoo.generation.search import Hypothesis, Select, Step, best_of, greedy_search, log_probs

__all__ = ["beam_search"]


def beam_search(
    step: Step,
    select: Select,
    state: Any,
    first: Int[Tensor, " batch"],
    *,
    eos_id: int,
    max_new_tokens: int,
    beam_size: int,
    length_penalty: float = 0.75,
    excluded: Sequence[int] = (),
) -> list[Hypothesis]:
    """Keep the likeliest sequences of each length, and return the best of those that ended.

    At each step the ``beam_size`` likeliest of all longer sequences are chosen. Those that end with ``<eos>``
    compete for the best score ``log P / L^alpha``, those that are as long as may be too; the others are gone
    on from. The greedy sequence always competes, so the result never has a lower score than it. A sentence is
    given up only when nothing that could still follow has a better score than its best one.

    Args:
        step: As in :func:`~zoo.generation.search.greedy_search`.
        select: As in greedy_search.
        state: As in greedy_search.
        first: As in greedy_search.
        eos_id: As in greedy_search.
        max_new_tokens: Longest sequence, ``<eos>`` included, at least 1.
        beam_size: How many sequences are kept (the book's k), at least 1; 1 is greedy search.
        length_penalty: Exponent alpha of the length, at least 0; at 0 short sequences win.
        excluded: As in greedy_search.

    Returns:
        The best hypothesis for each sentence.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_at_least("beam_size", beam_size, 1)
    check_at_least("length_penalty", length_penalty, 0)
    best = greedy_search(
        step, select, state, first, eos_id=eos_id, max_new_tokens=max_new_tokens, excluded=excluded
    )
    if beam_size == 1 or not best:
        return best
    device = first.device
    # Row i * beam_size + j is sequence j of the i-th sentence that is left; in the beginning there is one
    # sequence of each, and the others are impossible.
    sentences = torch.arange(len(first), device=device)
    tokens = first.repeat_interleave(beam_size)
    state = select(state, sentences.repeat_interleave(beam_size))
    sums = torch.full((len(first), beam_size), -torch.inf, device=device)
    sums[:, 0] = 0
    ids = torch.empty(len(first), beam_size, 0, dtype=torch.int64, device=device)
    for length in range(1, max_new_tokens + 1):
        logits, state = step(tokens, state)
        totals = sums.flatten()[:, None] + log_probs(logits, excluded)
        sums, chosen = totals.view(len(sentences), -1).topk(beam_size, dim=1)
        parents, next_tokens = chosen // logits.shape[1], chosen % logits.shape[1]
        ids = torch.cat(
            [ids.take_along_dim(parents[:, :, None], dim=1), next_tokens[:, :, None]],
            dim=2,
        )

        ended = (next_tokens == eos_id) | (length == max_new_tokens)
        log_prob, winner = sums.masked_fill(~ended, -torch.inf).max(dim=1)
        winners = ids[torch.arange(len(ids), device=device), winner]
        for i, sentence in enumerate(sentences.tolist()):
            new = Hypothesis(winners[i].tolist(), float(log_prob[i]))
            best[sentence] = best_of([best[sentence], new], length_penalty)

        # Probabilities only fall, so no sequence gets a higher score than with certainty up to the last step.
        sums = sums.masked_fill(ended, -torch.inf)
        ceiling = sums.max(dim=1).values / max_new_tokens**length_penalty
        known = torch.tensor([best[i].score(length_penalty) for i in sentences.tolist()], device=device)
        left = (ceiling > known).nonzero()[:, 0]
        if len(left) == 0:
            break
        rows = (left[:, None] * beam_size + parents[left]).flatten()
        state = select(state, rows)
        sentences, sums, ids = sentences[left], sums[left], ids[left]
        tokens = next_tokens[left].flatten()
    return best
