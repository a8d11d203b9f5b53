from types import SimpleNamespace

import pytest
import torch

import zoo
from benchmarks import bare_loop, clock
from benchmarks.epoch import MODELS, Measurement, format_table


@pytest.mark.parametrize(
    ("name", "model_class"), [("softmax", zoo.SoftmaxRegression), ("mlp", zoo.MLP), ("lenet", zoo.LeNet)]
)
def test_bare_loop_trains_the_same_network(name, model_class):
    ours = model_class().net
    bare = bare_loop.NETWORKS[name]()
    bare.load_state_dict(dict(zip(bare.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(bare(images), ours(images))


def cells(table, row):
    return [cell.strip() for cell in table.splitlines()[row].strip("|").split("|")]


def test_table_takes_ratios_within_repetitions():
    # The ratio of the medians would be 30 / 4 = 7.5, and 60 / 30 = 2.
    measured = {
        ("softmax", "zoo"): [Measurement(s, 900) for s in (30, 16, 90)],
        ("softmax", "bare"): [Measurement(s, 750) for s in (60, 20, 108)],
        ("softmax", "d2l"): [Measurement(s, 999) for s in (2, 4, 10)],
    }
    row = dict(zip(*(cells(format_table(measured), i) for i in (0, 2)), strict=True))
    assert row["zoo, images/s"] == "30 (16-90)"
    assert row["zoo / d2l, speed"] == "9.00 (>= 8: reached)"
    assert row["zoo / bare, time"] == "1.25"
    assert row["zoo / bare, memory"] == "1.20 (<= 1.3: reached)"


def test_table_says_what_missed_and_what_was_not_measured():
    measured = {
        ("lenet", "zoo"): [Measurement(100, 1000)],
        ("lenet", "bare"): [Measurement(116, 700)],
    }
    row = dict(zip(*(cells(format_table(measured), i) for i in (0, 2)), strict=True))
    assert row["d2l, images/s"] == row["zoo / d2l, speed"] == "not measured"
    assert row["zoo / bare, time"] == f"1.16 (<= {MODELS['lenet'].times_bare}: MISSED)"
    assert row["zoo / bare, memory"] == "1.43 (<= 1.3: MISSED)"


def test_clock_leaves_out_the_first_epoch_and_validation(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    trainer = SimpleNamespace(current_epoch=0, default_root_dir=str(tmp_path))
    watch = clock.EpochClock()
    watch.on_validation_start(trainer, None)  # the sanity check
    now[0] += 100
    watch.on_validation_end(trainer, None)
    for trainer.current_epoch in range(3):
        watch.on_train_epoch_start(trainer, None)
        for batch_idx in range(2):
            now[0] += 1
            watch.on_train_batch_end(trainer, None, None, (torch.zeros(5),), batch_idx)
        watch.on_validation_start(trainer, None)
        now[0] += 50
        watch.on_validation_end(trainer, None)
        now[0] += 3  # a checkpoint
    watch.on_train_end(trainer, None)
    assert (tmp_path / "epoch_clock.json").read_text() == '{"images": 20, "seconds": 10.0}'
