"""``--channels_last``: another layout in memory, the same run."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.zoo_cli.conftest import Run
from zoo_cli.channels_last import SameLayout
from zoo_cli.run import run_cli
from zoo_cli.sources import Sources

SHORT = ["--config", "configs/quickstart.yaml", "--trainer.max_epochs", "1"]
SHORT += ["--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"]
OPTIMIZER = "--model.init_args.optimizer"
SGD = [OPTIMIZER, "torch.optim.SGD", f"{OPTIMIZER}.lr", "0.1", f"{OPTIMIZER}.momentum", "0.9"]
# With its own eps, 1e-8, the steps of weights that have no gradient would be rounding errors made large.
ADAM = [OPTIMIZER, "torch.optim.Adam", f"{OPTIMIZER}.lr", "0.01", f"{OPTIMIZER}.eps", "1e-3"]
LAST = "runs/quickstart/version_{}/checkpoints/last.ckpt"


def is_last(tensor: Tensor) -> bool:
    """Whether it steps through the channels first, even if there is only one."""
    _, channels, height, width = tensor.shape
    return tensor.stride()[1:] == (1, width * channels, channels) and height > 1


def load(version: int) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(LAST.format(version), weights_only=True)
    return checkpoint


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fit(*flags: str) -> Any:
    return run_cli("fit", Sources([*SHORT, *flags]))


def test_network_and_images_have_their_channels_last() -> None:
    trial = ["--trainer.fast_dev_run", "true"]
    net = fit(*trial, "--channels_last", "true").model.net
    assert is_last(net.conv1.weight)
    assert is_last(net.conv2.weight)
    seen: list[bool] = []
    for module in (net.conv1, net.conv2):
        module.register_forward_pre_hook(lambda _, inputs: seen.append(is_last(inputs[0])))
    net(torch.rand(2, 1, 28, 28))
    assert seen == [True, True]
    assert not is_last(fit(*trial).model.net.conv2.weight)


def test_run_and_checkpoint_are_the_same(succeed: Run) -> None:
    succeed("fit", *SHORT, *SGD)
    succeed("fit", *SHORT, *SGD, "--channels_last", "true")
    plain, last = load(0)["state_dict"], load(1)["state_dict"]
    assert list(plain) == list(last)
    for name, value in plain.items():
        torch.testing.assert_close(last[name], value, rtol=1e-4, atol=1e-5, msg=name)
    data = ["--data", "Digits", "--model", "LeNet", "--trainer.limit_test_batches", "1"]
    for command in ("validate", "test"):
        arguments = [command, *data, "--ckpt_path", LAST.format(1)]
        assert succeed(*arguments).out == succeed(*arguments, "--channels_last", "true").out
    predict = ["predict", *data[:4], "--ckpt_path", LAST.format(1), "--output"]
    succeed(*predict, "plain.csv")
    succeed(*predict, "last.csv", "--channels_last", "true")
    predicted, expected = (read(Path(name)) for name in ("last.csv", "plain.csv"))
    assert len(expected) == 300
    assert len({row["label"] for row in expected}) > 1
    for ours, theirs in zip(predicted, expected, strict=True):
        assert (ours["input"], ours["label"]) == (theirs["input"], theirs["label"])
        # Four decimals are written, and rounding errors may fall on either side.
        assert float(ours["probability"]) == pytest.approx(float(theirs["probability"]), abs=1.5e-4)


def test_network_without_images_is_refused(one_line_error: Callable[..., str]) -> None:
    flags = ["--model", "LinearRegression", "--data", "SyntheticRegression"]
    line = one_line_error(2, "fit", *flags, "--channels_last", "true")
    expected = (
        "--channels_last: channels_last is True, but must be False for LinearRegression: it takes inputs"
    )
    assert line.startswith(f"error: {expected} like (2, 2), not images")


@pytest.mark.parametrize(
    ("optimizer", "before", "after"),
    [
        pytest.param(SGD, "false", "true", id="SGD"),
        pytest.param(SGD, "true", "false", id="SGD back", marks=pytest.mark.slow),
        pytest.param(ADAM, "false", "true", id="Adam", marks=pytest.mark.slow),
        pytest.param(ADAM, "true", "false", id="Adam back"),
    ],
)
def test_run_can_go_on_with_another_layout(optimizer: list[str], before: str, after: str) -> None:
    fused = [*optimizer, f"{OPTIMIZER}.fused", "true"]
    first = fit(*fused, "--channels_last", before)
    path = str(first.run_directory / "checkpoints" / "last.ckpt")
    weights = []
    for flag in (before, after):
        more = ["--trainer.max_epochs", "2", "--ckpt_path", path, "--channels_last", flag]
        cli = fit(*fused, *more, "--trainer.default_root_dir", flag)
        assert cli.trainer.global_step == 6
        assert is_last(cli.model.net.conv2.weight) == (flag == "true")
        weights.append(cli.model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_state_that_is_no_picture_of_its_parameter_is_left_alone() -> None:
    parameter = nn.Parameter(torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last))
    optimizer = torch.optim.AdamW([parameter])
    step, average = torch.tensor(3.0), torch.rand(2, 3, 4, 4)
    optimizer.state[parameter] = {"step": step, "exp_avg": average, "exp_avg_sq": parameter.detach()}
    trainer: Any = type("", (), {"optimizers": [optimizer]})
    SameLayout().on_train_start(trainer, nn.Module())  # type: ignore[arg-type]
    state = optimizer.state[parameter]
    assert state["step"] is step
    assert state["exp_avg"].stride() == parameter.stride()
    assert torch.equal(state["exp_avg"], average)
