"""The task of translation: loss over tokens, teacher forcing, translations of lines, BLEU."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.text import bleu_score

import zoo
from datamodules.interface.batches import TranslationBatch
from datamodules.interface.tokenizers import WordTokenizer
from datamodules.interface.vocab import BOS_ID, EOS_ID, PAD_ID, PADDED_RESERVED, UNK_ID
from datamodules.loaders import BatchSampler, TensorLoader
from zoo.generation.bleu import book_bleu
from zoo.layers.encoder_decoder import Decoder, Encoder, EncoderDecoder
from zoo.tasks import Translator
from zoo.tasks.text import TokenizerError

VOCAB = 12


class Reader(Encoder):
    def forward(self, source: Tensor, source_length: Tensor) -> tuple[Tensor, Any]:
        return F.one_hot(source, VOCAB).float(), None


class Copier(Decoder):
    """Writes the source again, up to its <eos>; its state is what is left to write."""

    def __init__(self) -> None:
        super().__init__()
        self.sureness = nn.Parameter(torch.tensor(9.0))

    def init_state(self, encoded: Any, source_length: Tensor) -> Tensor:
        return encoded[0]

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        steps = tokens.shape[1]
        ends = F.one_hot(torch.full((len(state), steps), EOS_ID), VOCAB).float()
        left = torch.cat([state, ends], dim=1)
        return self.sureness * left[:, :steps], left[:, steps:]

    def select(self, state: Tensor, rows: Tensor) -> Tensor:
        return state.index_select(0, rows)


class Copying(Translator):
    def __init__(self, *, beam_size: int = 1, length_penalty: float = 0.75) -> None:
        super().__init__(
            optimizer=lambda p: torch.optim.SGD(p, lr=0.0), beam_size=beam_size, length_penalty=length_penalty
        )
        self.net = EncoderDecoder(Reader(), Copier())


def padded(rows: list[list[int]], padding: int = PAD_ID) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True, padding_value=padding)


def batch_of(
    sources: list[list[int]], targets: list[list[int]], references: list[list[list[int]]] | None = None
) -> TranslationBatch:
    references = [[target] for target in targets] if references is None else references
    most, longest = max(map(len, references)), max(len(r) for each in references for r in each)
    array = torch.full((len(references), most, longest), -1)
    for i, each in enumerate(references):
        for j, reference in enumerate(each):
            array[i, j, : len(reference)] = torch.tensor(reference)
    return TranslationBatch(
        padded([[*source, EOS_ID] for source in sources]),
        torch.tensor([len(source) + 1 for source in sources]),
        padded([[2, *target, EOS_ID] for target in targets]),
        torch.tensor([len(target) + 2 for target in targets]),
        array,
    )


BATCH = batch_of([[4, 5, 6], [7], [8, 9]], [[4, 5], [6, 7, 8, 9, 10], [11]])


def seq2seq(**options: Any) -> zoo.Seq2Seq:
    arguments = {"embed_dim": 6, "hidden_size": 8, "dropout": 0.0, **options}
    return zoo.Seq2Seq(source_vocab_size=VOCAB, target_vocab_size=VOCAB, **arguments)


def trainer(**options: Any) -> L.Trainer:
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", logger=False, **{**quiet, "num_sanity_val_steps": 0, **options})


def loader(batch: TranslationBatch, size: int) -> TensorLoader:
    return TensorLoader(batch, BatchSampler(len(batch.source), size))


# The loss


def by_sentence(model: Translator, batch: TranslationBatch, smoothing: float = 0.0) -> Tensor:
    """Sum over sentences, each cut to its length, over the number of their tokens."""
    total, tokens = torch.zeros(()), 0
    for source, m, target, n in zip(*batch[:4], strict=True):
        logits = model(source[None, :m], m[None], target[None, : n - 1])
        total = total + F.cross_entropy(logits[0], target[1:n], reduction="sum", label_smoothing=smoothing)
        tokens += int(n) - 1
    return total / tokens


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_erratum_2_loss_is_the_mean_over_tokens_and_not_over_padded_steps(smoothing: float) -> None:
    """The book's masked loss is divided by all steps, so that short sentences count for less."""
    model = seq2seq(label_smoothing=smoothing)
    loss, _, tokens = model.measure(BATCH)
    assert tokens == (2 + 1) + (5 + 1) + (1 + 1)
    expected = by_sentence(model, BATCH, smoothing)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, list(model.parameters())) for value in (loss, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.eval().measure(BATCH)[0], by_sentence(model, BATCH))


