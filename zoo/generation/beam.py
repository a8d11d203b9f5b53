"""Beam search (section 10.8.3), for many sentences at once."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from zoo._checks import check_at_least
from zoo.generation.search import (
    Hypothesis,
    Select,
    Step,
    best_of,
    check_length_penalty,
    greedy_search,
    log_probs,
)

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
        length_penalty: Exponent alpha of the length, in [0, 10]; at 0 short sequences win.
        excluded: As in greedy_search.

    Returns:
        The best hypothesis for each sentence.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_at_least("beam_size", beam_size, 1)
    check_length_penalty(length_penalty)
    best = greedy_search(
        step, select, state, first, eos_id=eos_id, max_new_tokens=max_new_tokens, excluded=excluded
    )
    if beam_size == 1 or not best:
        return best
    device = first.device
    # Row i * beam_size + j is sequence j of the i-th sentence that is left; in the beginning there is one
    # sequence of each, and the others are impossible.
    sentences = list(range(len(first)))
    tokens = first.repeat_interleave(beam_size)
    state = select(state, torch.arange(len(first), device=device).repeat_interleave(beam_size))
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
        sums = sums.masked_fill(ended, -torch.inf)
        # All that is read from the device in a step, for all sentences at once: each read waits for it.
        new_ids = winners.tolist()
        new_log_probs, open_log_probs = torch.stack([log_prob, sums.max(dim=1).values]).tolist()

        left = []
        for row, sentence in enumerate(sentences):
            new = Hypothesis(new_ids[row], new_log_probs[row])
            best[sentence] = best_of([best[sentence], new], length_penalty)
            # Probabilities only fall, so no sequence has a higher score than with certainty from here on.
            ceiling = open_log_probs[row] / max_new_tokens**length_penalty
            if ceiling > best[sentence].score(length_penalty):
                left.append(row)
        if not left:
            break
        kept = torch.tensor(left, device=device)
        state = select(state, (kept[:, None] * beam_size + parents[kept]).flatten())
        sentences, sums, ids = [sentences[row] for row in left], sums[kept], ids[kept]
        tokens = next_tokens[kept].flatten()
    return best
