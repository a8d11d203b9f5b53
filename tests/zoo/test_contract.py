"""What every registered model must do; a new one inherits it all and adds its count in ``full_sizes.py``."""

import copy
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

import zoo
from datamodules.interface.links import LINKED_VALUES
from datamodules.interface.registry import Entry
from datamodules.loaders import BatchSampler, TensorLoader
from tests.zoo import state_dict_keys
from tests.zoo.full_sizes import FULL_SIZES
from tests.zoo.models import cast, count_predicted, example_inputs, inputs_of, other_inputs, tiny
from zoo._hparams import CLASS_PATH
from zoo.tasks import Regressor, Task

NAMES = zoo.list_models()
CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# Loss to reach on one batch, after 200 steps at most.
OVERFIT_LOSS = {
    "gaussian process regression": 0.1,  # a log density, which has no lowest value
    "image classification": 0.05,
    "image regression": 0.01,
    "language modelling": 0.05,
    "masked language modelling": 0.5,  # other tokens are hidden in each step
    "NiN": 1.2,  # chance is log(16); its last ReLU leaves some classes without a gradient
    "regression": 0.01,
    "sequence classification": 0.05,
    "sequence regression": 0.01,
    "tabular classification": 0.05,
    "translation": 0.1,
}
# Batch statistics of a map of one pixel are those of the batch alone, so that two examples are too few.
OVERFIT_BATCH = {
    "image classification": 8,
    "gaussian process regression": 8,
    "ResNet18": 4,
    "ResNet18Small": 4,
    "VGG": 4,
}
# Where Adam's usual rate of 0.02 kills the ReLUs of so small a network, or is far too high for so deep a one.
OVERFIT_LR = {
    "AlexNet": 0.0005,
    "ChimeraMLP": 0.003,
    "ExactGP": 0.1,
    "GoogLeNet": 0.0003,
    "ImageNetAlexNet": 0.0003,
    "ImageNetDenseNet": 0.003,
    "LeNet": 0.005,
    "LeNetModern": 0.005,
    "NiN": 0.0003,
    "RegNet": 0.003,
    "ResNeXt": 0.003,
    "VGG": 0.0001,
    "VGG11": 0.001,
}
# Fifty layers are as easy as a few if their blocks start by handing on their input.
OVERFIT_ARGUMENTS = {"ResNeXt": {"zero_init_residual": True}}

# Their many wrappers that check shapes, or their many steps in time, take longest to trace.
SLOW_TO_TRACE = {
    "BNLeNetScratch",
    "GRUScratch",
    "GoogLeNet",
    "ImageNetDenseNet",
    "ImageNetGoogLeNet",
    "LSTMScratch",
    "MultiDeviceLeNet",
    "RegNet",
    "ResNeXt",
    "StackedRNNScratch",
}

WIDTHS = (
    *("in_features", "out_features", "in_channels", "num_classes", "image_size"),
    *("vocab_size", "source_vocab_size", "target_vocab_size", "hidden_size", "num_layers", "embed_dim"),
)


def arguments_of(name: str) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(zoo.MODELS[name].cls).parameters)
    assert parameters
    return parameters


