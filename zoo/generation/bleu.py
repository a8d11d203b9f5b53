"""How good a translation is: the book's BLEU (section 10.7.6)."""

import math
from collections import Counter
from collections.abc import Sequence

from zoo._checks import check_at_least

__all__ = ["book_bleu"]


def book_bleu(prediction: Sequence[str | int], label: Sequence[str | int], k: int) -> float:
    """The book's BLEU of a sentence: ``exp(min(0, 1 - len(label) / len(prediction))) * prod p_n^(1/2^n)``.

    p_n is the share of the prediction's n-grams that are in the label, each as often as it is there. The
    n-grams go up to k, or to the length of the label if that is less. The book's code goes up to the length
    of the *prediction*, so that a prediction too short to have an n-gram right is not asked for it; here its
    precision is 0. BLEU as elsewhere counts n-grams over a whole corpus, with equal weights:
    ``torchmetrics.text.BLEUScore``.

    Args:
        prediction: Tokens of the translation; one without tokens has the value 0.
        label: Tokens of the right one, at least one.
        k: The longest n-grams, at least 1.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: If ``k`` is below 1, or the label is empty.
    """
    check_at_least("k", k, 1)
    check_at_least("the number of tokens of the label", len(label), 1)
    if len(prediction) < min(k, len(label)):
        return 0.0
    score = math.exp(min(0.0, 1 - len(label) / len(prediction)))
    for n in range(1, min(k, len(label)) + 1):
        predicted, right = _ngrams(prediction, n), _ngrams(label, n)
        score *= ((predicted & right).total() / predicted.total()) ** (0.5**n)
    return score


def _ngrams(tokens: Sequence[str | int], n: int) -> Counter[tuple[str | int, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
