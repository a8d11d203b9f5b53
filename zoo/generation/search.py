"""Finding likely sequences: greedy, beam and exhaustive search (section 10.8).

All three work on any model that can be read on, for several sentences at once. The model is given by two
functions: ``step(tokens, state)`` takes the last token of each row and the state before it, and returns the
logits of the next token and the new state; ``select(state, rows)`` returns the state of some rows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from datamodules.interface.checks import check_at_least

__all__ = [
    "Hypothesis",
    "Select",
    "Step",
    "best_of",
    "check_length_penalty",
    "exhaustive_search",
    "greedy_search",
]

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""Tokens (rows,), int64, and the state before them, to logits (rows, vocab) and the state after them."""
Select = Callable[[Any, Tensor], Any]
"""A state and row indices (chosen,), int64, to the state of these rows."""

MAX_SEQUENCES = 1_000_000
MAX_LENGTH_PENALTY = 10


class Hypothesis(NamedTuple):
    """A generated sequence.

    Attributes:
        ids: Its tokens, ``<eos>`` at the end if it is finished.
        log_prob: Log of its probability, given the source.
    """

    ids: list[int]
    log_prob: float

    def score(self, length_penalty: float) -> float:
        """``log P / L^alpha``, where L counts all generated tokens; alpha is ``length_penalty``."""
        return self.log_prob / math.pow(len(self.ids), length_penalty)


def check_length_penalty(length_penalty: float) -> None:
    """Refuse an exponent of the length outside [0, 10]: far above 1 every score is 0 or overflows.

    Raises:
        ValueError: If it is outside.
    """
    if not 0 <= length_penalty <= MAX_LENGTH_PENALTY:
        raise ValueError(f"length_penalty is {length_penalty!r}, but must be in [0, {MAX_LENGTH_PENALTY}]")


def best_of(hypotheses: Sequence[Hypothesis], length_penalty: float) -> Hypothesis:
    """The hypothesis with the highest score; of equals the first."""
    return max(hypotheses, key=lambda hypothesis: hypothesis.score(length_penalty))


def log_probs(logits: Float[Tensor, "rows vocab"], excluded: Sequence[int]) -> Float[Tensor, "rows vocab"]:
    """Log probabilities of the next token in float32 or more; minus infinity for tokens that may not come.

    What is excluded keeps its share of the probability, so that scores are the model's own.
    """
    values = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=1)
    if excluded:
        values[:, list(excluded)] = -torch.inf
    return values


def greedy_search(
    step: Step,
    select: Select,
    state: Any,
    first: Int[Tensor, " batch"],
    *,
    eos_id: int,
    max_new_tokens: int,
    excluded: Sequence[int] = (),
) -> list[Hypothesis]:
    """Take the likeliest token at each step, until it is ``<eos>`` (section 10.8.1).

    Args:
        step: How the model is read on.
        select: How rows of its state are chosen: sentences that are finished are left out.
        state: The state before the first token.
        first: The first token of each sentence, ``<bos>``, which is not part of the result.
        eos_id: Id of ``<eos>``.
        max_new_tokens: Longest sequence, ``<eos>`` included, at least 1.
        excluded: Ids that are never generated, such as those of ``<pad>`` and ``<bos>``.

    Returns:
        One hypothesis for each sentence.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_at_least("max_new_tokens", max_new_tokens, 1)
    ids: list[list[int]] = [[] for _ in first]
    sums = [0.0] * len(first)
    sentences = list(range(len(first)))  # of the rows that are left
    tokens = first
    for _ in range(max_new_tokens if sentences else 0):
        logits, state = step(tokens, state)
        values, tokens = log_probs(logits, excluded).max(dim=1)
        for sentence, token, value in zip(sentences, tokens.tolist(), values.tolist(), strict=True):
            ids[sentence].append(token)
            sums[sentence] += value
        going_on = [row for row, sentence in enumerate(sentences) if ids[sentence][-1] != eos_id]
        if not going_on:
            break
        if len(going_on) < len(sentences):
            rows = torch.tensor(going_on, device=tokens.device)
            tokens, state = tokens[rows], select(state, rows)
            sentences = [sentences[row] for row in going_on]
    return [Hypothesis(*pair) for pair in zip(ids, sums, strict=True)]


def exhaustive_search(
    step: Step,
    select: Select,
    state: Any,
    first: Int[Tensor, " batch"],
    *,
    eos_id: int,
    max_new_tokens: int,
    length_penalty: float = 0.75,
    excluded: Sequence[int] = (),
) -> list[Hypothesis]:
    """The best of all sequences up to a length (section 10.8.2); for small vocabularies.

    Args:
        step: As in :func:`greedy_search`.
        select: As in greedy_search.
        state: As in greedy_search.
        first: As in greedy_search.
        eos_id: As in greedy_search.
        max_new_tokens: Longest sequence, ``<eos>`` included; those of this length need not end with it.
        length_penalty: Exponent alpha of the length, in [0, 10].
        excluded: As in greedy_search.

    Returns:
        The hypothesis with the highest score for each sentence.

    Raises:
        ValueError: If an argument is out of range, or there are more than a million sequences.
    """
    check_at_least("max_new_tokens", max_new_tokens, 1)
    check_length_penalty(length_penalty)
    best: list[Hypothesis | None] = [None] * len(first)
    # One row for each unfinished sequence of each sentence.
    rows = [(sentence, Hypothesis([], 0.0)) for sentence in range(len(first))]
    tokens = first
    for length in range(1, max_new_tokens + 1 if rows else 1):
        logits, state = step(tokens, state)
        if len(first) * logits.shape[1] ** max_new_tokens > MAX_SEQUENCES:
            raise ValueError(
                f"max_new_tokens is {max_new_tokens}, but must be lower: with {logits.shape[1]} tokens and "
                f"{len(first)} sentences that are more than {MAX_SEQUENCES:,} sequences; use beam search"
            )
        longer, parents, next_tokens = [], [], []
        for row, values in enumerate(log_probs(logits, excluded).tolist()):
            sentence, before = rows[row]
            for token, value in enumerate(values):
                if token in excluded:
                    continue
                hypothesis = Hypothesis([*before.ids, token], before.log_prob + value)
                if token == eos_id or length == max_new_tokens:
                    known = best[sentence]
                    best[sentence] = best_of([known, hypothesis] if known else [hypothesis], length_penalty)
                else:
                    longer.append((sentence, hypothesis))
                    parents.append(row)
                    next_tokens.append(token)
        if not longer:
            break
        rows = longer
        state = select(state, torch.tensor(parents, device=first.device))
        tokens = torch.tensor(next_tokens, device=first.device)
    return [hypothesis for hypothesis in best if hypothesis is not None]
