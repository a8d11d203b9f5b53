"""What every registered model's constructor must be like; a new model adds its count in ``full_sizes.py``."""

import inspect
import re
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from datamodules.interface.links import LINKED_VALUES
from datamodules.interface.registry import Entry
from tests.zoo.contract.parts import CONFIGS, NAMES, arguments_of, every_model
from tests.zoo.full_sizes import FULL_SIZES
from tests.zoo.models import example_inputs, inputs_of, tiny
from zoo._hparams import CLASS_PATH
from zoo.tasks import Task

WIDTHS = (
    *("in_features", "out_features", "in_channels", "num_classes", "image_size"),
    *("vocab_size", "source_vocab_size", "target_vocab_size", "hidden_size", "num_layers", "embed_dim"),
)


@every_model
def test_default_optimizer_is_saved_as_plain_values(name: str) -> None:
    model = tiny(name)
    spec = model.hparams["optimizer"]
    assert set(spec) == {"class_path", "init_args"}
    again = tiny(name, optimizer=spec)
    ours, theirs = (m.build_optimizer([nn.Parameter(torch.zeros(1))]) for m in (model, again))
    assert type(ours) is type(theirs)
    assert ours.defaults == theirs.defaults


def is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(is_plain(v) for v in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    return value is None or type(value) in (bool, int, float, str)


@every_model
def test_hyperparameters_are_plain_and_rebuild_the_model(name: str) -> None:
    model = tiny(name)
    hparams = dict(model.hparams)
    assert is_plain(hparams)
    assert hparams.pop(CLASS_PATH) == f"zoo.{name}"
    assert set(hparams) == set(arguments_of(name))
    again = tiny(name, **hparams)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    assert again.hparams == model.hparams


@every_model
def test_constructor_is_keyword_only_typed_and_documented(name: str) -> None:
    doc = inspect.getdoc(zoo.MODELS[name].cls) or ""
    described = set(re.findall(r"^    (\w+): \S", doc.partition("Args:\n")[2], flags=re.MULTILINE))
    parameters = arguments_of(name)
    assert described == set(parameters)
    for parameter in parameters.values():
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.annotation is not parameter.empty


@every_model
def test_book_section_is_named(name: str) -> None:
    entry = zoo.MODELS[name]
    doc = f"{inspect.getmodule(entry.cls).__doc__} {entry.cls.__doc__}"
    assert entry.book == () or re.search(r"\b(sections?|chapters?) \d", doc)
    assert all(re.fullmatch(r"M\d\d", book) for book in entry.book)


@every_model
def test_full_size_has_the_derived_number_of_parameters(name: str) -> None:
    arguments, expected = FULL_SIZES[name]
    with torch.device("meta"):
        model = zoo.MODELS[name].cls(**arguments)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected
    assert model(*example_inputs(model)).shape[0] == 2


def another(argument: str, value: Any, entry: Entry) -> Any:
    """Another value that the argument may have."""
    if value is None:
        return {"embed_dim": 5, "randomized_truncation": 0.5}[argument]
    if argument == "variant":
        return next(variant for variant in entry.variants if variant != value)
    if isinstance(value, list | tuple):
        return [another(argument, v, entry) for v in value]
    if isinstance(value, str):
        return {
            "activation": "tanh",
            "cell": "lstm",
            "init": "xavier_normal",
            "kernel": "matern32",
            "loss": "mae",
            "mean": "constant",
            "pooling": "max",
        }[argument]
    return (
        not value
        if isinstance(value, bool)
        else value + 1
        if isinstance(value, int)
        else value - 0.125  # a probability of 1 has nothing above it
        if 0.875 <= value <= 1
        else value + 0.125
    )


@every_model
def test_what_may_differ_from_a_checkpoint_is_what_leaves_its_network_alone(name: str) -> None:
    entry = zoo.MODELS[name]
    # Those of the data are always the checkpoint's; they change the inputs.
    fixed = {"optimizer", "lr_scheduler", "lr_scheduler_config", *LINKED_VALUES, *Task.start_arguments}
    model = tiny(name).eval()
    inputs = inputs_of(model, 4)
    for argument, parameter in arguments_of(name).items():
        if argument in fixed:
            continue
        value = entry.tiny.get(argument, parameter.default)
        other = tiny(name, **{argument: another(argument, value, entry)}).eval()
        shapes, other_shapes = ({key: v.shape for key, v in m.state_dict().items()} for m in (model, other))
        same = shapes == other_shapes
        if same:
            other.load_state_dict(model.state_dict())
            same = torch.equal(other(*inputs), model(*inputs))
        assert same == (argument in entry.cls.training_arguments), argument


def test_no_count_is_left_over() -> None:
    assert sorted(FULL_SIZES) == NAMES


@every_model
def test_config_exists(name: str) -> None:
    config = zoo.MODELS[name].config
    assert config is None or (CONFIGS / config).is_file()


def test_every_exported_task_is_registered() -> None:
    exported = {
        name
        for name in zoo.__all__
        if isinstance(getattr(zoo, name), type) and issubclass(getattr(zoo, name), Task)
    }
    assert exported == set(NAMES)
    assert all(getattr(zoo, name) is zoo.MODELS[name].cls for name in NAMES)


def with_argument(*arguments: str) -> list[tuple[str, str]]:
    return [(name, argument) for name in NAMES for argument in arguments if argument in arguments_of(name)]


@pytest.mark.parametrize(("name", "argument"), with_argument(*WIDTHS))
def test_zero_width_is_refused(name: str, argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is 0, but must be"):
        tiny(name, **{argument: 0})


@pytest.mark.parametrize(("name", "argument"), with_argument("hidden_sizes"))
def test_zero_hidden_width_is_refused(name: str, argument: str) -> None:
    sizes = [0 for _ in zoo.MODELS[name].tiny[argument]]
    with pytest.raises(ValueError, match="is 0, but must be positive"):
        tiny(name, **{argument: sizes})


@pytest.mark.parametrize(("name", "argument"), with_argument("dropout"))
def test_dropout_of_one_and_a_half_is_refused_and_zero_accepted(name: str, argument: str) -> None:
    default = arguments_of(name)[argument].default

    def dropout(value: float) -> Any:
        return [value for _ in default] if isinstance(default, tuple) else value

    with pytest.raises(ValueError, match=r"is 1\.5, but must be in \[0, 1\)"):
        tiny(name, **{argument: dropout(1.5)})
    model = tiny(name, **{argument: dropout(0)})
    inputs = inputs_of(model, 3)
    torch.testing.assert_close(model(*inputs), model(*inputs))  # in training


@every_model
def test_negative_learning_rate_is_refused_when_the_model_is_made(name: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1"):
        tiny(name, optimizer=lambda p: torch.optim.SGD(p, lr=-1.0))
