"""What models of text write while they learn."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from callbacks import MetricsCSV, PlainProgress, TextSamples
from datamodules import EnglishFrench, TimeMachine, _download
from tests.callbacks.conftest import digits, lenet
from tests.datamodules.fixtures import BUILDERS
from zoo import RNNLM, BiGRULM, Seq2Seq


@pytest.fixture(autouse=True)
def _tiny_files_instead_of_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "_check", lambda path, file: None)


@pytest.fixture
def text(tmp_path: Path) -> TimeMachine:
    (tmp_path / "data").mkdir()
    given = BUILDERS["TimeMachine"](tmp_path / "data")
    return TimeMachine(**given, num_steps=5, num_train=20, num_val=10, num_test=5, batch_size=4)


@pytest.fixture
def pairs(tmp_path: Path) -> EnglishFrench:
    (tmp_path / "data").mkdir()
    return EnglishFrench(**BUILDERS["EnglishFrench"](tmp_path / "data"), batch_size=4)


def trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        **{
            "default_root_dir": "run",
            "accelerator": "cpu",
            "max_epochs": 2,
            "log_every_n_steps": 1,
            "logger": MetricsCSV("run"),
            "callbacks": list(callbacks),
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )


def rnn(text: TimeMachine) -> RNNLM:
    return RNNLM(vocab_size=text.vocab_size, hidden_size=8)


def written() -> list[str]:
    return Path("run/samples.txt").read_text().splitlines()


def test_prompts_are_gone_on_with_after_each_validation(text: TimeMachine) -> None:
    model = rnn(text)
    sampling = TextSamples(prompts=["A", "b c"], max_new_tokens=7, temperature=0.5)
    run = trainer(sampling, num_sanity_val_steps=2, limit_train_batches=3)
    run.fit(model, datamodule=text)
    lines = written()
    assert [line for line in lines if line.startswith("epoch")] == ["epoch 0, step 3", "epoch 1, step 6"]
    assert len(lines) == 6
    for prompt, line in zip(["a", "b c"], lines[4:], strict=True):
        after = model.generate(prompt, 7, temperature=0.5, seed=0).removeprefix(prompt)
        assert line == f"{prompt} | {after}"
    assert lines[1:3] != lines[4:6]


def test_without_prompts_the_first_validation_window_is_gone_on_with(text: TimeMachine) -> None:
    model = rnn(text)
    trainer(TextSamples(max_new_tokens=9), max_epochs=1).fit(model, datamodule=text)
    batch: Any = next(iter(text.val_dataloader()))
    start = text.tokenizers["text"].decode(batch.tokens[0].tolist())
    assert written()[1] == f"{start} | {model.generate(start, 9, seed=0).removeprefix(start)}"


def test_training_is_the_same_as_without(text: TimeMachine) -> None:
    models = []
    for callbacks in ([], [TextSamples()], [TextSamples(prompts=["a"], every_n_epochs=2)]):
        torch.manual_seed(0)
        model = RNNLM(vocab_size=text.vocab_size, hidden_size=8, dropout=0.5)
        trainer(*callbacks).fit(model, datamodule=text)
        models.append((model, torch.rand(())))
        assert model.training
    for model, number in models[1:]:
        assert number == models[0][1]
        for name, value in models[0][0].state_dict().items():
            assert torch.equal(value, model.state_dict()[name])


def test_some_epochs_are_left_out(text: TimeMachine) -> None:
    trainer(TextSamples(every_n_epochs=2), max_epochs=5, limit_train_batches=1).fit(rnn(text), text)
    assert [line for line in written() if line.startswith("epoch")] == ["epoch 1, step 2", "epoch 3, step 4"]


def test_samples_are_printed_beside_a_progress_bar(
    text: TimeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(TextSamples(prompts=["a"]), PlainProgress(), enable_progress_bar=True).fit(rnn(text), text)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sample: ")]
    assert printed == [f"sample: {line}" for line in written() if line.startswith("a | ")]
    trainer(TextSamples(prompts=["a"])).fit(rnn(text), text)
    assert "sample" not in capsys.readouterr().out


def test_a_trial_of_some_batches_writes_nothing(text: TimeMachine) -> None:
    trainer(TextSamples(), fast_dev_run=True, logger=False).fit(rnn(text), text)
    trainer(TextSamples()).validate(rnn(text), text, verbose=False)
    assert not Path("run/samples.txt").exists()


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", "TextSamples cannot use the prompt '': the prompt is empty"),
        ("ab", "TextSamples cannot use the prompt 'ab': the prompt has 'b', but the model knows only the"),
    ],
)
def test_wrong_prompts_end_the_run_before_it_begins(text: TimeMachine, prompt: str, expected: str) -> None:
    class NoSteps(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            pytest.fail("training has begun")

    Path("data/timemachine/timemachine.txt").write_text("a c d e " * 20)
    with pytest.raises(ValueError, match=expected):
        trainer(TextSamples(prompts=["a", prompt]), NoSteps()).fit(rnn(text), text)


def test_translations_stand_beside_their_references(pairs: EnglishFrench) -> None:
    model = Seq2Seq(
        source_vocab_size=pairs.source_vocab_size, target_vocab_size=pairs.target_vocab_size, hidden_size=8
    )
    trainer(TextSamples(max_new_tokens=4), max_epochs=1).fit(model, datamodule=pairs)
    batch: Any = next(iter(pairs.val_dataloader()))
    lines = written()[1:]
    assert len(lines) == min(3, len(batch.source))
    seen = set()
    for i, line in enumerate(lines):
        source, translation, *references = line.split(" | ")
        assert [*pairs.tokenizers["source"].encode(source), 3] == batch.source[
            i, : batch.source_length[i]
        ].tolist()
        assert translation == model.translate([source], beam_size=1, max_new_tokens=4)[0]
        expected = [[t for t in reference if t >= 0] for reference in batch.references[i].tolist()]
        assert [len(reference.split()) for reference in references] == [len(t) for t in expected if t]
        assert all(word in ("non", "oui", ",", "!", "<unk>") for r in references for word in r.split())
        seen.add(len(references))
    assert seen <= {1, 2}


def test_prompts_of_a_translator_are_translated(pairs: EnglishFrench) -> None:
    model = Seq2Seq(
        source_vocab_size=pairs.source_vocab_size, target_vocab_size=pairs.target_vocab_size, hidden_size=8
    )
    trainer(TextSamples(prompts=["Yes no !"], max_new_tokens=4), max_epochs=1).fit(model, datamodule=pairs)
    assert written()[1:] == [f"Yes no ! | {model.translate(['yes no !'], beam_size=1, max_new_tokens=4)[0]}"]
    with pytest.raises(ValueError, match="cannot use the prompt ' ': it is empty"):
        trainer(TextSamples(prompts=[" "])).fit(model, datamodule=pairs)


def test_a_model_that_cannot_go_on_with_a_text_writes_nothing(text: TimeMachine) -> None:
    model = BiGRULM(vocab_size=text.vocab_size, hidden_size=8)
    for prompts in (None, ["a"], [""]):
        trainer(TextSamples(prompts=prompts), max_epochs=1).fit(model, datamodule=text)
        assert not Path("run/samples.txt").exists()


def test_a_model_that_learns_from_numbers_writes_nothing(text: TimeMachine) -> None:
    text.prepare_data()
    text.setup("fit")
    model = rnn(text)
    trainer(TextSamples(prompts=["a"]), max_epochs=1).fit(
        model, text.train_dataloader(), text.val_dataloader()
    )
    assert not Path("run/samples.txt").exists()


def test_models_of_other_things_write_nothing() -> None:
    trainer(TextSamples(prompts=["a"]), max_epochs=1, limit_train_batches=1).fit(lenet(), digits())
    assert not Path("run/samples.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs is 0, but must be at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, but must be at least 1"),
        ({"temperature": 0}, "temperature is 0, but must be positive"),
        ({"prompts": "abc"}, "prompts is the text 'abc', but must be a list of texts"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        TextSamples(**arguments)
