"""``--channels_last``: another layout in memory, the same run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo_cli.conftest import Run
from zoo_cli.channels_last import SameLayout
from zoo_cli.run import run_cli
from zoo_cli.sources import Sources

SHORT = ["--config", "configs/quickstart.yaml", "--trainer.max_epochs", "1"]
SHORT += ["--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"]
SGD = ["--model.init_args.optimizer.class_path", "torch.optim.SGD", "--model.init_args.optimizer.lr", "0.1"]
SGD += ["--model.init_args.optimizer.momentum", "0.9"]  # Adam would make rounding errors large
LAST = "runs/quickstart/version_{}/checkpoints/last.ckpt"


def is_last(tensor: Tensor) -> bool:
    """Whether it steps through the channels first, even if there is only one."""
    _, channels, height, width = tensor.shape
    return tensor.stride()[1:] == (1, width * channels, channels) and height > 1


def load(version: int) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(LAST.format(version), weights_only=True)
    return checkpoint


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
    assert len(Path("last.csv").read_text().splitlines()) == len(Path("plain.csv").read_text().splitlines())


def test_network_without_images_is_refused(one_line_error: Callable[..., str]) -> None:
    flags = ["--model", "LinearRegression", "--data", "SyntheticRegression"]
    line = one_line_error(2, "fit", *flags, "--channels_last", "true")
    expected = (
        "--channels_last: channels_last is True, but must be False for LinearRegression: it takes inputs"
    )
    assert line.startswith(f"error: {expected} like (2, 2), not images")


def test_run_can_go_on_with_another_layout() -> None:
    fused = [*SGD, "--model.init_args.optimizer.fused", "true"]
    first = fit(*fused)
    path = str(first.run_directory / "checkpoints" / "last.ckpt")
    weights = []
    for flag in ("false", "true"):
        more = ["--trainer.max_epochs", "2", "--ckpt_path", path, "--channels_last", flag]
        cli = fit(*fused, *more, "--trainer.default_root_dir", flag)
        assert cli.trainer.global_step == 6
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
