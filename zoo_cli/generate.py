"""``predict`` for models of text: prompts in, texts out; sentences in, translations out.

The tokenizers are in the checkpoint, so that no data is needed: the datamodule is never made, and what the
settings say of it is not read.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer

from zoo.tasks.text import TextTask, TokenizerError
from zoo_cli import checkpoints, run_directory
from zoo_cli.commands import TEXT_OPTIONS
from zoo_cli.errors import FAILED, INTERRUPTED, USAGE, CommandError
from zoo_cli.explain import explained
from zoo_cli.names import class_of
from zoo_cli.sources import Setting, Sources
from zoo_cli.text_files import Line, line_writer, lines_of_file, lines_of_stream

__all__ = ["predict_texts"]

SAMPLING = ("max_new_tokens", "temperature", "top_k", "top_p", "seed")
SEARCH = ("max_new_tokens", "beam_size", "length_penalty")
VERBS = {"generate": ("a language model", SAMPLING), "translate": ("a translator", SEARCH)}
"""The method that makes texts of texts: what a model with it is called, and the options that it takes."""
WORDS_TO_NAME = 5


def predict_texts(sources: Sources) -> bool:
    """Generate or translate, if the settings ask for that.

    Args:
        sources: The settings of ``predict``.

    Returns:
        False if something else is to be predicted.

    Raises:
        CommandError: For everything that the user can mend.
    """
    given = [setting for name in TEXT_OPTIONS if (setting := _given(sources, name)) is not None]
    wants_texts = _given(sources, "prompt") is not None or sources.value("input") is not None
    if not given and not (wants_texts and _may_be_of_text(sources)):
        return False
    path = _find_checkpoint(sources)
    checkpoint = checkpoints.read_checkpoint(path)
    saved = checkpoints.model_settings(checkpoint, path)
    cls = class_of("model", Setting("model", saved["class_path"], f"--ckpt_path {path}"))
    verb = next((verb for verb in VERBS if issubclass(cls, TextTask) and hasattr(cls, verb)), None)
    _refuse_what_does_not_fit(given, cls, verb, path)
    if verb is None:
        return False
    _refuse_too_few_or_many(given, sources)
    if not checkpoint.get("tokenizers"):
        raise CommandError(
            f"--ckpt_path {path}: holds no tokenizer, since its model was trained on numbers alone; train "
            "it on a dataset of text",
            FAILED,
        )
    options = _options(sources, verb)
    _refuse_other_network(sources, saved, cls, path)
    _run(cls, path, verb, options, sources)
    return True


def _run(cls: Any, path: Path, verb: str, options: dict[str, Any], sources: Sources) -> None:
    running = False
    try:
        trainer = _trainer(sources)
        running = True
        model = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True)
        precision = trainer.precision_plugin
        model = precision.convert_module(model).to(trainer.strategy.root_device)
        with precision.forward_context():
            _write_texts(model, verb, options, sources)
    except KeyboardInterrupt:
        raise CommandError("stopped", INTERRUPTED) from None
    except (CommandError, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get("ZOO_DEBUG") == "1":
            raise
        raise explained(error, [], running, sources) from error


# What is asked for


def _given(sources: Sources, name: str) -> Setting | None:
    """A setting; ``null`` in a file is none, but a prompt from the command line may be any text."""
    setting = sources.last(name)
    if name == "prompt" and setting is not None and setting.where == "--prompt":
        if setting.value is None:
            raise CommandError("--prompt: needs a text")
        return setting
    return None if sources.value(name) is None else setting


def _may_be_of_text(sources: Sources) -> bool:
    """Whether what is to be predicted may be texts; only the checkpoint knows where no model is given."""
    if sources.last("ckpt_path") is not None and sources.value("ckpt_path") is None:
        return False  # `null`: weights from elsewhere, which no model of text has
    model = sources.chosen_class("model")
    return model is None or issubclass(class_of("model", model), TextTask)


def _find_checkpoint(sources: Sources) -> Path:
    model, data = sources.chosen_class("model"), sources.chosen_class("data")
    return run_directory.find_checkpoint(
        sources.value("ckpt_path") or "best",
        Path(sources.value("trainer.default_root_dir") or "runs"),
        run_directory.run_name(sources, (model.value if model else None) or "model"),
        model=model,
        data=data,
    )


def _refuse_what_does_not_fit(given: list[Setting], cls: type, verb: str | None, path: Path) -> None:
    for setting in given:
        if verb is None:
            raise CommandError(
                f"{setting.where}: is for language models and translators, but the checkpoint {path} is of "
                f"{cls.__name__}"
            )
        kind, takes = VERBS[verb]
        if setting.key not in ("prompt", *takes):
            raise CommandError(
                f"{setting.where}: is not for {cls.__name__}, {kind}, which takes "
                f"{', '.join(f'--{name}' for name in takes)}"
            )


def _refuse_too_few_or_many(given: list[Setting], sources: Sources) -> None:
    prompt, source = _given(sources, "prompt"), sources.value("input")
    if prompt is None and source is None:
        raise CommandError(f"{given[0].where}: needs --prompt TEXT, or --input FILE with a text in each line")
    if prompt is not None and source is not None:
        raise CommandError(f"{prompt.where}: is given, and --input too; give one of them")


def _options(sources: Sources, verb: str) -> dict[str, Any]:
    options: dict[str, Any] = {"seed": 0} if verb == "generate" else {}
    for name in VERBS[verb][1]:
        setting = _given(sources, name)
        if setting is None or setting.value is None:
            continue
        kind = TEXT_OPTIONS[name][0]
        try:
            options[name] = kind(setting.value)
        except ValueError:
            raise CommandError(
                f"{setting.where}: {name} is {setting.value!r}, but must be {kind.__name__}"
            ) from None
    return options


def _refuse_other_network(sources: Sources, saved: dict[str, Any], cls: Any, path: Path) -> None:
    """Refuse arguments that are not those of the checkpoint's network."""
    model = sources.chosen_class("model")
    if model is not None and class_of("model", model) is not cls:
        raise CommandError(
            f"{model.where}: model is {model.value}, but the checkpoint {path} is of {saved['class_path']}"
        )
    checkpoints.settings_to_restore(saved, set(), "predict", path)  # refuses callables that are not safe
    given = {}
    for name in sources.given_arguments("model") & saved["init_args"].keys():
        setting = sources.last(f"model.init_args.{name}") or sources.last(f"model.{name}")
        if setting is None or setting.value is None:
            continue
        value, old = yaml.safe_load(setting.value), saved["init_args"][name]
        if isinstance(old, float) and isinstance(value, str | int):
            value = float(value)  # YAML takes 1e-1 for a text
        given[name] = value
    checkpoints.refuse_other_network(saved, given, cls, path, sources.where)


