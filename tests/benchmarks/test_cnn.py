import itertools
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

import zoo
from benchmarks import clock, cnn, cnn_steps
from benchmarks.cnn import Steps, format_accelerator, format_d2l, format_steps
from benchmarks.cnn_steps import make_steps, networks, time_in_turn
from datamodules.interface.batches import ImageBatch


def row(table):
    head, _, cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return dict(zip(head, cells, strict=True))


def test_step_table_takes_ratios_of_neighbours():
    # Ratios 1.5, 1.0 and 0.9; the ratio of the medians would be 4 / 3.
    steps = Steps([0.3, 0.4, 0.9], [0.2, 0.4, 1.0], 1_060_000, 1_000_000)
    cells = row(format_steps({"resnet18": steps}))
    assert cells["network"] == "resnet18"
    assert cells["zoo, ms"] == "400 (300-900)"
    assert cells["torchvision, ms"] == "400 (200-1,000)"
    assert cells["time"] == "1.000 (<= 1.03: reached)"
    assert cells["memory"] == "1.060 (<= 1.05: MISSED)"
    just_above = Steps([1.034], [1.0], 1_052_000, 1_000_000)
    cells = row(format_steps({"resnet18": just_above}))
    assert cells["time"] == "1.034 (<= 1.03: MISSED)"
    assert cells["memory"] == "1.052 (<= 1.05: MISSED)"


def test_d2l_table():
    assert row(format_d2l([180, 100, 400], [90, 60, 100]))["zoo / d2l, speed"] == "2.00 (>= 1.8: reached)"
    cells = row(format_d2l([180], []))
    assert cells["d2l, images/s"] == cells["zoo / d2l, speed"] == "not measured"


def test_time_lost_is_a_share_of_the_run():
    # A batch of 100 takes 1 s in the bare loop and 1.25 s in the run, a fifth of it outside the step.
    assert row(format_accelerator("gpu", [80], [100]))["lost outside the step"] == "0.200 (<= 0.05: MISSED)"


def test_sides_take_turns_and_warm_up(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(cnn_steps.time, "perf_counter", lambda: now[0])

    def step(side, seconds):
        def run():
            order.append(side)
            now[0] += seconds * (100 if len(order) <= 2 else 1)

        return run

    seconds = time_in_turn({"a": step("a", 1), "b": step("b", 2)}, warmup=1, count=3)
    assert seconds == {"a": [1, 1, 1], "b": [2, 2, 2]}
    assert "".join(order) in ("abbaabba", "baabbaab")


def test_both_sides_train_the_same_network(monkeypatch):
    class Twin(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Twin()

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self.net(batch.image), batch.label)

    made = {}
    monkeypatch.setattr(cnn_steps, "make_twin", lambda name: made.setdefault("torchvision", Twin()))
    monkeypatch.setattr(cnn_steps, "make_model", lambda name, size: made.setdefault("zoo", Model()))
    steps = make_steps(
        "any", ["zoo", "torchvision"], ImageBatch(torch.rand(2, 3, 8, 8), torch.tensor([1, 2]))
    )
    start = made["zoo"].net[0].weight.clone()
    for _ in range(2):
        for step in steps.values():
            step()
    zoo, torchvision = made["zoo"].net.state_dict(), made["torchvision"].state_dict()
    assert all(torch.equal(zoo[name], torchvision[name]) for name in zoo)
    assert not torch.equal(zoo["0.weight"], start)


def test_auxiliary_heads_of_torchvision_count_three_tenths():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(3, 2, 4))

        def forward(self, image):
            return tuple(self.logits)

    net = Heads()
    cnn_steps.torchvision_step(net, ImageBatch(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])))()
    main, *others = net.logits.grad
    for other in others:
        torch.testing.assert_close(other, 0.3 * main)


def test_networks_are_those_of_both():
    known = networks()
    assert {"alexnet", "googlenet", "resnet18", "resnet152"} <= set(known)
    assert known == sorted(set(known))


