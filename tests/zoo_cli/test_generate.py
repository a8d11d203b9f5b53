"""``predict`` of texts: with prompts or lines, without data."""

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datamodules.interface.tokenizers import WordTokenizer
from tests.zoo_cli.conftest import Run
from tests.zoo_cli.texts import Bigram, CountingLM, ShoutingTranslator, letters, save, words
from zoo import RNNLM, BiGRULM

Error = Callable[..., str]
CKPT = ("--ckpt_path", "lm.ckpt", "--trainer.accelerator", "cpu")


@pytest.fixture
def lm() -> None:
    """A checkpoint of a model that goes on with the alphabet: abc, and b after a."""
    save(CountingLM(vocab_size=4), "lm.ckpt", text=letters())


@pytest.fixture
def translator() -> None:
    save(ShoutingTranslator(), "lm.ckpt", source=words(), target=words())
    ShoutingTranslator.batches.clear()


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


@pytest.mark.usefixtures("lm")
def test_a_prompt_is_gone_on_with_and_no_data_is_made(succeed: Run) -> None:
    assert succeed("predict", *CKPT, "--prompt", "ab", "--max_new_tokens", "4").out == "abcabc\n"
    # The data's file is not there, and need not be.
    data = ("--data", "CSVTable", "--data.init_args.file", "nothing.csv")
    assert succeed("predict", *data, *CKPT, "--prompt=c", "--max_new_tokens", "0").out == "c\n"
    assert not Path("runs").exists()


@pytest.mark.usefixtures("lm")
def test_each_line_of_a_file_is_gone_on_with(succeed: Run, stdin: Callable[[bytes], None]) -> None:
    Path("prompts.txt").write_bytes(b"\xef\xbb\xbfa\r\nbc\nc")
    expected = "abca\nbcabc\ncabc\n"
    flags = ("predict", *CKPT, "--max_new_tokens", "3")
    assert succeed(*flags, "--input", "prompts.txt").out == expected
    result = succeed(*flags, "--input", "prompts.txt", "--output", "new/texts.txt")
    assert result.out == ""
    assert Path("new/texts.txt").read_text() == expected
    assert [path.name for path in Path("new").iterdir()] == ["texts.txt"]
    stdin(b"a\nbc\nc\n")
    assert succeed(*flags, "--input", "-").out == expected


def test_a_text_stays_in_the_line_of_its_prompt(succeed: Run) -> None:
    save(CountingLM(vocab_size=3), "lm.ckpt", text=letters("\na"))
    flags = ("predict", *CKPT, "--max_new_tokens", "3")
    Path("prompts.txt").write_text("a\n")
    assert succeed(*flags, "--input", "prompts.txt").out == "a\\na\\n\n"
    assert succeed(*flags, "--prompt", "a").out == "a\na\n\n"


def test_sampling_options_reach_the_model(succeed: Run) -> None:
    model = CountingLM(vocab_size=30, certainty=1.0)
    tokenizer = letters("abcdefghijklmnopqrstuvwxyz ,.")
    save(model, "lm.ckpt", text=tokenizer)

    def text(*flags: str) -> str:
        return succeed("predict", *CKPT, "--prompt", "a", "--max_new_tokens", "40", *flags).out[:-1]

    assert text() == model.generate("a", 40, seed=0)
    assert text() != text("--seed", "1") == model.generate("a", 40, seed=1)
    assert text("--temperature", "0.5") == model.generate("a", 40, temperature=0.5, seed=0)
    assert text("--top_k", "2") == model.generate("a", 40, top_k=2, seed=0)
    assert text("--top_p", "1e-1") == model.generate("a", 40, top_p=0.1, seed=0)
    Path("mine.yaml").write_text("prompt: b\nmax_new_tokens: 2\ntop_k: 1\ntop_p: null\n")
    assert succeed("predict", *CKPT, "--config", "mine.yaml").out == model.generate("b", 2, top_k=1) + "\n"