def _trainer(sources: Sources) -> Trainer:
    """A trainer that knows device and precision; by default the best device that there is, and float32."""
    accelerator = sources.value("trainer.accelerator") or "auto"
    precision: Any = sources.value("trainer.precision")
    return Trainer(accelerator=accelerator, precision=precision, devices=1, barebones=True)


# Texts


def _read(sources: Sources) -> Iterator[list[Line]]:
    """The texts to begin with, a few at a time: those of standard input as soon as they are there."""
    prompt, source = _given(sources, "prompt"), sources.value("input")
    if prompt is not None:
        yield [Line(prompt.where, prompt.value or "")]
    elif source == "-":
        yield from lines_of_stream(sys.stdin.buffer)
    else:
        assert source is not None
        yield from lines_of_file(Path(source))


def _write_texts(model: Any, verb: str, options: dict[str, Any], sources: Sources) -> None:
    """Write a text for each that is read; say at the end which words were unknown."""
    tokenizer = model.tokenizer("source" if verb == "translate" else "text")
    in_lines = _given(sources, "prompt") is None
    unknown: dict[str, None] = {}
    with line_writer(sources.value("output") or "-") as write:
        for lines in _read(sources):
            for text in _texts(model, verb, options, lines, sources):
                write(_one_line(text) if in_lines else text)
            for line in lines:
                unknown |= dict.fromkeys(tokenizer.unknown(line.text))
    if unknown:
        named = ", ".join(list(unknown)[:WORDS_TO_NAME])
        more = f" and {len(unknown) - WORDS_TO_NAME} more" if len(unknown) > WORDS_TO_NAME else ""
        print(f"not in the vocabulary, read as <unk>: {named}{more}", file=sys.stderr)


def _texts(
    model: Any, verb: str, options: dict[str, Any], lines: list[Line], sources: Sources
) -> Iterator[str]:
    """What the model makes of the lines: translations in one batch, continuations one after the other."""
    place = lines[0].place
    try:
        if verb == "translate":
            for line in lines:
                place = line.place
                if not model.tokenizer("source").encode(line.text):
                    raise TokenizerError("the text is empty, but must have something to translate")
            yield from model.translate([line.text for line in lines], **options)
            return
        for line in lines:
            place = line.place
            yield model.generate(line.text, **options)
    except TokenizerError as error:
        raise CommandError(f"{place}: {error}", FAILED) from error
    except ValueError as error:
        name = str(error).partition(" is ")[0]
        if name in options:
            raise CommandError(f"{sources.where(name)}: {error}", USAGE) from error
        raise CommandError(str(error), FAILED) from error


def _one_line(text: str) -> str:
    r"""The text with ``\n`` for each line's end, so that it stays in the line of its prompt."""
    return text.replace("\r", r"\r").replace("\n", r"\n")
