"""Errors in one line: what was given, where, and what must be given instead."""

import itertools
import re

from datamodules.interface.links import LINKED_VALUES
from zoo_cli.errors import FAILED, USAGE, CommandError
from zoo_cli.sources import Sources

__all__ = ["explained"]


def explained(
    error: Exception, failure: list[tuple[str, Exception]], running: bool, sources: Sources
) -> CommandError:
    """The error in one line that names its place.

    Args:
        error: What was raised.
        failure: The part (``data`` or ``model``) that could not be made, and its own error, if that was it.
        running: Whether the run had begun, so that it is no matter of usage.
        sources: The settings.
    """
    for cause in _causes(error):
        if isinstance(cause, CommandError):
            return cause
    from datamodules.interface.errors import DataError
    from zoo._pretrained import WeightsError

    if failure:
        key, error = failure[0]
        text = _one_line(str(error) or type(error).__name__)
        if isinstance(error, DataError):
            return CommandError(text, FAILED)
        if isinstance(error, WeightsError):
            return CommandError(f"{sources.where('model.init_args.weights')}: {text}", FAILED)
        place = _likely_key(key, text, sources)
        name = text.split(" ")[0]
        if key == "model" and name in LINKED_VALUES and name not in sources.given_arguments("model"):
            place = f"data.init_args.{name}"  # the model has it from there
            text += f" for this model; the data set it: --{place}"
        return CommandError(f"{sources.where(place)}: {text}", USAGE)
    for cause in _causes(error):
        if isinstance(cause, DataError):
            text = _one_line(str(cause))
            if re.match(r"\w+ is .*, but must ", text):
                text = f"{sources.where(_likely_key('data', text, sources))}: {text}"
            return CommandError(text, FAILED)
    if running and str(error).startswith("Expected more than 1 value per channel when training"):
        where = sources.where("data.init_args.batch_size")
        return CommandError(
            f"{where}: leaves a batch of one image, which batch normalisation cannot train on; choose "
            "another batch_size",
            FAILED,
        )
    if isinstance(error, BrokenPipeError):
        return CommandError("what read the output has closed it", FAILED)
    if running and isinstance(error, OSError) and error.errno is not None:
        place = error.filename or "the run directory"
        way_out = "; free some space, or choose another folder with --trainer.default_root_dir"
        return CommandError(f"{place}: cannot be written ({error.strerror}){way_out}", FAILED)
    if running and (
        setting := re.match(r"((?:data|model|trainer)\.[\w.]+) (is .*, but must .*)", str(error))
    ):
        name = setting[1].rpartition(".")[2]  # found only now: two parts that do not go together
        return CommandError(f"{sources.where(setting[1])}: {name} {_one_line(setting[2])}", USAGE)
    if running:
        return CommandError(f"{_kind(error)}{_one_line(str(error))}", FAILED)
    return CommandError(_parsing_error(str(error), sources), USAGE)


def _likely_key(key: str, text: str, sources: Sources) -> str:
    """The setting that a message is about: our own begin with its name, torch's name it in words."""
    words = {"learning rate": "lr", "weight_decay": "weight_decay", "momentum": "momentum"}
    names = [name for phrase, name in words.items() if phrase in text] + [text.split(" ")[0]]
    for name in names:
        for setting in reversed(sources.settings):
            given = setting.key.endswith(f".{name}") or f"{name}:" in (setting.value or "")
            if setting.key.startswith(f"{key}.") and given:
                return setting.key
    # Given is only what the value must fit to.
    for name in reversed(re.findall(r"\w+", text)):
        for setting in reversed(sources.settings):
            if setting.key.startswith(f"{key}.") and setting.key.endswith(f".{name}"):
                return setting.key
    return f"{key}.{names[-1]}"


def _kind(error: Exception) -> str:
    """The error's class, unless the message is written for the user."""
    from zoo.tasks.base import NonFiniteLossError

    return "" if isinstance(error, NonFiniteLossError | ValueError) else f"{type(error).__name__}: "


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _parsing_error(message: str, sources: Sources) -> str:
    """Jsonargparse's message, condensed: where, which key, what was given, what must be given."""
    if needed := re.search(r"following arguments are required: (.*)", message):
        if own := re.search(
            r"class_path '((?:zoo|datamodules)\.\w+)':\s+the following arg[^:]*: (.*)", message
        ):
            key = "data" if own[1].startswith("datamodules") else "model"
            flags = " ".join(f"--{key}.init_args.{name} VALUE" for name in own[2].split(", "))
            return f"{sources.where(key)}: {own[1]} needs {own[2]}; give {flags}"
        owners = ("optimizer", "lr_scheduler")
        given = [s for s in sources.settings if s.key.removesuffix(".class_path").endswith(owners)]
        if given and "--" not in needed[1] and not {"model", "data"} & set(needed[1].split(", ")):
            return f"{given[-1].where}: {given[-1].value} needs {needed[1]}"
        return (
            f"{needed[1]} must be given: --config FILE, or --model NAME and --data NAME; "
            "`python cli.py models` and `python cli.py data` list them"
        )
    if "backend found" in message or "accelerator" in message.lower():
        where = sources.where("trainer.accelerator")
        return (
            f"{where}: {_one_line(message)} Choose a device that is there, as configs/trainer/cpu.yaml does"
        )
    if message.startswith("Precision "):
        return f"{sources.where('trainer.precision')}: {_one_line(message)}"
    # What a class of options within the data refuses, between all that the parser had tried.
    if refused := re.search(r"^ *- (\w+ is .*, but must .*)$", message, re.MULTILINE):
        return f"{sources.where(_likely_key('data', refused[1], sources))}: {refused[1]}"
    keys = re.findall(r'(?:Parser key|Key|Option) [\'"]([\w.]+)[\'"]', message)
    if not keys:
        return _one_line(message)
    key = keys[0]
    for inner in keys[1:]:
        key = f"{key}.{inner}" if key != inner else key
    where = sources.where(key)
    if re.search(r"Option '[\w.]+' is not accepted|is not expected", message):
        first = key.partition(".")[0]
        # The parser reads flags from left to right.
        after = itertools.dropwhile(lambda setting: setting.where != where, sources.settings)
        if chosen := next((setting for setting in after if setting.where == f"--{first}"), None):
            return f"{where}: write --{first} {chosen.value} before its arguments"
        return f"{where}: there is no setting {key}"
    expected = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", message, re.MULTILINE)
    expected = [e for e in expected if "NoneType" not in e and not e.startswith(("path", "dot import"))]
    if missing := re.search(r"(?:module '|No )([\w.]+)(?:' has no)? attribute '?(\w+)", message):
        return f"{where}: {key}: there is no {missing[1]}.{missing[2]}"
    # The innermost value is the one that does not fit.
    values = re.findall(r"(?:Got value|Given value): (.*?)(?:\. Got value: .*)?$", message, re.MULTILINE)
    if expected and values:
        kinds = [re.sub(r"<class '([\w.]+)'>|typing\.Literal\[(.*)\]", r"\1\2", e).strip() for e in expected]
        return f"{where}: {key} is {values[0].strip()!r}, but must be {' or '.join(dict.fromkeys(kinds))}"
    return f"{where}: {_one_line(message)}"
