import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import clock, cnn_steps
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
    assert cells["time"] == "1.00 (<= 1.03: reached)"
    assert cells["memory"] == "1.06 (<= 1.05: MISSED)"


def test_d2l_table():
    assert row(format_d2l([180, 100, 400], [90, 60, 100]))["zoo / d2l, speed"] == "2.00 (>= 1.8: reached)"
    cells = row(format_d2l([180], []))
    assert cells["d2l, images/s"] == cells["zoo / d2l, speed"] == "not measured"


def test_time_lost_is_a_share_of_the_run():
    # A batch of 100 takes 1 s in the bare loop and 1.25 s in the run, a fifth of it outside the step.
    assert row(format_accelerator("gpu", [80], [100]))["lost outside the step"] == "0.20 (<= 0.05: MISSED)"


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
