"""Choosing the next token: what temperature, top-k and top-p leave, and how often it is drawn."""

import math

import pytest
import torch

from zoo.generation.sampling import check_sampling, filter_logits, sample

PROBABILITIES = torch.tensor([[0.5, 0.25, 0.15, 0.1], [0.1, 0.15, 0.5, 0.25]])
LOGITS = PROBABILITIES.log()


def left(**choices: float | None) -> list[list[float]]:
    """Probabilities that remain, to two digits."""
    filtered = filter_logits(LOGITS, **choices).softmax(dim=1)
    return [[round(p, 4) for p in row] for row in filtered.tolist()]


def test_nothing_is_left_out_by_default() -> None:
    torch.testing.assert_close(filter_logits(LOGITS).softmax(dim=1), PROBABILITIES)
    assert left(top_k=4, top_p=1.0) == left(top_k=9) == left()


def test_top_k_keeps_the_likeliest_in_proportion() -> None:
    assert left(top_k=2) == [[0.6667, 0.3333, 0, 0], [0, 0, 0.6667, 0.3333]]


def test_top_k_keeps_exactly_k_of_equals() -> None:
    assert (filter_logits(torch.zeros(1, 5), top_k=2) == 0).sum() == 2


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, 1), (0.49, 1), (0.51, 2), (0.74, 2), (0.76, 3), (0.89, 3), (0.91, 4)]
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p: float, kept: int) -> None:
    assert filter_logits(LOGITS, top_p=top_p).isfinite().sum(dim=1).tolist() == [kept, kept]
    assert filter_logits(LOGITS, top_p=top_p)[1, 2].isfinite()


@pytest.mark.parametrize(("logits", "kept"), [([0.0] * 4, 2), ([0.0] * 2, 1), ([math.log(2), 0.0, 0.0], 1)])
def test_top_p_that_is_reached_exactly_keeps_no_more(logits: list[float], kept: int) -> None:
    values = torch.tensor([logits], dtype=torch.float64)
    assert values.softmax(1).sort(descending=True).values[0, :kept].sum() == 0.5
    assert filter_logits(values, top_p=0.5).isfinite().sum() == kept


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_as_many_as_single(dtype: torch.dtype) -> None:
    logits = torch.linspace(0, 2, 1000).to(dtype)[None]  # each so unlikely that sums in bfloat16 stand still
    kept = [filter_logits(values, top_p=0.9).isfinite().sum() for values in (logits, logits.float())]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("temperature", [1e-4, 1e-40, 1e-300])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_almost_no_temperature_takes_the_likeliest(dtype: torch.dtype, temperature: float) -> None:
    logits = torch.tensor([[-3.0, 2.0, 1.75], [700.0, -9.0, 650.0]], dtype=dtype)
    for choices in ({}, {"top_k": 2}, {"top_p": 0.5}):
        assert sample(logits, temperature=temperature, **choices).tolist() == [1, 0]


def test_top_p_comes_after_top_k_and_temperature() -> None:
    # Of the first two, .667 and .333, the first alone reaches .6; of all four it does not.
    assert left(top_k=2, top_p=0.6) == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert left(top_p=0.6)[0] == [0.6667, 0.3333, 0, 0]
    # Squares of the probabilities: .25 of .345 is .72.
    assert left(temperature=0.5, top_p=0.7)[0] == [1, 0, 0, 0]


def test_temperature_sharpens_below_one_and_flattens_above() -> None:
    squares = PROBABILITIES**2
    torch.testing.assert_close(
        filter_logits(LOGITS, temperature=0.5).softmax(1), squares / squares.sum(1, keepdim=True)
    )
    assert left(temperature=1e6)[0] == [0.25] * 4
    assert left(temperature=0.01)[0] == [1, 0, 0, 0]


def test_tokens_are_drawn_as_often_as_their_probabilities_say() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = sample(LOGITS[:1].expand(20_000, 4), generator=generator)
    shares = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(shares, PROBABILITIES[0], atol=0.015, rtol=0)  # four standard errors


def test_tokens_left_out_are_never_drawn() -> None:
    drawn = sample(LOGITS[:1].expand(2000, 4), top_k=3, top_p=0.8)
    assert drawn.unique().tolist() == [0, 1]


def test_top_one_is_the_likeliest_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert sample(LOGITS, top_k=1, temperature=5.0, generator=generator).tolist() == [0, 2]
    assert torch.equal(generator.get_state(), before)


def test_the_same_generator_state_draws_the_same() -> None:
    many = LOGITS.repeat(50, 1)
    drawn = [sample(many, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    torch.manual_seed(0)
    assert torch.equal(sample(many), drawn[0])  # without one it is torch's own


@pytest.mark.parametrize(
    ("argument", "value", "range_"),
    [
        ("temperature", 0.0, "positive"),
        ("temperature", -1.0, "positive"),
        ("top_k", 0, "at least 1"),
        ("top_p", 0.0, r"in \(0, 1\]"),
        ("top_p", 1.5, r"in \(0, 1\]"),
    ],
)
def test_choices_out_of_range_are_refused(argument: str, value: float, range_: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is {value}, but must be {range_}$"):
        check_sampling(**{"temperature": 1.0, "top_k": None, "top_p": None, argument: value})
