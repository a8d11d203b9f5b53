"""What every registered model must do; a new model inherits it all and adds its count to ``FULL_SIZES``."""

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
from zoo._hparams import CLASS_PATH
from zoo.tasks import Regressor, Task

NAMES = zoo.list_models()
CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# Residual stages of the widths w, two blocks of two 3 x 3 convolutions each, biased and with normalisation:
# 9 * in * out + out for the convolution, 2 * out for the normalisation; the shortcut is a biased 1 x 1.
BOOK_RESNET_STAGES = sum(
    9 * before * w + 3 * w + 3 * (9 * w * w + 3 * w) + (before * w + w if before != w else 0)
    for before, w in ((64, 64), (64, 128), (128, 256), (256, 512))
)
# Three blocks of a canonical bottleneck stage and so on: 1 x 1, 3 x 3 and 1 x 1 without biases.
RESNET50_STAGES = sum(
    before * w
    + 9 * w * w
    + 4 * w * w
    + 12 * w  # the first block, its three normalisations
    + before * 4 * w
    + 8 * w  # its shortcut
    + (blocks - 1) * (4 * w * w + 9 * w * w + 4 * w * w + 12 * w)
    for before, w, blocks in ((64, 64, 3), (256, 128, 4), (512, 256, 6), (1024, 512, 3))
)

