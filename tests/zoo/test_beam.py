"""Greedy, beam and exhaustive search on models small enough to try everything."""

import itertools
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.generation.beam import beam_search
from zoo.generation.search import Hypothesis, best_of, exhaustive_search, greedy_search

EOS = 0


class RandomModel:
    """A recurrent network in float64; ``sharp`` says how sure it is, ``eos`` how much it likes to end."""

    def __init__(self, seed: int, *, vocab: int = 4, sharp: float = 2.0, eos: float = 0.0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.transition, self.embedding, self.head = (
            torch.randn(*size, generator=draw, dtype=torch.float64)
            for size in ((6, 6), (vocab + 1, 6), (6, vocab))
        )
        self.bias = torch.zeros(vocab, dtype=torch.float64)
        self.bias[EOS] = eos
        self.sharp = sharp
        self.bos = vocab
        self.steps = 0
        self.rows = 0

    def start(self, sentences: int, seed: int = 0) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(100 + seed)
        state = torch.randn(sentences, 6, generator=draw, dtype=torch.float64)
        first = torch.full((sentences,), self.bos)
        return {"step": self.step, "select": self.select, "state": state, "first": first, "eos_id": EOS}

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.steps += 1
        self.rows += len(tokens)
        state = torch.tanh(state @ self.transition + self.embedding[tokens])
        return self.sharp * (state @ self.head) + self.bias, state

    @staticmethod
    def select(state: Tensor, rows: Tensor) -> Tensor:
        return state.index_select(0, rows)

    def log_prob(self, state: Tensor, ids: tuple[int, ...]) -> float:
        """By reading one sequence from its start."""
        total = 0.0
        state = state[None]
        for before, token in pairwise((self.bos, *ids)):
            logits, state = self.step(torch.tensor([before]), state)
            total += float(logits.log_softmax(1)[0, token])
        return total


def likeliest(model: RandomModel, state: Tensor, ids: list[int]) -> int:
    return max(range(len(model.bias)), key=lambda token: model.log_prob(state, (*ids, token)))


def by_brute_force(model: RandomModel, state: Tensor, longest: int, alpha: float) -> Hypothesis:
    every = [
        ids
        for length in range(1, longest + 1)
        for ids in itertools.product(range(len(model.bias)), repeat=length)
        if EOS not in ids[:-1] and (ids[-1] == EOS or length == longest)
    ]
    found = [Hypothesis(list(ids), model.log_prob(state, ids)) for ids in every]
    return max(found, key=lambda hypothesis: hypothesis.log_prob / len(hypothesis.ids) ** alpha)


def same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [h.ids for h in found] == [h.ids for h in expected]
    assert [h.log_prob for h in found] == pytest.approx([h.log_prob for h in expected], rel=1e-9)


def test_score_divides_by_a_power_of_the_length() -> None:
    short, long = Hypothesis([5, EOS], -2.0), Hypothesis([5, 6, 7, EOS], -2.8)
    assert short.score(0.75) == pytest.approx(-1.189207, abs=1e-6)
    assert long.score(0.75) == pytest.approx(-0.989949, abs=1e-6)
    assert best_of([short, long], 0.75) is long
    assert best_of([short, long], 0) is short


@pytest.mark.parametrize("seed", range(4))
def test_greedy_takes_the_likeliest_token_of_each_sentence(seed: int) -> None:
    model = RandomModel(seed, eos=1.0)
    start = model.start(7)
    found = greedy_search(**start, max_new_tokens=6)
    for state, hypothesis in zip(start["state"], found, strict=True):
        ids: list[int] = []
        while len(ids) < 6 and EOS not in ids:
            ids.append(likeliest(model, state, ids))
        assert hypothesis.ids == ids
        assert hypothesis.log_prob == pytest.approx(model.log_prob(state, tuple(ids)))
    assert len({len(h.ids) for h in found}) > 1, "sentences of one length only try nothing"


@pytest.mark.parametrize("alpha", [0, 0.75, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_exhaustive_search_finds_the_best_of_all_sequences(seed: int, alpha: float) -> None:
    model = RandomModel(seed, vocab=3)
    start = model.start(3)
    found = exhaustive_search(**start, max_new_tokens=4, length_penalty=alpha)
    same(found, [by_brute_force(model, state, 4, alpha) for state in start["state"]])


@pytest.mark.parametrize("eos", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("alpha", [0, 0.75, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_beam_search_is_exhaustive_when_the_beam_is_wide_enough(seed: int, alpha: float, eos: float) -> None:
    model = RandomModel(seed, eos=eos)
    options = {"max_new_tokens": 4, "length_penalty": alpha}
    found = beam_search(**model.start(5), **options, beam_size=4 * 3**3)
    same(found, exhaustive_search(**model.start(5), **options))


def test_beam_search_is_greedy_with_a_beam_of_one() -> None:
    model = RandomModel(0)
    greedy = greedy_search(**model.start(9), max_new_tokens=7)
    same(beam_search(**model.start(9), max_new_tokens=7, beam_size=1), greedy)


@pytest.mark.parametrize("alpha", [0, 0.75, 1.5])
def test_beam_search_never_scores_below_greedy_and_often_above(alpha: float) -> None:
    above = 0
    for seed in range(20):
        model = RandomModel(seed, vocab=12, sharp=0.7, eos=1.0)
        found = beam_search(**model.start(10), max_new_tokens=8, beam_size=2, length_penalty=alpha)
        for beam, greedy in zip(found, greedy_search(**model.start(10), max_new_tokens=8), strict=True):
            assert beam.score(alpha) >= greedy.score(alpha)
            above += beam.score(alpha) > greedy.score(alpha)
    assert above > 50


def test_greedy_competes_where_the_beam_loses_it() -> None:
    """Its second token is so unlikely that two others push it out, but it would have won in the end."""
    table = {
        (): [0, 0.5, 0.3, 0.2],
        (1,): [0.2, 0.28, 0.26, 0.26],
        (2,): [0, 0.5, 0.5, 0],
        (1, 1): [0.999, 0, 0, 0.001],
    }
    step, select, state = table_model(table, otherwise=[0.001, 0.333, 0.333, 0.333])
    options = {"eos_id": EOS, "max_new_tokens": 3}
    (found,) = beam_search(step, select, state, torch.tensor([4]), beam_size=2, **options)
    assert found.ids == [1, 1, EOS]
    assert found.log_prob == pytest.approx(math.log(0.5 * 0.28 * 0.999), rel=1e-5)


def table_model(
    table: dict[tuple[int, ...], list[float]], otherwise: list[float]
) -> tuple[Any, Any, list[tuple[int, ...]]]:
    """A model whose state is all that was read; probabilities of the next token by what came before it."""

    def step(tokens: Tensor, state: list[tuple[int, ...]]) -> tuple[Tensor, list[tuple[int, ...]]]:
        # The first token is <bos>.
        read = [before if t == 4 else (*before, t) for before, t in zip(state, tokens.tolist(), strict=True)]
        return torch.tensor([table.get(before, otherwise) for before in read]).log(), read

    def select(state: list[tuple[int, ...]], rows: Tensor) -> list[tuple[int, ...]]:
        return [state[row] for row in rows.tolist()]

    return step, select, [()]


BOOK = {  # figures 10.8.1 and 10.8.2: <eos>, A, B, C
    (): [0.1, 0.5, 0.2, 0.2],
    (1,): [0.2, 0.1, 0.4, 0.3],
    (1, 2): [0.2, 0.2, 0.2, 0.4],
    (1, 2, 3): [0.6, 0, 0.2, 0.2],
    (1, 3): [0.1, 0.1, 0.6, 0.2],
    (1, 3, 2): [0.6, 0.1, 0.2, 0.1],
}


def test_example_of_the_book() -> None:
    step, select, state = table_model(BOOK, otherwise=[0.25] * 4)
    start: dict[str, Any] = {"step": step, "select": select, "state": state, "first": torch.tensor([4])}
    options = {"eos_id": EOS, "max_new_tokens": 4}
    (greedy,) = greedy_search(**start, **options)
    assert greedy.ids == [1, 2, 3, EOS]
    assert math.exp(greedy.log_prob) == pytest.approx(0.048)
    (beam,) = beam_search(**start, **options, beam_size=2)
    assert beam.ids == [1, 3, 2, EOS]
    assert math.exp(beam.log_prob) == pytest.approx(0.054)
    (short,) = beam_search(**start, **options, beam_size=4, length_penalty=0)
    assert math.exp(short.log_prob) == pytest.approx(0.1)  # <eos> at once, or after A


@pytest.mark.parametrize("beam_size", [1, 3])
def test_sentences_do_not_mix(beam_size: int) -> None:
    model = RandomModel(1, vocab=6, eos=1.0)
    start = model.start(6)
    together = beam_search(**start, max_new_tokens=9, beam_size=beam_size)
    for i, hypothesis in enumerate(together):
        alone = {**start, "state": start["state"][i : i + 1], "first": start["first"][:1]}
        same(beam_search(**alone, max_new_tokens=9, beam_size=beam_size), [hypothesis])
    assert len({len(h.ids) for h in together}) > 1


def test_excluded_tokens_never_come_and_keep_their_probability() -> None:
    model = RandomModel(2, vocab=5)
    start = model.start(8)
    options = {"max_new_tokens": 4, "excluded": (2, 3)}
    for found in (
        greedy_search(**start, **options),
        beam_search(**start, **options, beam_size=3),
        exhaustive_search(**start, **options),
    ):
        for state, hypothesis in zip(start["state"], found, strict=True):
            assert not {2, 3} & set(hypothesis.ids)
            assert hypothesis.log_prob == pytest.approx(model.log_prob(state, tuple(hypothesis.ids)))
    free = greedy_search(**start, max_new_tokens=4)
    assert any({2, 3} & set(hypothesis.ids) for hypothesis in free)


def test_what_has_not_ended_competes_at_the_limit() -> None:
    model = RandomModel(3, eos=-50.0)
    start = model.start(4)
    for search in (beam_search, exhaustive_search):
        width = {"beam_size": 3} if search is beam_search else {}
        for hypothesis in search(**start, max_new_tokens=5, **width):
            assert len(hypothesis.ids) == 5
            assert EOS not in hypothesis.ids


def test_search_stops_when_nothing_better_can_follow() -> None:
    model = RandomModel(0, sharp=0.5, eos=12.0)
    beam_search(**model.start(5), max_new_tokens=200, beam_size=3)
    assert model.steps < 20


def test_the_device_is_read_twice_a_step_however_many_sentences_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each read waits for the device; for each sentence and step that were thousands."""
    reads = 0

    def counting(method: Any) -> Any:
        def read(*arguments: Any) -> Any:
            nonlocal reads
            reads += 1
            return method(*arguments)

        return read

    for name in ("tolist", "item", "nonzero", "__float__", "__int__", "__bool__", "__index__"):
        monkeypatch.setattr(Tensor, name, counting(getattr(Tensor, name)))
    for sentences in (2, 40):
        model = RandomModel(1, vocab=6)
        reads = 0
        found = beam_search(**model.start(sentences), max_new_tokens=12, beam_size=3)
        assert len(found) == sentences
        assert model.steps > 5
        assert 0 < reads <= 2 * model.steps


def test_finished_sentences_are_left_out() -> None:
    model = RandomModel(1, vocab=6, eos=1.0)
    found = greedy_search(**model.start(20), max_new_tokens=30)
    assert model.rows == sum(len(hypothesis.ids) for hypothesis in found)


def test_no_sentences_are_no_work() -> None:
    for search in (greedy_search, beam_search, exhaustive_search):
        width = {"beam_size": 3} if search is beam_search else {}
        assert search(**RandomModel(0).start(0), max_new_tokens=5, **width) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0, but must be at least 1"),
        ({"length_penalty": -0.5}, r"length_penalty is -0.5, but must be in \[0, 10\]"),
        ({"length_penalty": 10.5}, r"length_penalty is 10.5, but must be in \[0, 10\]"),
        ({"length_penalty": math.inf}, r"length_penalty is inf, but must be in \[0, 10\]"),
        ({"length_penalty": math.nan}, r"length_penalty is nan, but must be in \[0, 10\]"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, but must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, float], message: str) -> None:
    arguments: dict[str, Any] = {"beam_size": 2, "max_new_tokens": 3, **options}
    with pytest.raises(ValueError, match=message):
        beam_search(**RandomModel(0).start(1), **arguments)
    if "beam_size" not in options:
        del arguments["beam_size"]
        with pytest.raises(ValueError, match=message):
            exhaustive_search(**RandomModel(0).start(1), **arguments)


@pytest.mark.parametrize("alpha", [0, 10])
def test_ends_of_the_range_of_the_length_penalty_are_in_it(alpha: float) -> None:
    options = {"max_new_tokens": 4, "length_penalty": alpha}
    found = beam_search(**RandomModel(0).start(3), **options, beam_size=4 * 3**3)
    same(found, exhaustive_search(**RandomModel(0).start(3), **options))


def test_too_many_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="max_new_tokens is 9, but must be lower: with 4 tokens and 5 sent"):
        exhaustive_search(**RandomModel(0, vocab=4).start(5), max_new_tokens=9)