@pytest.mark.usefixtures("lm")
@pytest.mark.parametrize(
    ("code", "flags", "expected"),
    [
        (1, ["--prompt", ""], "--prompt: the prompt is empty"),
        (1, ["--prompt", "aXbY"], "--prompt: the prompt has 'X' 'Y', but the model knows only the 3"),
        (2, ["--prompt"], "--prompt: needs a text"),
        (2, ["--prompt=a", "--temperature", "0"], "--temperature: temperature is 0.0, but must be positive"),
        (2, ["--prompt=a", "--temperature", "-1"], "--temperature: temperature is -1.0, but must be pos"),
        (2, ["--prompt=a", "--temperature=hot"], "--temperature: temperature is 'hot', but must be float"),
        (2, ["--prompt=a", "--top_p", "2"], "--top_p: top_p is 2.0, but must be in (0, 1]"),
        (2, ["--prompt=a", "--top_k", "0"], "--top_k: top_k is 0, but must be at least 1"),
        (2, ["--prompt=a", "--top_k", "1.5"], "--top_k: top_k is '1.5', but must be int"),
        (2, ["--prompt=a", "--max_new_tokens", "-1"], "max_new_tokens is -1, but must be at least 0"),
        (2, ["--prompt=a", "--beam_size", "2"], "--beam_size: is not for CountingLM, a language model"),
        (2, ["--prompt=a", "--input", "-"], "--prompt: is given, and --input too; give one of them"),
        (2, ["--top_k", "2"], "--top_k: needs --prompt TEXT, or --input FILE"),
        (2, ["--prompt=a", "--temprature", "1"], "did you mean temperature"),
        (1, ["--input", "none.txt"], "--input none.txt: there is no such file"),
        (1, ["--input", "."], "--input .: cannot be read (Is a directory)"),
        (1, ["--input", "empty.txt"], "--input empty.txt: is empty, but must have a text in each line"),
        (1, ["--input", "gap.txt"], "gap.txt:3: the line is empty, but must have a text"),
        (1, ["--input", "latin.txt"], "latin.txt:2: is not UTF-8: byte 0xe9 at offset 4 begins no character"),
        (1, ["--input", "unknown.txt"], "unknown.txt:2: the prompt has 'X', but the model knows only"),
        (1, ["--prompt=a", "--output", "."], "--output .: is a folder, but must be a file"),
        (1, ["--prompt=a", "--output", "gap.txt/x"], "--output gap.txt/x: cannot be written (File exists)"),
        (2, ["--prompt=a", "--trainer.accelerator", "abacus"], "--trainer.accelerator: "),
        (2, ["--prompt=a", "--model", "LeNet"], "--model: model is zoo.LeNet, but the checkpoint lm.ckpt is"),
        (1, ["--prompt=a", "--ckpt_path", "no.ckpt"], "--ckpt_path no.ckpt: there is no such file"),
    ],
)
def test_bad_input_of_a_language_model(
    code: int, flags: list[str], expected: str, one_line_error: Error
) -> None:
    Path("empty.txt").touch()
    Path("gap.txt").write_text("a\nb\n \nc\n")
    Path("latin.txt").write_bytes(b"ab\nb\xe9\n")
    Path("unknown.txt").write_text("a\nXa\n")
    before = sorted(Path().iterdir())
    assert expected in one_line_error(code, "predict", *CKPT, *flags)
    assert sorted(Path().iterdir()) == before


@pytest.mark.usefixtures("lm")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "standard input is empty"),
        (b"a\n\nb\n", "standard input:2: the line is empty"),
        (b"a\nb\nc\xff", "standard input:3: is not UTF-8: byte 0xff at offset 5 begins no character"),
    ],
)
def test_bad_standard_input(
    content: bytes, expected: str, one_line_error: Error, stdin: Callable[[bytes], None]
) -> None:
    stdin(content)
    assert expected in one_line_error(1, "predict", *CKPT, "--input", "-")


@pytest.mark.usefixtures("lm")
def test_a_failure_leaves_the_old_output(one_line_error: Error) -> None:
    Path("prompts.txt").write_text("a\nX\n")
    Path("out.txt").write_text("old")
    one_line_error(1, "predict", *CKPT, "--input", "prompts.txt", "--output", "out.txt")
    assert Path("out.txt").read_text() == "old"
    assert sorted(path.name for path in Path().iterdir()) == ["lm.ckpt", "out.txt", "prompts.txt"]


def test_a_model_without_tokenizers_cannot_read(one_line_error: Error) -> None:
    save(CountingLM(vocab_size=4), "lm.ckpt")
    error = one_line_error(1, "predict", *CKPT, "--prompt", "a")
    assert error.startswith("error: --ckpt_path lm.ckpt: holds no tokenizer")


def test_other_arguments_than_the_checkpoints_are_refused(succeed: Run, one_line_error: Error) -> None:
    save(CountingLM(vocab_size=4, certainty=0.1), "lm.ckpt", text=letters())
    model = ("--model", "tests.zoo_cli.texts.CountingLM", "--prompt", "a")
    error = one_line_error(2, "predict", *CKPT, *model, "--model.vocab_size", "5")
    assert "--model.vocab_size: vocab_size is 5, but the checkpoint lm.ckpt was trained with 4" in error
    succeed("predict", *CKPT, *model, "--model.init_args.vocab_size", "4", "--model.certainty", "1e-1")