def test_erratum_2_padding_and_what_it_holds_change_no_loss() -> None:
    model = seq2seq()
    loss, _, tokens = model.measure(BATCH)
    garbage = BATCH._replace(
        source=torch.cat([BATCH.source, torch.full((3, 4), 5)], dim=1),
        target=torch.cat([BATCH.target, torch.full((3, 4), 7)], dim=1),
    )
    again, _, again_tokens = model.measure(garbage)
    assert again_tokens == tokens
    torch.testing.assert_close(again, loss)


def test_perplexity_is_exp_of_the_mean_over_all_tokens() -> None:
    model = seq2seq()
    (metrics,) = trainer().validate(model, loader(BATCH, 2), verbose=False)
    loss = by_sentence(model.eval(), BATCH)
    assert metrics["val/loss"] == pytest.approx(loss.item())
    assert metrics["val/perplexity"] == pytest.approx(loss.exp().item())


def test_prediction_of_a_batch_is_the_loss_of_each_sentence() -> None:
    model = seq2seq().eval()
    losses = model.predict_step(BATCH, 0)
    lengths = BATCH.target_length - 1
    torch.testing.assert_close((losses * lengths).sum() / lengths.sum(), model.measure(BATCH)[0])
    torch.testing.assert_close(losses[1], model.measure(TranslationBatch(*(f[1:2] for f in BATCH)))[0])


# Teacher forcing


def test_decoder_reads_its_own_tokens_where_there_is_no_teacher_forcing() -> None:
    model = seq2seq(teacher_forcing=[0.0, 0.0])
    source, length, target = model.network_inputs(BATCH)
    own = target[:, :1]
    for _ in range(target.shape[1] - 1):
        own = torch.cat([own, model(source, length, own)[:, -1:].argmax(dim=2)], dim=1)
    assert not torch.equal(own, target)
    expected = model(source, length, own)
    torch.testing.assert_close(model.decode_own(BATCH, 0.0), expected)
    # In training it is the loss, in evaluation the true tokens are read.
    loss = F.cross_entropy(expected.flatten(0, 1), BATCH.target[:, 1:].flatten(), ignore_index=PAD_ID)
    torch.testing.assert_close(model.measure(BATCH)[0], loss)
    torch.testing.assert_close(model.eval().measure(BATCH)[0], by_sentence(model, BATCH))


def test_decoding_step_by_step_with_true_tokens_is_teacher_forcing() -> None:
    model = seq2seq()
    torch.testing.assert_close(model.decode_own(BATCH, 1.0), model(*model.network_inputs(BATCH)))


def test_share_of_true_tokens_is_the_probability() -> None:
    model = seq2seq()
    rows = 3000
    batch = TranslationBatch(*(field[1:2].expand(rows, *field.shape[1:]) for field in BATCH))
    read = []
    model.net.decoder.embedding.register_forward_hook(lambda _m, inputs, _y: read.append(inputs[0]))
    model.decode_own(batch, 0.25)
    assert len(read) == 6
    for step, tokens in enumerate(read):
        true = (tokens.flatten() == BATCH.target[1, step]).float().mean().item()
        assert true == 1 if step == 0 else abs(true - 0.25) < 0.04


def test_own_tokens_are_read_without_waiting_for_the_device() -> None:
    with torch.device("meta"):
        model = seq2seq(teacher_forcing=[0.5, 0.5], dropout=0.5, bidirectional=True, label_smoothing=0.1)
        batch = model.example_batch(3)
        assert model.training_step(batch, 0).device.type == "meta"


def test_share_changes_evenly_from_the_first_to_the_last_epoch() -> None:
    shares = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            shares.append(pl_module.true_share())

    run = trainer(max_epochs=5, callbacks=[Watch()])
    run.fit(seq2seq(teacher_forcing=[0.9, 0.1]), loader(BATCH, 3), loader(BATCH, 3))
    assert shares == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])


def test_schedule_without_a_last_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trainer\.max_epochs is -1, but must be positive for the schedule"):
        trainer(max_epochs=-1, max_steps=1).fit(
            seq2seq(teacher_forcing=[1.0, 0.5]), loader(BATCH, 3), loader(BATCH, 3)
        )


@pytest.mark.parametrize("shares", [[1.0], [1.0, 1.5], [-0.5, 1.0], [1.0, 0.5, 0.0]])
def test_bad_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match=r"teacher_forcing is .*, but must be two probabilities"):
        seq2seq(teacher_forcing=shares)


# Translating


def reader(text: str) -> WordTokenizer:
    tokenizer = WordTokenizer.train([text], normalization="words", reserved_tokens=PADDED_RESERVED)
    assert isinstance(tokenizer, WordTokenizer)
    return tokenizer