def test_the_accelerators_step_is_that_of_a_run(monkeypatch):
    """The model's own optimizer, under autocast, on a network that is compiled and has its channels last."""
    made, compiled, kinds = [], [], []

    def make(image_size):
        torch.manual_seed(0)
        made.append(zoo.LeNet(image_size=image_size, optimizer=lambda p: torch.optim.Adagrad(p, lr=0.1)))
        made[-1].net.register_forward_hook(lambda net, args, output: kinds.append(output.dtype))
        return made[-1]

    monkeypatch.setattr(zoo, "ResNet18", make)
    monkeypatch.setattr(nn.Module, "compile", lambda net: compiled.append(net))
    step = cnn_steps.accelerator_step(2, 32, "cpu")
    net = made[0].net
    before = [p.clone() for p in net.parameters()]
    step()
    assert kinds == [torch.bfloat16]
    assert compiled == [net]
    assert net.training
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters() if p.ndim == 4)
    for p, start in zip(net.parameters(), before, strict=True):
        # Adagrad's first step is the rate times the gradient's sign.
        torch.testing.assert_close(p, start - 0.1 * p.grad / (p.grad.abs() + 1e-10))


def test_the_run_on_the_accelerator_has_the_models_own_optimizer():
    config = yaml.safe_load(Path(cnn.ROOT, "configs", cnn.RESNET18[1]).read_text())
    assert config["model"] == {"class_path": "zoo.ResNet18"}
    assert config["data"]["init_args"]["image_size"] == cnn.IMAGE_SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak in Linux's way")
def test_memory_is_what_the_steps_need(monkeypatch, tmp_path):
    """An earlier, higher peak is forgotten, and what the steps take is counted."""
    torch.zeros(300_000_000, dtype=torch.uint8)
    before = cnn_steps.peak_bytes()
    cnn_steps.forget_peak()
    assert cnn_steps.peak_bytes() < before - 200e6

    torch.zeros(300_000_000, dtype=torch.uint8)
    asked = []

    def make_steps(name, sides, batch):
        asked.append((name, sides, batch.image.shape, len(batch.label)))
        return {side: lambda: torch.zeros(100_000_000, dtype=torch.uint8) for side in sides}

    monkeypatch.setattr(cnn_steps, "make_steps", make_steps)
    flags = ["resnet18", "--sides", "zoo", "--batch_size", "3", "--image_size", "8", "--warmup", "1"]
    monkeypatch.setattr(sys, "argv", ["", *flags, "--steps", "2", "--output", str(tmp_path / "result.json")])
    cnn_steps.main()
    result = json.loads((tmp_path / "result.json").read_text())
    assert asked == [("resnet18", ["zoo"], (3, 3, 8, 8), 3)]
    assert list(result["seconds"]) == ["zoo"]
    assert len(result["seconds"]["zoo"]) == 2
    assert 90e6 < result["grown_bytes"] < 200e6


# Runs, with children that only write results

GIVEN = Namespace(
    **{"threads": 1, "data": Path("/data"), "batch_size": 8, "image_size": 96, "steps": 5},
    **{"run_batch_size": 128, "run_steps": 10, "accelerator_steps": 300, "repetitions": 2},
    **{"only": ["resnet18", "vgg11"], "max_parameters": 50e6},
)


@pytest.fixture
def children(monkeypatch):
    """Commands of the children; each has 1,280 images in 2 s, or steps of 1 s for the zoo and 2 s beside."""
    commands = []

    def run_child(command, *, threads, folder, data_dir):
        assert threads == 1
        assert data_dir == Path("/data")
        commands.append(command)
        if "cnn_steps.py" in command[1]:
            sides = command[command.index("--sides") + 1 :][:1] if "--sides" in command else cnn_steps.SIDES
            seconds = {side: [1.0 + (side != "zoo")] * 5 for side in sides}
            grown = 30_000_000 if "zoo" in sides else 40_000_000
            result = {"seconds": seconds, "grown_bytes": grown if len(sides) == 1 else None}
            if command[2] == "accelerator":
                result = {"seconds": 0.1}
        else:
            result = {"images": 1280, "seconds": 2.0}
        path = folder / "fit" / "version_0" / "step_clock.json"
        if "--output" in command:
            path = Path(command[command.index("--output") + 1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result))

    monkeypatch.setattr(cnn, "run_child", run_child)
    return commands


def value(command, flag):
    return command[command.index(flag) + 1]


def test_steps_are_timed_together_and_measured_apart(children):
    steps = cnn.measure_steps("resnet18", GIVEN)
    assert steps == Steps([1.0] * 5, [2.0] * 5, 30_000_000, 40_000_000)
    assert ["--sides" in command for command in children] == [False, True, True]
    for command in children:
        assert command[2] == "resnet18"
        assert value(command, "--batch_size") == "8"
        assert value(command, "--image_size") == "96"
    assert value(children[0], "--steps") == "5"


