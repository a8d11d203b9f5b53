import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from tests.zoo_cli.conftest import Run
from zoo_cli.commands import COMMANDS
from zoo_cli.names import with_full_names


def test_help_names_every_command_and_the_list_of_models(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for name in COMMANDS:
        assert f"  {name} " in result.out
    assert "python cli.py models" in result.out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from zoo_cli.main import main; main(['--help']); "
        "sys.exit(', '.join({'torch', 'lightning', 'jsonargparse', 'yaml'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_command_is_a_usage_error(run: Run) -> None:
    assert run().code == 2


def test_unknown_command_names_a_near_one(one_line_error: Callable[..., str]) -> None:
    assert "did you mean fit?" in one_line_error(2, "fitt")


def test_models_as_json(succeed: Run) -> None:
    rows = json.loads(succeed("models", "--json").out)
    assert sorted(row["name"] for row in rows) == zoo.list_models()
    lenet = next(row for row in rows if row["name"] == "LeNet")
    assert lenet == {
        "name": "LeNet",
        "class_path": "zoo.LeNet",
        "task": "image classification",
        "book": ["M18"],
        "params": 61_706,
        "config": "configs/cnn/lenet_fashion_mnist.yaml",
        "variants": {},
        "weights": None,
    }


def test_variants_are_listed_and_shown(succeed: Run) -> None:
    rows = {row["name"]: row for row in json.loads(succeed("models", "--json").out)}
    assert rows["ResNet"]["variants"]["resnet50"] == 25_557_032
    assert rows["ResNet"]["weights"] == "torchvision"
    lines = succeed("models").out.splitlines()
    assert any(line.split()[:2] == ["ResNet", "resnet18"] and "11,689,512" in line for line in lines)
    assert "11,689,512" in succeed("models", "resnet18").out


def test_create_takes_names_of_classes_and_of_variants() -> None:
    assert type(zoo.create("ResNet18", image_size=8)) is zoo.ResNet18
    assert zoo.create("resnet18", image_size=8).hparams["variant"] == "resnet18"
    with torch.device("meta"):
        assert type(zoo.create("alexnet")) is zoo.ImageNetAlexNet
        assert type(zoo.create("googlenet")) is zoo.ImageNetGoogLeNet
    with pytest.raises(KeyError, match="did you mean resnet50"):
        zoo.create("ResNet50")


def test_name_of_a_variant_in_place_of_a_class_says_what_to_write(one_line_error: Callable[..., str]) -> None:
    error = one_line_error(2, "fit", "--model", "ResNet50", "--data", "Digits")
    assert "there is no model zoo.ResNet50; write --model ResNet --model.init_args.variant resnet50" in error


def test_data_as_json_has_no_parameters(succeed: Run) -> None:
    rows = json.loads(succeed("data", "--json").out)
    assert {row["params"] for row in rows} == {None}
    assert "datamodules.Digits" in [row["class_path"] for row in rows]


def test_every_book_id_of_this_scope_is_registered(succeed: Run) -> None:
    models = {book for row in json.loads(succeed("models", "--json").out) for book in row["book"]}
    data = {book for row in json.loads(succeed("data", "--json").out) for book in row["book"]}
    assert {f"M{i:02d}" for i in range(1, 17)} | {"M18"} <= models
    assert {f"D{i:02d}" for i in range(1, 7)} <= data


def test_tables_list_names_tasks_and_configs(succeed: Run) -> None:
    out = succeed("models").out
    (line,) = [line for line in out.splitlines() if line.startswith("LeNet ")]
    assert "61,706" in line
    assert "configs/cnn/lenet_fashion_mnist.yaml" in line


def test_each_dataset_of_a_text_names_a_configuration(succeed: Run) -> None:
    lines = {line.split()[0]: line for line in succeed("data").out.splitlines()}
    for name in ("EnglishFrench", "ParallelText", "TextFile", "TimeMachine"):
        assert lines[name].split()[-1].startswith("configs/rnn/")


def test_layer_table_of_a_model(succeed: Run) -> None:
    out = succeed("models", "LeNet").out
    (conv2,) = [line.split() for line in out.splitlines() if line.startswith("conv2")]
    # 6 * 16 * 25 + 16 parameters; 2 * 16 * 100 * 6 * 25 FLOPs.
    assert conv2 == ["conv2", "Conv2d", "16", "x", "10", "x", "10", "2,416", "480,000"]
    assert out.splitlines()[-1].split()[-2:] == ["61,706", "833,040"]


@pytest.mark.parametrize(
    ("name", "output", "flops"),
    [
        ("RNNLM", "32 x 32", 32 * 2 * (28 * 32 + 32 * 32)),
        ("LSTMLM", "32 x 32", 32 * 2 * (28 * 32 + 32 * 32) * 4),
        ("GRULM", "32 x 32", 32 * 2 * (28 * 32 + 32 * 32) * 3),
        ("BiGRULM", "32 x 64", 32 * 2 * (28 * 32 + 32 * 32) * 3 * 2),
    ],
)
def test_layer_table_of_a_recurrent_network(succeed: Run, name: str, output: str, flops: int) -> None:
    """Fused layers and those of torch's own count alike: products of inputs and of states, for 32 tokens."""
    out = succeed("models", name).out
    (line,) = [line for line in out.splitlines() if line.startswith("rnn ")]
    assert f" {output} " in line
    assert line.endswith(f" {flops:,}")


def test_layer_table_of_a_network_with_several_inputs(succeed: Run) -> None:
    header, *lines = succeed("models", "Seq2Seq").out.splitlines()
    assert "output (steps x features)" in header
    assert "ModuleList" not in "".join(lines)
    # Layers that run step by step, layers of whole sentences: for the same target, the same number of steps.
    outputs = {line.split()[0]: line.split()[2:5] for line in lines[:-1]}
    assert outputs["decoder.rnn"] == [outputs["decoder.dense"][0], "x", "256"]
    assert int(outputs["encoder.rnn.0"][0]) > 1
    assert "steps" not in succeed("models", "LeNet").out


def test_unknown_model_in_the_layer_table(one_line_error: Callable[..., str]) -> None:
    assert "did you mean LeNet" in one_line_error(2, "models", "LeNt")


def test_a_name_too_many_is_refused(one_line_error: Callable[..., str]) -> None:
    line = one_line_error(2, "models", "resnet50", "--json", "vgg16")
    assert "models takes one name, but was given resnet50, vgg16" in line
    line = one_line_error(2, "data", "Digits", "CIFAR10")
    assert "data takes no name, but was given Digits, CIFAR10" in line


def test_help_of_fit_lists_the_models(run: Run) -> None:
    result = run("fit", "--help")
    assert result.code == 0
    assert "zoo.LeNet" in result.out
    assert "datamodules.Digits" in result.out


def test_help_of_a_model_explains_its_arguments(run: Run) -> None:
    result = run("fit", "--model.help", "LeNet")
    assert result.code == 0
    assert "Padding of the first convolution" in result.out


@pytest.mark.parametrize("arguments", [["--print_config"], ["--help"]])
def test_describing_a_run_prepares_no_data(
    run: Run, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datamodules import Digits

    def prepare(self: Digits) -> None:
        raise AssertionError("prepare_data ran")

    monkeypatch.setattr(Digits, "prepare_data", prepare)
    monkeypatch.setattr(Digits, "read_splits", prepare)
    assert run("fit", "--config", "configs/quickstart.yaml", *arguments).code == 0
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "class_path"),
    [
        ("WarmupCosine", "zoo.WarmupCosine"),
        ("CosineAnnealingLR", "torch.optim.lr_scheduler.CosineAnnealingLR"),
        ("ReduceLROnPlateau", "lightning.pytorch.cli.ReduceLROnPlateau"),
    ],
)
def test_short_names_of_schedules(name: str, class_path: str) -> None:
    flags = ["--model.init_args.lr_scheduler", "--model.lr_scheduler.class_path"]
    assert with_full_names([flags[0], name, f"{flags[1]}={name}"]) == [
        flags[0],
        class_path,
        f"{flags[1]}={class_path}",
    ]
    assert with_full_names(["--model.optimizer", "Adam"]) == ["--model.optimizer", "torch.optim.Adam"]
    assert with_full_names([flags[0], "null"]) == [flags[0], "null"]
