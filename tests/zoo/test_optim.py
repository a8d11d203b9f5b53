"""Optimizers from scratch: torch's steps, resuming, groups, bad arguments, the command line."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.zoo.optim_runs import GRADIENTS, network, path_of, printed_optimizer, take, train
from zoo import optim

Arguments = dict[str, Any]

ALL: list[tuple[type[torch.optim.Optimizer], Arguments]] = [
    (optim.SGD, {"lr": 0.1}),
    (optim.Momentum, {"lr": 0.02}),
    (optim.Momentum, {"lr": 0.02, "momentum": 0.5, "ema": True}),
    (optim.Adagrad, {"lr": 0.1}),
    (optim.Adagrad, {"eps_inside_root": True, "eps": 1e-6}),
    (optim.RMSprop, {}),
    (optim.RMSprop, {"alpha": 0.9, "eps_inside_root": True, "eps": 1e-6}),
    (optim.Adadelta, {}),
    (optim.Adam, {}),
    (optim.AdamW, {"lr": 0.01}),
    (optim.Yogi, {}),
]

every_optimizer = pytest.mark.parametrize(
    ("cls", "arguments"), ALL, ids=[f"{cls.__name__}{'-'.join(a)}" for cls, a in ALL]
)


# torch's, step by step

TORCHS: list[tuple[type[torch.optim.Optimizer], type[torch.optim.Optimizer], Arguments, Arguments]] = [
    (optim.SGD, torch.optim.SGD, {"lr": 0.02}, {}),
    (optim.Momentum, torch.optim.SGD, {"lr": 0.005}, {"momentum": 0.9}),
    (optim.Momentum, torch.optim.SGD, {"lr": 0.01, "momentum": 0.5}, {}),
    (optim.Adagrad, torch.optim.Adagrad, {}, {}),
    (optim.Adagrad, torch.optim.Adagrad, {"lr": 0.1, "eps": 1e-3}, {}),
    (optim.RMSprop, torch.optim.RMSprop, {}, {}),
    (optim.RMSprop, torch.optim.RMSprop, {"lr": 0.005, "alpha": 0.9, "eps": 1e-3}, {}),
    (optim.Adadelta, torch.optim.Adadelta, {}, {}),
    (optim.Adadelta, torch.optim.Adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-5}, {}),
    (optim.Adam, torch.optim.Adam, {}, {}),
    (optim.Adam, torch.optim.Adam, {"lr": 0.005, "betas": (0.8, 0.95), "eps": 1e-3}, {}),
    (optim.AdamW, torch.optim.AdamW, {}, {}),
    (optim.AdamW, torch.optim.AdamW, {"lr": 0.005, "betas": (0.8, 0.95), "eps": 1e-3}, {}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("decay", [None, 0.1])
@pytest.mark.parametrize(
    ("ours", "theirs", "arguments", "torchs"),
    TORCHS,
    ids=[f"{ours.__name__}{'-'.join(a)}" for ours, _, a, _ in TORCHS],
)
def test_steps_are_torchs(
    ours: Any, theirs: Any, arguments: Arguments, torchs: Arguments, decay: float | None, dtype: torch.dtype
) -> None:
    """Parameters agree after each of 100 steps, on the same gradients; float64 is held tighter."""
    if decay is not None:
        arguments = {**arguments, "weight_decay": decay}
    net, twin = network(dtype), network(dtype)
    optimizer = ours(net.parameters(), **arguments)
    reference = theirs(twin.parameters(), foreach=False, **arguments, **torchs)
    start = torch.cat([p.detach().flatten() for p in net.parameters()])
    for step in range(100):
        # The gradients are the reference's: rounding must not decide which way training goes.
        expected = train(twin, reference, range(step, step + 1))[0]
        for parameter, theirs_ in zip(net.parameters(), twin.parameters(), strict=True):
            parameter.grad = None if theirs_.grad is None else theirs_.grad.clone()
        optimizer.step()
        got = torch.cat([p.detach().flatten() for p in net.parameters()])
        torch.testing.assert_close(got, expected, atol=1e-6 if dtype == torch.float32 else 1e-12, rtol=0)
    assert (got - start).abs().min() > 1e-6  # every parameter has moved


@pytest.mark.parametrize(("ours", "theirs", "arguments", "torchs"), TORCHS[::2])
def test_training_is_torchs(ours: Any, theirs: Any, arguments: Arguments, torchs: Arguments) -> None:
    """Each with its own gradients: in float64 rounding does not add up to 1e-6."""
    torch.testing.assert_close(
        path_of(ours, **arguments), path_of(theirs, **arguments, **torchs), atol=1e-6, rtol=0
    )


def test_defaults_are_torchs() -> None:
    for name in ("Adagrad", "RMSprop", "Adam", "AdamW"):
        net = network()
        ours = getattr(optim, name)(net.parameters()).defaults
        theirs = getattr(torch.optim, name)(net.parameters()).defaults
        shared = ours.keys() & theirs.keys()
        assert shared >= {"lr", "eps", "weight_decay"}
        assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}


# Resuming, groups, closures, gradients that are not there


@every_optimizer
def test_resumes_exactly(cls: Any, arguments: Arguments, tmp_path: Path) -> None:
    expected = path_of(cls, steps=30, **arguments)
    net = network()
    optimizer = cls(net.parameters(), **arguments)
    train(net, optimizer, range(12))
    torch.save([net.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = network()
    again.load_state_dict(weights)
    optimizer = cls(again.parameters(), **{**arguments, "lr": 7.0})  # the saved rate comes back
    optimizer.load_state_dict(state)
    assert torch.equal(train(again, optimizer, range(12, 30)), expected[12:])


@every_optimizer
def test_groups_have_hyperparameters_of_their_own(cls: Any, arguments: Arguments) -> None:
    def one(start: float, **own: Any) -> float:
        return take(cls, start, **{**arguments, **own})[-1]

    parameters = [nn.Parameter(torch.tensor([start], dtype=torch.float64)) for start in (0.5, -0.3)]
    own = {"lr": 0.3, "weight_decay": 0.2}
    optimizer = cls([{"params": parameters[:1]}, {"params": parameters[1:], **own}], **arguments)
    for gradient in GRADIENTS:
        for parameter in parameters:
            parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    assert [p.item() for p in parameters] == [one(0.5), one(-0.3, **own)]
    assert one(-0.3, **own) != one(-0.3, **{**own, "weight_decay": 0.0})


@every_optimizer
def test_closure_is_called_and_parameters_without_gradient_stay(cls: Any, arguments: Arguments) -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = cls([used, unused], **arguments)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (used**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert torch.equal(unused, torch.ones(2))
    assert (used < 1).all()
    assert unused not in optimizer.state
    assert optimizer.step() is None


@every_optimizer
def test_sparse_gradients_are_refused(cls: Any, arguments: Arguments) -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = cls(embedding.parameters(), **arguments)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=f"{cls.__name__} takes only gradients that are dense and real"):
        optimizer.step()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: optim.SGD(p, lr=-1), "lr is -1, but must be at least 0"),
        (lambda p: optim.SGD(p, lr=math.nan), "lr is nan, but must be at least 0"),
        (lambda p: optim.SGD(p, lr=1, weight_decay=-1), "weight_decay is -1, but must be at least 0"),
        (lambda p: optim.SGD([{"params": p, "lr": -2}], lr=1), "lr is -2, but must be at least 0"),
        (lambda p: optim.SGD([{"params": p, "lr": 2}], lr=-1), "lr is -1, but must be at least 0"),
        (lambda p: optim.Momentum(p, lr=1, momentum=1), r"momentum is 1, but must be in \[0, 1\)"),
        (lambda p: optim.Adagrad(p, lr=-1), "lr is -1, but must be at least 0"),
        (lambda p: optim.Adagrad(p, eps=0), "eps is 0, but must be positive"),
        (lambda p: optim.RMSprop(p, alpha=1.5), r"alpha is 1\.5, but must be in \[0, 1\)"),
        (lambda p: optim.Adadelta(p, rho=-0.1), r"rho is -0\.1, but must be in \[0, 1\)"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.0)), r"betas\[1\] is 1\.0, but must be in \[0, 1\)"),
        (lambda p: optim.Adam(p, betas=(-1.0, 0.9)), r"betas\[0\] is -1\.0, but must be in \[0, 1\)"),
        (
            lambda p: optim.AdamW([{"params": p, "betas": (0.9,)}]),
            r"betas is \(0\.9,\), but must be two numbers",
        ),
        (lambda p: optim.Yogi(p, eps=-1), "eps is -1, but must be positive"),
    ],
)
def test_bad_arguments_are_refused(build: Callable[[list[nn.Parameter]], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build([nn.Parameter(torch.zeros(1))])


# Class paths


@every_optimizer
def test_is_saved_as_class_path_and_arguments(cls: Any, arguments: Arguments) -> None:
    model = zoo.LinearRegression(in_features=2, optimizer=lambda p: cls(p, **arguments))
    spec = model.hparams["optimizer"]
    assert spec["class_path"] == f"zoo.optim.{cls.__name__}"
    assert arguments.items() <= spec["init_args"].items()
    made = zoo.LinearRegression(in_features=2, optimizer=spec).configure_optimizers()
    assert type(made) is cls
    assert arguments.items() <= made.defaults.items()


@every_optimizer
def test_command_line_takes_the_class_path(
    cls: Any, arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"class_path": f"zoo.optim.{cls.__name__}", "init_args": {"lr": 0.25, **arguments}}
    printed = printed_optimizer(chosen, tmp_path, capsys)
    assert printed["class_path"] == chosen["class_path"]
    assert chosen["init_args"].items() <= printed["init_args"].items()