def test_all_other_arguments_are_named_with_the_way_out(one_line_error: Error) -> None:
    settings = "model:\n  class_path: tests.zoo_cli.texts.CountingLM\n  init_args:\n    vocab_size: 5\n"
    Path("mine.yaml").write_text(settings + "    certainty: 2.5\n")
    flags = (
        "predict",
        "--config",
        "mine.yaml",
        "--prompt",
        "a",
        "--trainer.accelerator",
        "cpu",
        "--ckpt_path",
    )
    run = Path("runs/mine/version_0")
    (run / "checkpoints").mkdir(parents=True)
    save(CountingLM(vocab_size=4), run / "checkpoints" / "best.ckpt", text=letters())
    given = f"certainty is 2.5, but the checkpoint {run}/checkpoints/best.ckpt was trained with 50.0"
    expected = (
        f"error: mine.yaml:5: {given}; mine.yaml:4: vocab_size is 5, but was 4; they change the network: "
    )
    path = str(run / "checkpoints" / "best.ckpt")
    way_out = f"leave --config mine.yaml out and give --ckpt_path {path}"
    assert one_line_error(2, *flags, path) == expected + way_out
    (run / "config.yaml").write_text(settings.replace("5", "4"))
    error = one_line_error(2, *flags, "best")
    assert error.endswith("version_0/config.yaml in place of mine.yaml")


def test_unknown_words_are_named_once(succeed: Run) -> None:
    save(CountingLM(vocab_size=4), "lm.ckpt", text=words())
    Path("prompts.txt").write_text("A two b\nc d e f g three a\n")
    result = succeed("predict", *CKPT, "--input", "prompts.txt", "--max_new_tokens", "0")
    assert result.out == "<unk> two <unk>\n<unk> <unk> <unk> <unk> <unk> three <unk>\n"
    assert result.err == "not in the vocabulary, read as <unk>: a, b, c, d, e and 2 more\n"


@pytest.mark.usefixtures("translator")
def test_lines_are_translated_in_batches(succeed: Run, stdin: Callable[[bytes], None]) -> None:
    lines = ["one two"] * 65 + ["three"]
    Path("lines.txt").write_text("\n".join(lines))
    flags = ("predict", *CKPT, "--input")
    expected = "".join(f"{line.upper()}\n" for line in lines)
    assert succeed(*flags, "lines.txt").out == expected
    assert ShoutingTranslator.batches == [64, 2]
    stdin("\n".join(lines).encode())
    assert succeed(*flags, "-").out == expected
    options = ("--beam_size", "2", "--max_new_tokens", "1", "--length_penalty", "1")
    result = succeed("predict", *CKPT, "--prompt", "one zwei", *options)
    assert (result.out, result.err) == ("ONE ONE\n", "not in the vocabulary, read as <unk>: zwei\n")


@pytest.mark.usefixtures("translator")
def test_bad_input_of_a_translator(one_line_error: Error) -> None:
    flags = ("predict", *CKPT, "--prompt", "one")
    assert "--beam_size: beam_size is 0, but must be at least 1" in one_line_error(
        2, *flags, "--beam_size", "0", "--output", "out.txt"
    )
    assert not Path("out.txt").exists()
    assert "--temperature: is not for ShoutingTranslator, a translator, which takes" in one_line_error(
        2, *flags, "--temperature", "1"
    )


@pytest.mark.usefixtures("translator")
@pytest.mark.parametrize("text", ["", "   "])
def test_there_must_be_something_to_translate(text: str, one_line_error: Error) -> None:
    expected = "the text is empty, but must have something to translate"
    assert one_line_error(1, "predict", *CKPT, "--prompt", text) == f"error: --prompt: {expected}"
    ShoutingTranslator.batches.clear()
    # What the tokenizer drops altogether is empty too.
    save(ShoutingTranslator(), "lm.ckpt", source=WordTokenizer.train(["a"], normalization="letters"))
    Path("lines.txt").write_text("a\n12\n")
    assert f"lines.txt:2: {expected}" in one_line_error(1, "predict", *CKPT, "--input", "lines.txt")
    assert ShoutingTranslator.batches == []