def test_large_networks_are_left_out_with_a_line(children, capsys):
    cnn.compare_steps(GIVEN)
    out = capsys.readouterr().out
    assert "vgg11: left out, 132,863,336 parameters; see --max_parameters" in out
    assert "| resnet18 | 1,000 (1,000-1,000) | 2,000 (2,000-2,000) | 0.500 (<= 1.03: reached)" in out
    assert len(children) == 3


@pytest.mark.parametrize(
    ("on_accelerator", "overlay", "warmup", "steps"), [(False, "cpu", 3, 13), (True, "gpu", 20, 320)]
)
def test_a_run_of_the_command_line(children, on_accelerator, overlay, warmup, steps):
    assert cnn.measure_run("zoo", GIVEN, on_accelerator=on_accelerator) == 640
    (command,) = children
    assert command[1:3] == [str(cnn.ROOT / "cli.py"), "fit"]
    assert ("--config", f"trainer/{overlay}_bf16.yaml") in itertools.pairwise(command)
    assert value(command, "--data.batch_size") == "128"
    assert value(command, "--trainer.limit_train_batches") == str(steps)
    assert f"--trainer.callbacks.warmup={warmup}" in command
    assert ("--compile" in command) == on_accelerator


def test_both_packages_take_turns(children, monkeypatch, capsys, tmp_path):
    unpacked = []
    monkeypatch.setattr(cnn, "D2L_PYTHON", tmp_path)
    monkeypatch.setattr(cnn, "unpack_for_d2l", lambda data, folder: unpacked.append((data, folder.name)))
    cnn.compare_d2l(GIVEN)
    assert ["d2l_loop.py" in command[1] for command in children] == [False, True, False, True]
    assert unpacked == [(Path("/data"), "data")] * 2
    for command in children[1::2]:
        assert command[0] == str(tmp_path)
        assert [value(command, f) for f in ("--steps", "--batch_size", "--image_size")] == ["10", "128", "96"]
    assert "| 640 (640-640) | 640 (640-640) | 1.00 (>= 1.8: MISSED) |" in capsys.readouterr().out


def test_the_book_is_not_measured_without_its_package(children, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cnn, "D2L_PYTHON", tmp_path / "missing")
    cnn.compare_d2l(GIVEN)
    assert len(children) == 2
    assert "d2l: not measured; `python benchmarks/setup_d2l.py`" in capsys.readouterr().out


@pytest.mark.parametrize("there", [True, False])
def test_the_accelerator_is_measured_where_there_is_one(children, monkeypatch, capsys, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "gpu")
    cnn.measure_accelerator(GIVEN)
    out = capsys.readouterr().out
    if there:  # 1,280 images a second in the bare loop, half of that through the command line
        assert "| gpu | 640 (640-640) | 1,280 (1,280-1,280) | 0.500 (<= 0.05: MISSED) |" in out
        assert [command[2] for command in children] == ["fit", "accelerator"] * 2
        assert value(children[1], "--warmup") == "20"
        assert value(children[1], "--steps") == "300"
    else:
        assert out == "accelerator: not measured; there is none\n"
        assert children == []


def test_the_parts_that_are_asked_for_run(monkeypatch):
    ran = []
    monkeypatch.setattr(cnn, "PARTS", {"steps": ran.append, "d2l": None, "accelerator": None})
    flags = ["--part", "steps", "--max_parameters", "inf", "--data", "somewhere", "--only", "vgg11"]
    monkeypatch.setattr(sys, "argv", ["", *flags])
    cnn.main()
    (given,) = ran
    assert given.max_parameters == float("inf")
    assert given.only == ["vgg11"]
    assert given.data == Path.cwd() / "somewhere"


@pytest.mark.parametrize("warmup", [1, 3])
def test_step_clock_starts_after_the_warm_up(tmp_path, monkeypatch, warmup):
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    trainer = SimpleNamespace(num_training_batches=5, default_root_dir=str(tmp_path))
    watch = clock.StepClock(warmup)
    for i in range(5):
        now[0] += 100 if i < warmup else 2
        watch.on_train_batch_end(trainer, None, None, (torch.zeros(7),), i)
    written = json.loads((tmp_path / "step_clock.json").read_text())
    assert written == {"images": 7 * (5 - warmup), "seconds": 2 * (5 - warmup)}