def copying(beam_size: int = 1) -> Copying:
    model = Copying(beam_size=beam_size)
    # The most frequent word comes first, so the same ids are other words in the other language.
    model.tokenizers = {"source": reader("a a a b b ."), "target": reader("un un un deux deux !")}
    return model


@pytest.mark.parametrize("beam_size", [1, 3])
def test_lines_are_translated_in_their_order(beam_size: int) -> None:
    lines = ["b a.", "A", "", "a b a b.", "  ", "b"] * 15
    expected = ["deux un !", "un", "", "un deux un deux !", "", "deux"] * 15
    assert copying().translate(lines, beam_size=beam_size) == expected


def test_unknown_words_are_read_as_unknown() -> None:
    assert copying().translate(["a xyz b"]) == ["un <unk> deux"]


def test_translation_ends_at_the_limit() -> None:
    assert copying().translate(["a b a b a b", "a"], max_new_tokens=2) == ["un deux", "un"]


def test_translation_leaves_the_mode_and_the_weights_alone() -> None:
    model = copying().train()
    model.net.encoder.eval()
    model.translate(["a b"])
    assert model.net.training
    assert not model.net.encoder.training
    assert model.measure(BATCH)[0].requires_grad


def test_padding_and_neighbours_do_not_change_a_translation() -> None:
    model = seq2seq(init="default")
    sources = [[int(i) for i in torch.randint(4, VOCAB, (n,))] for n in (1, 6, 3, 2)]
    together = model.translate_ids(*batch_of(sources, sources)[:2], beam_size=3, max_new_tokens=8)
    for source, translation in zip(sources, together, strict=True):
        alone = batch_of([source], [source])
        assert model.translate_ids(*alone[:2], beam_size=3, max_new_tokens=8) == [translation]
        assert not {PAD_ID, 2, EOS_ID} & set(translation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0, but must be at least 1"),
        ({"length_penalty": -1.0}, r"length_penalty is -1.0, but must be in \[0, 10\]"),
        ({"length_penalty": 200.0}, r"length_penalty is 200.0, but must be in \[0, 10\]"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, but must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        copying().translate(["a"], **options)


@pytest.mark.parametrize("length_penalty", [-1.0, 10.5, math.inf, math.nan])
def test_a_bad_length_penalty_is_refused_when_the_model_is_made(length_penalty: float) -> None:
    with pytest.raises(ValueError, match=r"^length_penalty is .*, but must be in \[0, 10\]$"):
        seq2seq(length_penalty=length_penalty)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_padding_and_the_first_token_are_never_written(beam_size: int) -> None:
    model = seq2seq()
    with torch.no_grad():
        model.net.decoder.dense.bias[[PAD_ID, BOS_ID]] = 50.0
        model.net.decoder.dense.bias[UNK_ID] = 20.0
    limits = {"beam_size": beam_size, "max_new_tokens": 4}
    assert model.translate_ids(*BATCH[:2], **limits) == [[UNK_ID] * 4] * 3


class Hesitant(Decoder):
    """Ends at once with probability .4, or writes tokens 4 and 5, each with .6, and ends surely."""

    def init_state(self, encoded: Any, source_length: Tensor) -> Tensor:
        return torch.zeros(len(source_length), dtype=torch.int64)

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = torch.zeros(3, VOCAB)
        probabilities[0, [EOS_ID, 4]] = torch.tensor([0.4, 0.6])
        probabilities[1, [5, 6]] = torch.tensor([0.6, 0.4])
        probabilities[2, EOS_ID] = 1.0
        return probabilities.log()[state][:, None], state + 1

    def select(self, state: Tensor, rows: Tensor) -> Tensor:
        return state.index_select(0, rows)


def test_length_penalty_is_the_one_given_or_else_the_models_own() -> None:
    # log .4 = -.92 against log .36 = -1.02, which is divided by a power of 3.
    short, long = [[]] * 3, [[4, 5]] * 3

    def translations(own: float, given: float | None = None) -> list[list[int]]:
        model = Copying(beam_size=2, length_penalty=own)
        model.net.decoder = Hesitant()
        assert model.translate_ids(*BATCH[:2], beam_size=1) == long
        return model.translate_ids(*BATCH[:2], length_penalty=given)

    assert translations(0.0) == short
    assert translations(2.0) == long
    assert translations(2.0, given=0.0) == short
    assert translations(0.0, given=2.0) == long


def test_a_text_in_place_of_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="lines is the text 'a b', but must be a list of lines"):
        copying().translate("a b")


def test_an_untrained_model_has_no_words() -> None:
    with pytest.raises(TokenizerError, match="Copying has no tokenizer of the source yet"):
        Copying().translate(["a"])


def test_checkpoint_alone_translates(tmp_path: Path) -> None:
    model = seq2seq()
    model.tokenizers = copying().tokenizers
    run = trainer(max_steps=1)
    run.fit(model, loader(BATCH, 3), loader(BATCH, 3))
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded = zoo.Seq2Seq.load_from_checkpoint(tmp_path / "model.ckpt")
    lines = ["a b .", "b"]
    assert loaded.translate(lines, max_new_tokens=5) == model.translate(lines, max_new_tokens=5)


# BLEU

SOURCES = [[4, 5, 6, 7, 8], [9, 10, 11, 4, 5, 6], [4, 4], [7]]
UNKNOWN = 999  # a word of a reference that the vocabulary lacks
REFERENCES = [
    [[4, 5, 6, 7, 9], [4, 5, 8, 6, 7, 8]],
    [[9, 10, 11, 4, 5, 7], [UNKNOWN], [11]],
    [[4, 5, 6]],
    [[UNKNOWN, 0]],
]


def bleu_batch() -> TranslationBatch:
    return batch_of(SOURCES, SOURCES, REFERENCES)


def words(ids: list[int]) -> str:
    return " ".join(f"w{i}" for i in ids)


@pytest.mark.parametrize("size", [4, 1])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_bleu_is_torchmetrics_over_all_references_of_the_split(stage: str, size: int) -> None:
    run = trainer()
    evaluate = {"val": run.validate, "test": run.test}[stage]
    (metrics,) = evaluate(Copying(), loader(bleu_batch(), size), verbose=False)
    expected = bleu_score([words(s) for s in SOURCES], [[words(r) for r in each] for each in REFERENCES])
    assert 0.3 < expected < 0.8
    assert metrics[f"{stage}/bleu"] == pytest.approx(expected.item(), abs=1e-6)
    book = [max(book_bleu(s, r, 2) for r in each) for s, each in zip(SOURCES, REFERENCES, strict=True)]
    assert metrics[f"{stage}/bleu_book"] == pytest.approx(sum(book) / 4, abs=1e-6)


def test_bleu_starts_anew_with_each_evaluation() -> None:
    model, run = Copying(), trainer()
    others = TranslationBatch(*(field[:1] for field in bleu_batch()))  # the same again has the same ratios
    for evaluate in (run.validate, run.test):
        evaluate(model, loader(bleu_batch(), 4), verbose=False)
        again = evaluate(model, loader(others, 1), verbose=False)
        assert again == evaluate(Copying(), loader(others, 1), verbose=False)


def test_no_references_no_bleu() -> None:
    batch = bleu_batch()._replace(references=torch.zeros(4, 0, 0, dtype=torch.int64))
    (metrics,) = trainer().validate(Copying(), loader(batch, 4), verbose=False)
    assert set(metrics) == {"val/loss", "val/perplexity"}


def test_validation_is_greedy_and_the_test_has_a_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = Copying(beam_size=3), []

    def translate_ids(source: Tensor, length: Tensor, *, beam_size: int) -> list[list[int]]:
        sizes.append(beam_size)
        return [[4]] * len(source)

    monkeypatch.setattr(model, "translate_ids", translate_ids)
    trainer().validate(model, loader(bleu_batch(), 4), verbose=False)
    trainer().test(model, loader(bleu_batch(), 4), verbose=False)
    assert sizes == [1, 3]


def test_bleu_is_not_among_the_weights_and_works_after_the_meta_device() -> None:
    weights = seq2seq().state_dict()
    with torch.device("meta"):
        model = seq2seq()
    model.load_state_dict(weights, assign=True)
    (metrics,) = trainer().validate(model, loader(bleu_batch(), 4), verbose=False)
    assert "val/bleu" in metrics
    assert list(model.state_dict()) == list(weights)


class Pairs(L.LightningDataModule):
    """One example for the second process, the others for the first."""

    def val_dataloader(self) -> TensorLoader:
        assert self.trainer is not None
        batch, rank = bleu_batch(), self.trainer.global_rank
        own = slice(0, 3) if rank == 0 else slice(3, 4)
        return loader(TranslationBatch(*(field[own] for field in batch)), 2)


class Leave(L.Callback):
    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        torch.save(metrics, f"metrics_{trainer.global_rank}.pt")


def test_bleu_is_that_of_all_processes() -> None:
    (expected,) = trainer().validate(Copying(), loader(bleu_batch(), 4), verbose=False)
    options = {"devices": 2, "strategy": "ddp_fork", "use_distributed_sampler": False}
    trainer(**options, callbacks=[Leave()]).validate(Copying(), datamodule=Pairs(), verbose=False)
    for rank in range(2):
        metrics = torch.load(f"metrics_{rank}.pt", weights_only=True)
        assert metrics == pytest.approx(expected, abs=1e-6)