def trainer(**options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


every_model = pytest.mark.parametrize("name", NAMES)


@every_model
@pytest.mark.parametrize("batch_size", [1, 5])
def test_output_is_finite_and_has_one_row_per_example(name: str, batch_size: int) -> None:
    model = tiny(name).eval()
    batch = model.example_batch(batch_size)
    inputs = model.network_inputs(batch)
    output = model(*inputs)
    reference = model(*inputs_of(model, 2))
    assert output.shape == (batch_size, *reference.shape[1:])
    assert output.dtype == torch.float32
    assert output.isfinite().all()
    for field, example in zip(inputs, example_inputs(model), strict=True):
        assert field.shape == (batch_size, *example.shape[1:])
    assert model(*example_inputs(model)).shape == reference.shape
    loss, sums, examples = model.measure(batch)
    assert loss.shape == ()
    assert loss.isfinite()
    assert examples == count_predicted(model, batch)
    assert all(value.shape == () and value.isfinite() for value in sums.values())


@every_model
def test_evaluation_is_deterministic(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 4)
    torch.testing.assert_close(model(*inputs), model(*inputs), atol=0, rtol=0)


@every_model
def test_example_batch_leaves_the_mode_alone(name: str) -> None:
    model = tiny(name)
    frozen = next(module for module in model.net.modules() if not list(module.children())).eval()
    modes = [module.training for module in model.modules()]
    model.example_batch(2)
    assert not frozen.training
    assert [module.training for module in model.modules()] == modes


@every_model
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(name: str) -> None:
    model = tiny(name)
    model.measure(model.example_batch(16))[0].backward()
    bad = [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert bad == []


@every_model
def test_examples_do_not_mix_in_evaluation(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 4)
    changed = tuple(torch.cat([a[:1], b[1:]]) for a, b in zip(inputs, other_inputs(inputs), strict=True))
    output, changed_output = model(*inputs), model(*changed)
    torch.testing.assert_close(output[0], changed_output[0], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(output[1:], changed_output[1:])
    torch.testing.assert_close(model(*(field[:1] for field in inputs)), output[:1], atol=1e-6, rtol=1e-5)


@every_model
def test_training_never_waits_for_the_device(name: str) -> None:
    """On the meta device, which has no values, whatever asks for one raises."""
    with torch.device("meta"):
        model = zoo.MODELS[name].cls(**zoo.MODELS[name].tiny)
        batch = model.example_batch(4)
        for step in range(2):  # the second adds to the sums of the first
            loss = model.training_step(batch, step)
    assert loss.device.type == "meta"


@every_model
def test_overfits_one_batch(name: str) -> None:
    model = tiny(name, **OVERFIT_ARGUMENTS.get(name, {}))
    task = zoo.MODELS[name].task
    batch = model.example_batch(OVERFIT_BATCH.get(name) or OVERFIT_BATCH.get(task, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=OVERFIT_LR.get(name, 0.02), fused=True)
    wanted = OVERFIT_LOSS.get(name) or OVERFIT_LOSS[task]
    assert model.eval().measure(batch)[0].item() > 2 * wanted
    for _ in range(20):
        model.train()
        for _ in range(10):
            optimizer.zero_grad()
            model.measure(batch)[0].backward()
            optimizer.step()
        loss = model.eval().measure(batch)[0].item()
        if loss < wanted:
            break
    assert loss < wanted


@every_model
def test_state_dict_belongs_to_the_network(name: str) -> None:
    assert all(key.startswith("net.") for key in tiny(name).state_dict())


def test_state_dict_keys_are_frozen() -> None:
    assert state_dict_keys.current() == state_dict_keys.FILE.read_text(), (
        "older checkpoints no longer fit; if that is wanted, run python -m tests.zoo.state_dict_keys"
    )


@every_model
def test_checkpoint_alone_brings_the_model_back(name: str, tmp_path: Path) -> None:
    model = tiny(name, optimizer=lambda p: torch.optim.AdamW(p, lr=0.0125, weight_decay=0.5))
    batch = model.example_batch(4)
    run = trainer(max_steps=1, default_root_dir=tmp_path)
    loaders = [TensorLoader(batch, BatchSampler(4, 4)) for _ in range(2)]
    run.fit(model, *loaders)
    path = tmp_path / "model.ckpt"
    run.save_checkpoint(path)

    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["hyper_parameters"][CLASS_PATH] == f"zoo.{name}"
    loaded = zoo.MODELS[name].cls.load_from_checkpoint(path).eval()
    inputs = model.network_inputs(batch)
    torch.testing.assert_close(loaded(*inputs), model.eval()(*inputs), atol=0, rtol=0)
    optimizer = loaded.build_optimizer([nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["lr"] == 0.0125
    assert optimizer.defaults["weight_decay"] == 0.5


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


# What torch says of its own RNN, LSTM and GRU.
@pytest.mark.filterwarnings("ignore:The tensor attributes self.*_flat_weights:UserWarning")
@every_model
def test_export_gives_the_same_outputs(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 2)
    exported = torch.export.export(model.net, inputs).module()
    torch.testing.assert_close(exported(*inputs), model.net(*inputs), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_TO_TRACE else name for name in NAMES]
)
def test_compiling_in_place_leaves_keys_and_outputs_alone(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 2)
    keys = list(model.state_dict())
    with torch.no_grad():  # with gradients, torch warns of what the shape checks look at while it traces
        expected = model(*inputs)
        model.net.compile(backend="eager")
        torch.testing.assert_close(model(*inputs), expected, atol=1e-6, rtol=1e-6)
    assert list(model.state_dict()) == keys


@every_model
def test_network_can_be_copied_and_pickled(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 2)
    for again in (copy.deepcopy(model.net), pickle.loads(pickle.dumps(model.net))):
        torch.testing.assert_close(again(*inputs), model(*inputs), atol=0, rtol=0)
        assert not {p.data_ptr() for p in again.parameters()} & {p.data_ptr() for p in model.parameters()}


@every_model
def test_moves_to_another_device_and_to_half_precision(name: str) -> None:
    model = tiny(name).eval()
    inputs = inputs_of(model, 2)
    expected = model(*inputs)
    half = copy.deepcopy(model.net).to(torch.bfloat16)(*cast(inputs, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.1, rtol=0.1)
    model.to("meta")
    assert model(*(field.to("meta") for field in inputs)).device.type == "meta"


@every_model
def test_config_exists(name: str) -> None:
    config = zoo.MODELS[name].config
    assert config is None or (CONFIGS / config).is_file()


def test_what_is_slow_to_trace_is_there() -> None:
    assert set(NAMES) >= SLOW_TO_TRACE


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


# What guesses its inputs has no targets.
@pytest.mark.parametrize("name", [n for n in NAMES if zoo.MODELS[n].task != "masked language modelling"])
def test_wrong_targets_are_refused_not_broadcast(name: str) -> None:
    """Targets (batch,) against predictions (batch, 1) would else make a (batch, batch) loss."""
    model = tiny(name)
    batch = model.example_batch(3)
    field = next(name for name in ("target_length", "target", "label", "labels") if hasattr(batch, name))
    target: Tensor = getattr(batch, field)
    wrong = target[:, :1].squeeze(1) if target.ndim >= 2 else target[:, None].expand(3, 2)
    if isinstance(model, Regressor):
        refused = pytest.raises(ValueError, match="the model predicts")
    else:
        refused = pytest.raises((ValueError, RuntimeError, TypeError))
    with refused:
        model.measure(batch._replace(**{field: wrong}))
