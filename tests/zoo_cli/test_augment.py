"""The options of the augmentation as settings: from files, from flags, and in the record of a run."""

from pathlib import Path

import pytest
import yaml

from zoo_cli.main import main

CONFIG = """seed_everything: 1
model:
  class_path: zoo.LeNet
data:
  class_path: datamodules.FashionMNIST
  init_args:
    augment:
      flip: true
      {line}
"""
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]


def config(line: str) -> Path:
    path = Path("mine.yaml")
    path.write_text(CONFIG.format(line=line))
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("crop_pading: 2", "mine.yaml:9: there is no setting data.augment.crop_pading"),
        ("crop_padding: two", "mine.yaml:9: data.augment.crop_padding is 'two', but must be int"),
        ("crop_padding: -1", "mine.yaml:9: crop_padding is -1, but must be at least 0"),
        ("hue: 0.2", "mine.yaml:9: hue is 0.2, but must be 0 for images of 1 channel(s)"),
    ],
)
def test_a_bad_option_is_named_with_its_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", str(config(line))]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.augment.flp", "true"], "--data.augment.flp: there is no setting data.augment.flp"),
        (["--data.augment.hue", "3"], "--data.augment.hue: hue is 3.0, but must be in [0, 0.5]"),
        (["--data.augment", "{hue: 3}"], "--data.augment: hue is 3.0, but must be in [0, 0.5]"),
    ],
)
def test_a_bad_flag_is_named(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "cnn/lenet_fashion_mnist", *flags]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_flags_change_single_options_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    path = config("resized_crop: [0.64, 1]")
    flags = ["--data.augment.flip", "false", "--data.init_args.augment.mixup", "1", "--print_config"]
    assert main(["fit", "--config", str(path), *flags]) == 0
    augment = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["augment"]
    assert {k: augment[k] for k in ("flip", "resized_crop", "mixup", "cutmix")} == {
        "flip": False,
        "resized_crop": [0.64, 1.0],
        "mixup": 1.0,
        "cutmix": 0.0,
    }


def test_the_record_of_a_run_is_the_next_runs_config(shared_data: Path) -> None:
    where = ["--data.data_dir", str(shared_data)]
    first = config("mixup: 0.5")
    assert main(["fit", "--config", str(first), *where, *SHORT]) == 0
    record = Path("runs/mine/version_0/config.yaml")
    assert main(["fit", "--config", str(record), *SHORT]) == 0
    again = yaml.safe_load(Path("runs/mine/version_1/config.yaml").read_text())
    assert again["data"]["init_args"]["augment"]["mixup"] == 0.5
    assert again["data"] == yaml.safe_load(record.read_text())["data"]
