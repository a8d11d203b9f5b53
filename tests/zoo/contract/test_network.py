"""What every registered model's network must bear: saving, export, compiling, copies, other devices."""

import copy
import pickle
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

import zoo
from datamodules.loaders import BatchSampler, TensorLoader
from tests.zoo import state_dict_keys
from tests.zoo.contract.parts import NAMES, every_model
from tests.zoo.models import cast, inputs_of, tiny
from zoo._hparams import CLASS_PATH

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


def trainer(**options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


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


def test_what_is_slow_to_trace_is_there() -> None:
    assert set(NAMES) >= SLOW_TO_TRACE