# Stages of the widths w of the book's blocks, in groups of 16: three biased and normalised convolutions each,
# and a shortcut like them in the first.
REGNETX32_STAGES = sum(
    2 * before * w + 9 * 16 * w + w * w + 4 * 3 * w + (blocks - 1) * (2 * w * w + 9 * 16 * w + 3 * 3 * w)
    for before, w, blocks in ((32, 32, 4), (32, 80, 6))
)
# The same without biases, in groups of 8, and with two biased layers of squeeze-and-excitation between, whose
# width is a quarter of the block's input.
REGNETY400_STAGES = sum(
    before * w + w * (before // 4 * 2) + before // 4 + w + 9 * 8 * w + w * w + 3 * 2 * w
    for before, w in [
        *((32, 48), (48, 104), *[(104, 104)] * 2),
        *((104, 208), *[(208, 208)] * 5, (208, 440), *[(440, 440)] * 5),
    ]
) + sum(before * w + 2 * w for before, w in ((32, 48), (48, 104), (104, 208), (208, 440)))
# As ResNet-50 with bottlenecks of twice the width, in 32 groups.
RESNEXT50_STAGES = sum(
    before * w
    + 9 * w * w // 32
    + 2 * w * w
    + 8 * w  # the first block, its three normalisations
    + before * 2 * w
    + 4 * w  # its shortcut
    + (blocks - 1) * (2 * w * w + 9 * w * w // 32 + 2 * w * w + 8 * w)
    for before, w, blocks in ((64, 128, 3), (256, 256, 4), (512, 512, 6), (1024, 1024, 3))
)

# Inception blocks: channels in; 1 x 1; 1 x 1, 3 x 3; 1 x 1, 5 x 5 (canonical: 3 x 3); 1 x 1 after pooling.
INCEPTIONS = (
    (192, 64, 96, 128, 16, 32, 32),
    (256, 128, 128, 192, 32, 96, 64),
    (480, 192, 96, 208, 16, 48, 64),
    (512, 160, 112, 224, 24, 64, 64),
    (512, 128, 128, 256, 24, 64, 64),
    (512, 112, 144, 288, 32, 64, 64),
    (528, 256, 160, 320, 32, 128, 128),
    (832, 256, 160, 320, 32, 128, 128),
    (832, 384, 192, 384, 48, 128, 128),
)
# Biased convolutions in the book; two numbers for each normalised channel in the canonical one.
BOOK_INCEPTIONS, CANONICAL_INCEPTIONS = (
    sum(
        before * (a + b1 + c1 + d) + 9 * b1 * b2 + large * c1 * c2 + each * (a + b1 + b2 + c1 + c2 + d)
        for before, a, b1, b2, c1, c2, d in INCEPTIONS
    )
    for large, each in ((25, 1), (9, 2))
)
# Dense layers: normalisation and a biased 3 x 3 to 32 channels; canonically without biases and a 1 x 1 to 128
# before, with its own normalisation. Transitions halve the channels after a normalisation.
BOOK_DENSE_LAYERS = sum(
    2 * c + 9 * c * 32 + 32 for first in (64, 96, 112, 120) for c in range(first, first + 4 * 32, 32)
)
BOOK_TRANSITIONS = sum(2 * c + c * c // 2 + c // 2 for c in (192, 224, 240))
DENSENET121_LAYERS = sum(
    2 * c + c * 128 + 2 * 128 + 9 * 128 * 32
    for first, layers in ((64, 6), (128, 12), (256, 24), (512, 16))
    for c in range(first, first + layers * 32, 32)
)
DENSENET121_TRANSITIONS = sum(2 * c + c * c // 2 for c in (256, 512, 1024))

# What the data gives on the command line, and the trainable parameters of the full size, derived by hand.
FULL_SIZES: dict[str, tuple[dict[str, Any], int]] = {
    # Convolutions: (kernel area * in + 1) * out; 256 maps of 5 x 5 before the first of three linear layers.
    "AlexNet": (
        {},
        (121 + 1) * 96
        + (25 * 96 + 1) * 256
        + (9 * 256 + 1) * 384
        + (9 * 384 + 1) * (384 + 256)
        + (25 * 256 + 1) * 4096
        + 4097 * (4096 + 10),
    ),
    "AnyNet": ({}, (9 * 32 + 32 + 64) + REGNETX32_STAGES + 81 * 10),
    # LeNet without padding, 16 maps of 4 x 4, and two numbers for each normalised channel.
    "BNLeNet": ({}, 156 + 2416 + 120 * 257 + 10164 + 850 + 2 * (6 + 16 + 120 + 84)),
    "BNLeNetScratch": ({}, 156 + 2416 + 120 * 257 + 10164 + 850 + 2 * (6 + 16 + 120 + 84)),
    "ChimeraMLP": ({}, (20 * 64 + 64) + (64 * 32 + 32) + (32 * 16 + 16) + (16 * 20 + 20) + (20 * 20 + 20)),
    "DenseNet": (
        {},
        (49 * 64 + 64 + 128) + BOOK_DENSE_LAYERS + BOOK_TRANSITIONS + 2 * 248 + 249 * 10,
    ),
    "DropoutMLP": ({}, 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
    "DropoutMLPScratch": ({}, 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
    "EdgeKernel": ({}, 1 * 2),
    "FixedHiddenMLP": ({}, 20 * 20 + 20),
    # As AlexNet, with 3 channels in, fewer on the way, and 256 maps of 6 x 6.
    "ImageNetAlexNet": (
        {},
        (3 * 121 + 1) * 64
        + (25 * 64 + 1) * 192
        + (9 * 192 + 1) * 384
        + (9 * 384 + 1) * 256
        + (9 * 256 + 1) * 256
        + (36 * 256 + 1) * 4096
        + 4097 * (4096 + 1000),
    ),
    "GoogLeNet": ({}, 64 * 50 + 64 * 65 + 192 * (9 * 64 + 1) + BOOK_INCEPTIONS + 1025 * 10),
    "ImageNetDenseNet": (
        {},
        (3 * 49 * 64 + 128) + DENSENET121_LAYERS + DENSENET121_TRANSITIONS + 2 * 1024 + 1025 * 1000,
    ),
    "ImageNetGoogLeNet": (
        {},
        (64 * 3 * 49 + 64 * 64 + 192 * 9 * 64 + 2 * (64 + 64 + 192))
        + CANONICAL_INCEPTIONS
        + sum(128 * c + 2 * 128 + 2049 * 1024 + 1025 * 1000 for c in (512, 528))
        + 1025 * 1000,
    ),
    # Convolutions: out * (in * 5 * 5 + 1); 16 maps of 5 x 5 are 400 inputs.
    "LeNet": ({}, 6 * (25 + 1) + 16 * (150 + 1) + 120 * 401 + 84 * 121 + 10 * 85),
    "LeNetModern": ({}, 61_706),
    "LinearRegression": ({"in_features": 330}, 330 + 1),
    "LinearRegressionScratch": ({"in_features": 2}, 2 + 1),
    "MLP": ({}, 784 * 256 + 256 + 256 * 10 + 10),
    "MLPScratch": ({}, 784 * 256 + 256 + 256 * 10 + 10),
    # 20 kernels of 3 x 3, 50 of 5 x 5; 28 pixels become 26, 13, 9, 4.
    "MultiDeviceLeNet": ({}, 20 * 10 + 50 * 501 + 128 * 801 + 10 * 129),
    "MyLinearMLP": ({}, 64 * 8 + 8 + 8 + 1),
    "NestMLP": ({}, (20 * 64 + 64) + (64 * 32 + 32) + (32 * 16 + 16)),
    # Each block has a convolution with a large kernel and two of 1 x 1.
    "NiN": (
        {},
        ((121 + 1) * 96 + 2 * 97 * 96)
        + ((25 * 96 + 1) * 256 + 2 * 257 * 256)
        + ((9 * 256 + 1) * 384 + 2 * 385 * 384)
        + ((9 * 384 + 1) * 10 + 2 * 11 * 10),
    ),
    "RegNet": ({}, (27 * 32 + 64) + REGNETY400_STAGES + 441 * 1000),
    "RegNetX32": ({}, (9 * 32 + 32 + 64) + REGNETX32_STAGES + 81 * 10),
    "ResNeXt": ({}, (3 * 49 * 64 + 128) + RESNEXT50_STAGES + 2049 * 1000),
    "ResNet": ({}, (3 * 49 * 64 + 128) + RESNET50_STAGES + 2049 * 1000),
    "ResNet18": ({}, (49 * 64 + 64 + 128) + BOOK_RESNET_STAGES + 513 * 10),
    "ResNet18Small": ({}, (9 * 64 + 64 + 128) + BOOK_RESNET_STAGES + 513 * 10),
    "SharedMLP": ({}, (4 * 8 + 8) + (8 * 8 + 8) + (8 + 1)),
    "SoftmaxRegression": ({}, 784 * 10 + 10),
    "SoftmaxRegressionScratch": ({}, 784 * 10 + 10),
    "TabularMLP": ({"in_features": 30, "num_classes": 2}, 30 * 64 + 64 + 64 * 2 + 2),
    # VGG-16: 13 convolutions of 3 x 3, then 512 maps of 7 x 7; the book's VGG-11: 8, then 128.
    "VGG": (
        {},
        (27 + 1) * 64
        + (9 * 64 + 1) * (64 + 128)
        + (9 * 128 + 1) * (128 + 256)
        + (9 * 256 + 1) * (2 * 256 + 512)
        + (9 * 512 + 1) * (5 * 512)
        + (49 * 512 + 1) * 4096
        + 4097 * (4096 + 1000),
    ),
    "VGG11": (
        {},
        (9 + 1) * 16
        + (9 * 16 + 1) * 32
        + (9 * 32 + 1) * 64
        + (9 * 64 + 1) * (64 + 128)
        + (9 * 128 + 1) * (3 * 128)
        + (49 * 128 + 1) * 4096
        + 4097 * (4096 + 10),
    ),
    "WeightDecay": ({"in_features": 200}, 200 + 1),
    "WeightDecayScratch": ({"in_features": 200}, 200 + 1),
}

# Loss to reach on one batch, after 200 steps at most.
OVERFIT_LOSS = {
    "image classification": 0.05,
    "image regression": 0.01,
    "NiN": 1.2,  # chance is log(16); its last ReLU leaves some classes without a gradient
    "regression": 0.01,
    "tabular classification": 0.05,
}
# Batch statistics of a map of one pixel are those of the batch alone, so that two examples are too few.
OVERFIT_BATCH = {"image classification": 8}
# Where Adam's usual rate of 0.02 kills the ReLUs of so small a network, or is far too high for so deep a one.
OVERFIT_LR = {
    "AlexNet": 0.0005,
    "ChimeraMLP": 0.003,
    "GoogLeNet": 0.0003,
    "ImageNetAlexNet": 0.0003,
    "LeNet": 0.005,
    "LeNetModern": 0.005,
    "NiN": 0.0003,
    "RegNet": 0.003,
    "ResNeXt": 0.003,
    "VGG": 0.0003,
    "VGG11": 0.001,
}
# Fifty layers are as easy as a few if their blocks start by handing on their input.
OVERFIT_ARGUMENTS = {"ResNeXt": {"zero_init_residual": True}}

WIDTHS = ("in_features", "out_features", "in_channels", "num_classes", "image_size")


def tiny(name: str, **arguments: Any) -> Task:
    entry = zoo.MODELS[name]
    model: Task = entry.cls(**{**entry.tiny, **arguments})
    return model


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
    output = model(batch[0])
    reference = model(model.example_batch(2)[0])
    assert output.shape == (batch_size, *reference.shape[1:])
    assert output.dtype == torch.float32
    assert output.isfinite().all()
    assert batch[0].shape == (batch_size, *model.example_input_array.shape[1:])
    assert model(model.example_input_array).shape == reference.shape
    loss, sums, examples = model.measure(batch)
    assert loss.shape == ()
    assert loss.isfinite()
    assert examples == batch_size
    assert all(value.shape == () and value.isfinite() for value in sums.values())


@every_model
def test_evaluation_is_deterministic(name: str) -> None:
    model = tiny(name).eval()
    inputs = model.example_batch(4)[0]
    torch.testing.assert_close(model(inputs), model(inputs), atol=0, rtol=0)


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
    inputs = model.example_batch(4)[0]
    changed = inputs.clone()
    changed[1:] = 3 * changed[1:] + 1
    output, changed_output = model(inputs), model(changed)
    torch.testing.assert_close(output[0], changed_output[0], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(output[1:], changed_output[1:])
    torch.testing.assert_close(model(inputs[:1]), output[:1], atol=1e-6, rtol=1e-5)


@every_model
def test_overfits_one_batch(name: str) -> None:
    model = tiny(name, **OVERFIT_ARGUMENTS.get(name, {}))
    batch = model.example_batch(OVERFIT_BATCH.get(zoo.MODELS[name].task, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=OVERFIT_LR.get(name, 0.02))
    wanted = OVERFIT_LOSS.get(name) or OVERFIT_LOSS[zoo.MODELS[name].task]
    assert model.eval().measure(batch)[0].item() > 2 * wanted
    for _ in range(10):
        model.train()
        for _ in range(20):
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
    torch.testing.assert_close(loaded(batch[0]), model.eval()(batch[0]), atol=0, rtol=0)
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
    again = zoo.MODELS[name].cls(**hparams)
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
    assert model(model.example_input_array).shape[0] == 2


def another(argument: str, value: Any, entry: Entry) -> Any:
    """Another value that the argument may have."""
    if argument == "variant":
        return next(variant for variant in entry.variants if variant != value)
    if isinstance(value, list | tuple):
        return [another(argument, v, entry) for v in value]
    if isinstance(value, str):
        return {"activation": "tanh", "init": "xavier_normal", "loss": "mae", "pooling": "max"}[argument]
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value + 0.125


@every_model
def test_what_may_differ_from_a_checkpoint_is_what_leaves_its_network_alone(name: str) -> None:
    entry = zoo.MODELS[name]
    # Those of the data are always the checkpoint's; they change the inputs.
    fixed = {"optimizer", "lr_scheduler", "lr_scheduler_config", *LINKED_VALUES, *Task.start_arguments}
    model = tiny(name).eval()
    inputs = model.example_batch(4)[0]
    for argument, parameter in arguments_of(name).items():
        if argument in fixed:
            continue
        value = entry.tiny.get(argument, parameter.default)
        other = tiny(name, **{argument: another(argument, value, entry)}).eval()
        shapes, other_shapes = ({key: v.shape for key, v in m.state_dict().items()} for m in (model, other))
        same = shapes == other_shapes
        if same:
            other.load_state_dict(model.state_dict())
            same = torch.equal(other(inputs), model(inputs))
        assert same == (argument in entry.cls.training_arguments), argument


def test_no_count_is_left_over() -> None:
    assert sorted(FULL_SIZES) == NAMES


@every_model
def test_export_gives_the_same_outputs(name: str) -> None:
    model = tiny(name).eval()
    inputs = model.example_batch(2)[0]
    exported = torch.export.export(model.net, (inputs,)).module()
    torch.testing.assert_close(exported(inputs), model.net(inputs), atol=1e-6, rtol=1e-6)


@every_model
def test_compiling_in_place_leaves_keys_and_outputs_alone(name: str) -> None:
    model = tiny(name).eval()
    inputs = model.example_batch(2)[0]
    keys = list(model.state_dict())
    with (
        torch.no_grad()
    ):  # with gradients, torch warns of what the suite's shape checks look at while it traces
        expected = model(inputs)
        model.net.compile(backend="eager")
        torch.testing.assert_close(model(inputs), expected, atol=1e-6, rtol=1e-6)
    assert list(model.state_dict()) == keys


@every_model
def test_network_can_be_copied_and_pickled(name: str) -> None:
    model = tiny(name).eval()
    inputs = model.example_batch(2)[0]
    for again in (copy.deepcopy(model.net), pickle.loads(pickle.dumps(model.net))):
        torch.testing.assert_close(again(inputs), model(inputs), atol=0, rtol=0)
        assert not {p.data_ptr() for p in again.parameters()} & {p.data_ptr() for p in model.parameters()}


@every_model
def test_moves_to_another_device_and_to_half_precision(name: str) -> None:
    model = tiny(name).eval()
    inputs = model.example_batch(2)[0]
    expected = model(inputs)
    half = copy.deepcopy(model.net).to(torch.bfloat16)(inputs.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.1, rtol=0.1)
    model.to("meta")
    assert model(inputs.to("meta")).device.type == "meta"


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
    inputs = model.example_batch(3)[0]
    torch.testing.assert_close(model(inputs), model(inputs))  # in training


@every_model
def test_negative_learning_rate_is_refused_when_the_model_is_made(name: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1"):
        tiny(name, optimizer=lambda p: torch.optim.SGD(p, lr=-1.0))


@every_model
def test_wrong_targets_are_refused_not_broadcast(name: str) -> None:
    """Targets (batch,) against predictions (batch, 1) would else make a (batch, batch) loss."""
    model = tiny(name)
    batch = model.example_batch(3)
    inputs, target = batch
    wrong: Tensor = target[:, :1].squeeze(1) if target.ndim >= 2 else target[:, None].expand(3, 2)
    if isinstance(model, Regressor):
        refused = pytest.raises(ValueError, match="the model predicts")
    else:
        refused = pytest.raises((ValueError, RuntimeError, TypeError))
    with refused:
        model.measure(type(batch)(inputs, wrong))
