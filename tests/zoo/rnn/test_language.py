"""Recurrent language models: carried states, perplexity, generation, checkpoints, hidden tokens."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn

import datamodules
import zoo
from datamodules.interface.batches import SequenceBatch
from datamodules.interface.tokenizers import CharTokenizer
from zoo.rnn.recurrent import RecurrentLM
from zoo.tasks import TokenizerError
from zoo.tasks.language import perplexity

V = 6
MODELS = ["RNNLM", "LSTMLM", "GRULM", "DeepGRULM"]


def model(name: str = "GRULM", **arguments: Any) -> Any:
    return zoo.create(name, **{"vocab_size": V, "hidden_size": 5, **arguments})


def windows(text: Tensor, num_steps: int) -> list[SequenceBatch]:
    """Batches of a text in rows (rows, steps + 1), each going on where the one before ended."""
    starts = range(0, text.shape[1] - num_steps, num_steps)
    return [
        SequenceBatch(
            text[:, i : i + num_steps],
            text[:, i + 1 : i + num_steps + 1],
            torch.full((len(text),), i > 0),
        )
        for i in starts
    ]


class Batches:
    """A loader; Lightning takes a list for several loaders."""

    def __init__(self, batches: list[SequenceBatch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[SequenceBatch]:
        return iter(self.batches)


class Streams(L.LightningDataModule):
    """A text of random letters in rows, cut into windows that follow each other."""

    def __init__(self, rows: int = 2, steps: int = 24, partition: str = "sequential") -> None:
        super().__init__()
        self.partition = partition
        text = torch.randint(1, V, (rows, steps + 1))
        self.batches = windows(text, 4)
        self.tokenizers = {"text": CharTokenizer.train(["abcde"])}
        assert len(self.tokenizers["text"]) == V

    def train_dataloader(self) -> Any:
        return Batches(self.batches)

    val_dataloader = test_dataloader = train_dataloader


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"num_sanity_val_steps": 0, **options},
    )


# The carried state


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_a_carried_state_equals_one_long_sequence(name: str, training: bool) -> None:
    lm = model(name, carry_state=True).train(training)
    text = torch.randint(V, (3, 13))
    found = torch.cat([lm.logits_of(batch) for batch in windows(text, 4)], dim=1)
    torch.testing.assert_close(found, lm(text[:, :-1]), atol=1e-6, rtol=1e-6)
    without = model(name)
    without.load_state_dict(lm.state_dict())
    alone = torch.cat([without.logits_of(batch) for batch in windows(text, 4)], dim=1)
    assert torch.equal(alone[:, :4], found[:, :4])
    assert not torch.isclose(alone[:, 4:], found[:, 4:]).all(dim=2).any(dim=1).all()


def test_rows_that_do_not_continue_start_from_zeros_whatever_was_before() -> None:
    lm = model(carry_state=True)
    first, second, _ = windows(torch.randint(V, (3, 13)), 4)
    lm.logits_of(first)
    lm._carried[True] = tuple(part.index_fill(1, torch.tensor([1]), torch.nan) for part in lm._carried[True])
    found = lm.logits_of(second._replace(continues=torch.tensor([True, False, True])))
    alone = lm(second.tokens)
    torch.testing.assert_close(found[1], alone[1], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(found[0], alone[0])
    assert not torch.allclose(found[2], alone[2])


def test_a_last_batch_may_have_fewer_rows() -> None:
    lm = model(carry_state=True)
    text = torch.randint(V, (3, 9))
    first, second = windows(text, 4)
    lm.logits_of(first)
    found = lm.logits_of(SequenceBatch(*(part[:2] for part in second)))
    torch.testing.assert_close(found, lm(text[:2, :-1])[:, 4:], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"carry_state": True}, {"randomized_truncation": 0.5}, {"weight_dropout": 0.5}]
)
def test_no_option_waits_for_the_device(options: dict[str, Any]) -> None:
    with torch.device("meta"):
        lm = model("LSTMLM", num_layers=2, dropout=0.5, embed_dim=5, embed_dropout=0.5, **options)
        for step, batch in enumerate(windows(torch.randint(V, (3, 9)), 4)):
            assert lm.training_step(batch, step).device.type == "meta"


def test_no_gradient_flows_into_the_window_before() -> None:
    lm = model(carry_state=True)
    first, second, _ = windows(torch.randint(V, (3, 13)), 4)
    lm.logits_of(first)
    assert not any(part.requires_grad for part in lm._carried[True])
    lm.logits_of(second).sum().backward()


def test_training_and_evaluation_carry_states_of_their_own() -> None:
    lm = model(carry_state=True)
    text, other = torch.randint(V, (3, 9)), torch.randint(V, (3, 9))
    first, second = windows(text, 4)
    lm.logits_of(first)
    lm.eval()
    for batch in windows(other, 4):
        lm.logits_of(batch)
    lm.train()
    torch.testing.assert_close(lm.logits_of(second), lm(text[:, :-1])[:, 4:], atol=1e-6, rtol=1e-6)


def test_states_end_with_their_epoch(tmp_path: Path) -> None:
    lm = model(carry_state=True)
    seen: list[bool] = []
    logits_of = lm.logits_of

    def noting(batch: SequenceBatch) -> Tensor:
        seen.append(lm.training in lm._carried)
        return logits_of(batch)

    lm.logits_of = noting
    data = Streams()
    run = trainer(tmp_path, max_epochs=2, enable_checkpointing=False)
    run.fit(lm, data)
    run.test(lm, data)
    one_epoch = [False] + 5 * [True]
    assert seen == 5 * one_epoch  # training and validation twice, and the test


def test_resuming_within_an_epoch_goes_on_exactly(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("".join(random.Random(0).choices("abcde", k=200)))

    path = tmp_path / "part.ckpt"

    def fit(lm: Any, ckpt_path: Path | None = None) -> None:
        data = datamodules.TextFile(
            path=str(tmp_path / "text.txt"), num_steps=4, batch_size=3, partition="sequential"
        )
        keep = LambdaCallback(
            on_train_batch_end=lambda run, *_: run.save_checkpoint(path) if run.global_step == 5 else None
        )
        run = trainer(
            tmp_path, max_steps=9, limit_val_batches=0, callbacks=[keep], enable_checkpointing=False
        )
        run.fit(lm, data, ckpt_path=ckpt_path, weights_only=True)
        assert run.num_training_batches > 9

    whole = model("LSTMLM", carry_state=True)
    fit(whole)
    second = model("LSTMLM", carry_state=True)
    fit(second, path)
    torch.testing.assert_close(second.state_dict(), whole.state_dict(), atol=0, rtol=0)
    # Without the state the run goes on otherwise.
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["carried_state"]
    torch.save(checkpoint, path)
    third = model("LSTMLM", carry_state=True)
    fit(third, path)
    assert not torch.equal(third.net.head.weight, whole.net.head.weight)


def test_carrying_over_shuffled_windows_is_refused_before_training(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    with pytest.raises(ValueError, match=r"^data.init_args.partition is 'random', but must be 'sequential'"):
        run.fit(model(carry_state=True), Streams(partition="random"))
    run.fit(model(), Streams(partition="random"))


# Perplexity


def test_erratum_15_perplexity_is_of_the_mean_over_tokens_not_over_batches(tmp_path: Path) -> None:
    lm = model()
    nn.init.normal_(lm.net.head.weight, std=3)
    data = Streams()
    last = SequenceBatch(*(part[:1] for part in data.batches[-1]))
    data.batches = [*data.batches[:2], last]
    run = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    found = run.validate(lm, data, verbose=False)[0]["val/perplexity"]
    with torch.no_grad():
        losses = [
            nn.functional.cross_entropy(lm(b.tokens).flatten(0, 1), b.label.flatten(), reduction="sum").item()
            for b in data.batches
        ]
    tokens = [b.label.numel() for b in data.batches]
    assert found == pytest.approx(math.exp(sum(losses) / sum(tokens)), rel=1e-6)
    batches = math.exp(sum(loss / n for loss, n in zip(losses, tokens, strict=True)) / 3)
    assert found != pytest.approx(batches, rel=1e-3)


@pytest.mark.parametrize("name", [*MODELS, "RNNScratch", "LSTMScratch", "GRUScratch", "StackedRNNScratch"])
def test_uniform_predictions_have_the_perplexity_of_the_vocabulary(name: str) -> None:
    lm = model(name)
    head = lm.net.head.parameters() if hasattr(lm.net, "head") else (lm.net.W_hq, lm.net.b_q)
    for parameter in head:
        nn.init.zeros_(parameter)
    loss, sums, tokens = lm.measure(lm.example_batch(2))
    assert lm.derived_metrics({"loss": loss.item()})["perplexity"] == pytest.approx(V, rel=1e-6)
    assert (sums, tokens) == ({}, 2 * 32)


def test_perplexity_of_certainty_is_one_and_of_a_lost_run_infinite_or_no_number() -> None:
    assert perplexity(0.0) == 1
    assert perplexity(1e4) == perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


# Generation


def trained(name: str = "GRULM", **arguments: Any) -> RecurrentLM:
    """A model that knows characters; its choices are clear."""
    lm = model(name, **arguments)
    nn.init.normal_(next(lm.net.head.parameters() if hasattr(lm.net, "head") else iter([lm.net.W_hq])), std=2)
    lm.tokenizers = {"text": CharTokenizer.train(["abcde"])}
    return lm


ALL = [*MODELS, "RNNScratch", "LSTMScratch", "GRUScratch", "StackedRNNScratch"]


@pytest.mark.parametrize("name", ALL)
def test_greedy_text_follows_from_the_whole_text_before_it(name: str) -> None:
    lm = trained(name).eval()
    ids = lm.tokenizer("text").encode("abca")
    for _ in range(6):
        ids.append(1 + int(lm(torch.tensor([ids]))[0, -1, 1:].argmax()))
    expected = lm.tokenizer("text").decode(ids)
    assert lm.generate("abca", 6, top_k=1) == expected == lm.generate("abca", 6, top_k=1, seed=3)


def test_text_depends_on_the_seed_alone() -> None:
    lm = trained()
    texts = [lm.generate("ab", 30, temperature=2.0, seed=seed) for seed in (0, 1, 0)]
    torch.rand(3)
    assert texts[0] == texts[2] == lm.generate("ab", 30, temperature=2.0, seed=0)
    assert texts[0] != texts[1]
    assert all(text.startswith("ab") for text in texts)


def test_several_sequences_at_once_go_on_as_each_alone_and_dropout_is_off() -> None:
    lm = trained("LSTMLM", num_layers=2, dropout=0.5)
    starts = torch.randint(V, (4, 3))
    together = lm.generate_ids(starts, 8, top_k=1)
    alone = [lm.generate_ids(start[None], 8, top_k=1) for start in starts]
    assert torch.equal(together, torch.cat(alone))
    assert lm.training
    assert lm.generate_ids(starts, 0).shape == (4, 0)


def test_the_unknown_token_is_never_written() -> None:
    lm = trained()
    with torch.no_grad():
        lm.net.head.bias[0] = 50.0
    assert set(lm.generate("ab", 50, seed=0)) <= set("abcde")
    assert set(lm.generate("ab", 5, top_k=1)) <= set("abcde")
    assert lm.generate_ids(torch.ones(1, 1, dtype=torch.int64), 5).tolist() == [[0] * 5]


def test_prompts_that_the_model_cannot_read_are_refused() -> None:
    lm = trained()
    with pytest.raises(TokenizerError, match=r"^the prompt is empty"):
        lm.generate("")
    with pytest.raises(TokenizerError, match=r"^the prompt has 'X' '!', but the model knows only the 5"):
        lm.generate("aX!X")
    with pytest.raises(TokenizerError, match=r"^GRULM has no tokenizer of the text yet"):
        model().generate("a")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("temperature", 0),
        ("temperature", -1.0),
        ("top_k", 0),
        ("top_p", 0),
        ("top_p", 1.1),
        ("max_new_tokens", -1),
    ],
)
def test_choices_out_of_range_are_refused(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is {value}, but must be"):
        trained().generate("ab", **{argument: value})


def test_checkpoint_alone_brings_generation_back(tmp_path: Path) -> None:
    lm = model("LSTMLM", embed_dim=5, tie_embeddings=True)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(lm, Streams())
    path = tmp_path / "model.ckpt"
    run.save_checkpoint(path)
    again = zoo.LSTMLM.load_from_checkpoint(path, weights_only=True)
    assert again.generate("abc", 20, seed=1) == lm.generate("abc", 20, seed=1)
    assert again.net.embedding.weight is again.net.head.weight


# Hidden tokens


def test_hidden_tokens_are_zeros_and_guessed_from_both_sides() -> None:
    lm = model("BiGRULM").eval()
    tokens = torch.randint(V, (2, 8))
    hidden = torch.zeros(2, 8, dtype=torch.bool)
    hidden[:, 4] = True
    other = torch.where(hidden, (tokens + 1) % V, tokens)
    logits = lm.net(tokens, hidden)
    assert torch.equal(logits, lm.net(other, hidden))
    assert not torch.allclose(lm.net(tokens), lm.net(other))
    for place in (0, 7):  # far on either side
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % V
        assert (lm.net(changed, hidden)[:, 4] != logits[:, 4]).any(dim=1).all()


@pytest.mark.parametrize("name", ["BiGRULM", "BiRNNScratch"])
def test_loss_and_accuracy_are_over_hidden_tokens_only(name: str) -> None:
    lm = model(name, mask_prob=0.25).eval()
    batch = lm.example_batch(3)
    places = lm.hide(batch.tokens)
    assert places.shape == (3, 8)
    assert all(len(row.unique()) == 8 for row in places)
    hidden = torch.zeros(3, 32, dtype=torch.bool)
    for row, where in enumerate(places):
        hidden[row, where] = True
    logits = lm.net(batch.tokens, hidden)
    expected = nn.functional.cross_entropy(logits[hidden], batch.tokens[hidden])
    loss, sums, examples = lm.measure(batch)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    assert sums["acc"].item() == (logits.argmax(2) == batch.tokens)[hidden].sum().item()
    assert examples == 24
    each = lm.predict_step(batch, 0)
    assert each.shape == (3,)
    torch.testing.assert_close(each.mean(), expected, atol=1e-6, rtol=1e-6)


def test_places_are_random_in_training_and_the_same_in_evaluation() -> None:
    lm = model("BiGRULM")
    tokens = torch.randint(V, (4, 20))
    assert not torch.equal(lm.hide(tokens), lm.hide(tokens))
    torch.manual_seed(1)
    first = lm.hide(tokens)
    torch.manual_seed(1)
    assert torch.equal(first, lm.hide(tokens))
    assert lm.hide(tokens).shape == (4, 3)
    lm.eval()
    assert torch.equal(lm.hide(tokens), lm.hide(tokens))
    assert not torch.equal(lm.hide(tokens)[0], lm.hide(tokens)[1])
    assert lm.hide(tokens[:, :2]).shape == (4, 1)


@pytest.mark.parametrize("p", [0, 1.2])
def test_mask_prob_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"^mask_prob is .*, but must be in \(0, 1\]"):
        model("BiGRULM", mask_prob=p)


@pytest.mark.parametrize("name", ["BiGRULM", "BiRNNScratch"])
def test_a_bidirectional_model_refuses_to_generate(name: str) -> None:
    lm = model(name)
    for refused in (lambda: lm.generate("ab"), lambda: lm.generate_ids(torch.zeros(1, 2).long(), 3)):
        with pytest.raises(ValueError, match=f"^{name} cannot generate text: it is bidirectional"):
            refused()
