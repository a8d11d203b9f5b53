"""The book's BLEU."""

import math

import pytest

from zoo.generation.bleu import book_bleu

PREDICTION, LABEL = ["A", "B", "B", "C", "D"], ["A", "B", "C", "D", "E", "F"]


@pytest.mark.parametrize(("k", "value"), [(1, 0.732295), (2, 0.681477), (3, 0.594034), (4, 0)])
def test_values_of_the_formula(k: int, value: float) -> None:
    assert book_bleu(PREDICTION, LABEL, k) == pytest.approx(value, abs=1e-6)


def test_factors_by_hand() -> None:
    # 4 of 5 words, 3 of 4 pairs (A B, B C, C D), one word too few
    assert book_bleu(PREDICTION, LABEL, 2) == pytest.approx(math.exp(1 - 6 / 5) * 0.8**0.5 * 0.75**0.25)


def test_an_n_gram_counts_as_often_as_the_label_has_it() -> None:
    assert book_bleu(["a", "a", "a", "a"], ["a", "b", "c", "d"], 1) == pytest.approx((1 / 4) ** 0.5)


def test_long_predictions_are_not_punished_for_their_length() -> None:
    assert book_bleu(["a", "b", "c"], ["a", "b"], 1) == pytest.approx((2 / 3) ** 0.5)


@pytest.mark.parametrize("tokens", ["va !", "x", "a b c d e f g"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_right_translation_has_one(tokens: str, k: int) -> None:
    assert book_bleu(tokens.split(), tokens.split(), k) == 1


def test_erratum_14_a_short_prediction_is_not_excused_from_longer_n_grams() -> None:
    # The book's code takes the n-grams that the prediction has, which gives exp(1 - 2/1) = 0.37 here.
    assert book_bleu(["va"], ["va", "!"], 2) == 0
    assert book_bleu(["va"], ["va", "!"], 1) == pytest.approx(math.exp(-1))
    assert book_bleu(["va", "!"], ["va", "!", "maintenant"], 4) == 0


def test_nothing_is_worth_nothing() -> None:
    assert book_bleu([], LABEL, 1) == 0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="k is 0, but must be at least 1"):
        book_bleu(PREDICTION, LABEL, 0)
    with pytest.raises(ValueError, match="tokens of the label is 0, but must be at least 1"):
        book_bleu(PREDICTION, [], 1)