def test_predict_computes_in_the_precision_that_is_asked_for(
    succeed: Run, one_line_error: Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def advance(self: Bigram, tokens: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
        seen.append((self.weight.dtype, torch.is_autocast_enabled("cpu")))
        return self(tokens[:, -1]), None

    monkeypatch.setattr(Bigram, "advance", advance)
    save(CountingLM(vocab_size=4), "lm.ckpt", text=letters())
    flags = ("predict", *CKPT, "--prompt", "ab", "--max_new_tokens", "1")
    for given in ([], ["--trainer.precision", "bf16-mixed"], ["--trainer.precision", "64-true"]):
        assert succeed(*flags, *given).out == "abc\n"
    assert seen == [(torch.float32, False), (torch.float32, True), (torch.float64, False)]
    error = one_line_error(2, *flags, "--trainer.precision", "12")
    assert error.startswith("error: --trainer.precision: Precision '12' is invalid")


def test_models_of_other_things_take_no_text(one_line_error: Error, succeed: Run) -> None:
    quickstart = ("--config", "configs/quickstart.yaml")
    succeed("fit", *quickstart, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1")
    for flag in (("--prompt", "a"), ("--temperature", "1"), ("--beam_size", "1")):
        error = one_line_error(2, "predict", *quickstart, *flag)
        assert f"{flag[0]}: is for language models and translators, but the checkpoint" in error
        assert error.endswith("is of LeNet")


def test_help_lists_the_options(succeed: Run) -> None:
    out = succeed("predict", "--help").out
    for name in ("prompt", "input", "max_new_tokens", "temperature", "top_k", "top_p", "seed", "beam_size"):
        assert f"--{name} " in out
    text = " ".join(out.split())
    for default in (
        "translation (default: 50 and 100)",
        "prevail (default: 1)",
        "greedy (default: the model's",
    ):
        assert default in text


@pytest.mark.usefixtures("lm")
def test_a_prompt_that_ends_in_help_is_no_request_for_help(one_line_error: Error) -> None:
    assert "the prompt has" in one_line_error(1, "predict", *CKPT, "--prompt", "help")


@pytest.mark.usefixtures("lm")
def test_weights_of_the_checkpoint_are_used(succeed: Run) -> None:
    content = torch.load("lm.ckpt", weights_only=True)
    content["state_dict"]["net.weight"] = content["state_dict"]["net.weight"].T.contiguous()
    torch.save(content, "lm.ckpt")
    assert succeed("predict", *CKPT, "--prompt", "a", "--max_new_tokens", "3").out == "acba\n"


SHORT = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.accelerator", "cpu")


def test_a_trained_model_needs_its_checkpoint_alone(succeed: Run, one_line_error: Error) -> None:
    """And what has other tokens under the same ids is refused, in ``test`` as in ``fit``."""
    Path("a.txt").write_text("abc ab cab bca " * 40)
    Path("b.txt").write_text("xyz xy zxy yzx " * 40)
    data = ("--data", "TextFile", "--data.path", "a.txt", "--data.num_steps", "8")
    out = succeed("fit", "--model", "RNNLM", *data, *SHORT).out
    run = Path("runs/RNNLM/version_0")
    sample = (run / "samples.txt").read_text().splitlines()
    assert sample[0] == "epoch 0, step 1"
    assert f"sample: {sample[1]}" in out
    table = succeed("predict", "--model", "RNNLM", *data, "--trainer.accelerator", "cpu").out.splitlines()
    assert table[0] == "input,loss,perplexity"
    for row in table[1:]:
        _, loss, perplexity = map(float, row.split(","))
        assert perplexity == pytest.approx(math.exp(loss), rel=1e-4)

    Path("a.txt").unlink()
    out = succeed("predict", "--model", "RNNLM", "--prompt", "cab", "--max_new_tokens", "9").out
    checkpoint = str(run / "checkpoints" / "best.ckpt")
    assert out == RNNLM.load_from_checkpoint(checkpoint).generate("cab", 9, seed=0) + "\n"
    other = ("--data", "tests.zoo_cli.texts.OtherText", "--data.path", "b.txt", "--data.num_steps", "8")
    for command in ("test", "fit"):
        error = one_line_error(1, command, "--model", "RNNLM", *other, "--ckpt_path", checkpoint, *SHORT)
        assert "tokenizer of the text is" in error
        assert "with the same tokens in the same order: choose the data that the model was trained" in error


def test_a_model_that_guesses_hidden_tokens_does_not_go_on_with_a_text(one_line_error: Error) -> None:
    save(BiGRULM(vocab_size=4, hidden_size=4), "lm.ckpt", text=letters())
    error = one_line_error(1, "predict", *CKPT, "--prompt", "a")
    assert "BiGRULM" in error
