from typing import Any

import pytest
import torch

from datamodules import SineWave
from datamodules.interface.batches import RegressionBatch
from datamodules.tabular.sine_wave import windows


def read(data: SineWave) -> dict[str, RegressionBatch]:
    data.setup()
    splits: dict[str, RegressionBatch] = {}
    for name, split in data.splits.items():
        assert isinstance(split, RegressionBatch)
        splits[name] = split
    return splits


def test_a_window_is_followed_by_its_target() -> None:
    features, target = windows(torch.tensor([3.0, 1, 4, 1, 5]), 2)
    assert features.tolist() == [[3, 1], [1, 4], [4, 1]]
    assert target.tolist() == [[4], [1], [5]]


def test_windows_are_copies() -> None:
    """Views would make checkpoints and worker processes carry the whole series, and share its memory."""
    series = torch.zeros(5)
    features, target = windows(series, 2)
    features += 1
    assert not series.any()
    assert features.is_contiguous()
    assert target.is_contiguous()


def test_the_wave_is_the_books() -> None:
    data = SineWave()
    time = torch.arange(1, 1001)
    noise = data.series - torch.sin(0.01 * time)
    assert abs(noise.mean().item()) < 4 * 0.2 / 1000**0.5
    assert noise.std().item() == pytest.approx(0.2, rel=0.1)
    clean = SineWave(noise=0.0).series
    assert clean[0].item() == pytest.approx(0.00999983, abs=1e-7)  # t = 1 comes first
    assert clean[156].item() == pytest.approx(1.0, abs=1e-6)  # t = 157, a quarter of a wave


def test_splits_follow_each_other_and_share_no_value() -> None:
    data = SineWave()
    splits = read(data)
    assert {name: tuple(split.features.shape) for name, split in splits.items()} == {
        "train": (600, 4),
        "val": (196, 4),
        "test": (192, 4),
    }
    values = [set(torch.cat(split, dim=1).flatten().tolist()) for split in splits.values()]
    assert [len(v) for v in values] == [604, 200, 196]  # windows and the tau values before the first target
    assert len(set.union(*values)) == 1000
    series = data.series
    for first, split in zip((0, 604, 804), splits.values(), strict=True):
        assert torch.equal(split.features[0], series[first : first + 4])
        assert split.target[0].item() == series[first + 4].item()
        assert torch.equal(split.target[:-1, 0], split.features[1:, -1])
    assert data.train_end == 604
    assert splits["train"].target[-1].item() == series[data.train_end - 1].item()


def test_another_tau_gives_other_windows() -> None:
    data = SineWave(tau=7, num_points=100, num_train=50, num_val=10)
    splits = read(data)
    assert data.in_features == 7
    assert [len(split.target) for split in splits.values()] == [50, 10, 100 - 57 - 17 - 7]


def test_loader_gives_the_books_batches() -> None:
    data = SineWave()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, RegressionBatch)
    assert (batch.features.shape, batch.target.shape) == ((16, 4), (16, 1))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"tau": 0}, "tau is 0, but must be at least 1"),
        ({"noise": -1.0}, "noise is -1.0, but must be at least 0"),
        ({"num_train": 0}, "num_train is 0, but must be at least 1"),
        ({"num_val": 0}, "num_val is 0, but must be at least 1"),
        ({"num_points": 808}, "num_points is 808, but must be at least 809"),  # 600 + 196 + 1 + 3 * 4
    ],
)
def test_bad_values_are_refused(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SineWave(**argument)


def test_the_shortest_series_has_a_test_window() -> None:
    assert len(read(SineWave(num_points=809))["test"].target) == 1
