from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

import callbacks.multi_step as module
from callbacks import MultiStepPredictions
from datamodules import SineWave, SyntheticRegression
from zoo import AutoRegressive, LinearRegression


class Spoil(L.Callback):
    """Makes the network useless after its first epoch, so that the best weights are not the last."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.current_epoch > 0:
            torch.nn.init.constant_(pl_module.get_parameter("net.weight"), 9.0)


def fit(folder: Path, model: L.LightningModule, data: L.LightningDataModule, **options: Any) -> L.Trainer:
    checkpoint = ModelCheckpoint(monitor="val/loss")
    trainer = L.Trainer(
        **{
            **{"accelerator": "cpu", "max_epochs": 2, "logger": False, "default_root_dir": folder},
            **{"enable_progress_bar": False, "enable_model_summary": False},
            "callbacks": [MultiStepPredictions(), Spoil(), checkpoint],
            **options,
        }
    )
    trainer.fit(model, datamodule=data)
    return trainer


def test_the_best_weights_predict_and_the_model_stays_as_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[SimpleNamespace] = []
    original = module.draw_multi_step

    def watch(model: AutoRegressive, series: torch.Tensor, train_end: int, **options: Any) -> Any:
        weight = model.net.weight.detach().clone()
        drawn.append(SimpleNamespace(weight=weight, series=series, train_end=train_end, **options))
        return original(model, series, train_end, **options)

    monkeypatch.setattr(module, "draw_multi_step", watch)
    model, data = AutoRegressive(), SineWave()
    trainer = fit(tmp_path, model, data)
    (seen,) = drawn
    stored = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert torch.equal(seen.weight, stored["state_dict"]["net.weight"])
    assert seen.title == "best checkpoint (epoch 1)"
    assert torch.equal(seen.series, data.series)
    assert seen.train_end == 604
    assert (model.net.weight == 9).all()
    with Image.open(tmp_path / "multi_step.png") as picture:
        assert picture.size == (1210, 770)


def test_lines_are_the_predictions_at_their_times() -> None:
    torch.manual_seed(0)
    model, data = AutoRegressive(), SineWave()
    series = data.series
    figure = module.draw_multi_step(model, series, 604, title="t")
    lines = [{str(line.get_label()): line.get_data() for line in axes.lines} for axes in figure.axes]
    times, values = lines[0]["1-step predictions"]
    assert (times[0], times[-1]) == (5, 1000)  # four values come before the first prediction
    np.testing.assert_allclose(values, model.k_step(series, 1))
    times, values = lines[0]["predictions fed back"]
    assert (times[0], times[-1]) == (605, 1000)
    np.testing.assert_allclose(values, model.predict_ahead(series[:604], 396))
    for k in (1, 4, 16, 64):
        ((label, (times, values)),) = [
            item for item in lines[1].items() if item[0].startswith(f"{k}-step predictions")
        ]
        assert (times[0], times[-1]) == (4 + k, 1000)
        np.testing.assert_allclose(values, model.k_step(series, k))
        error = (model.k_step(series, k) - series[3 + k :]).square().mean()
        assert label.endswith(f" {error:.3f}")
    assert all(tuple(axes["end of training"][0]) == (604, 604) for axes in lines)


def test_a_short_series_is_drawn_as_far_as_it_goes() -> None:
    model, series = AutoRegressive(), torch.arange(20.0)
    labels = [str(line.get_label()) for line in module.draw_multi_step(model, series, 10).axes[1].lines]
    assert [label.split()[0] for label in labels] == ["series", "end", "1-step", "4-step", "16-step"]


def test_double_precision_is_drawn_too(tmp_path: Path) -> None:
    fit(tmp_path, AutoRegressive(), SineWave(), precision="64-true")
    assert (tmp_path / "multi_step.png").exists()


def test_other_models_and_data_and_trials_draw_nothing(tmp_path: Path) -> None:
    fit(tmp_path / "model", LinearRegression(in_features=4), SineWave())
    fit(tmp_path / "data", AutoRegressive(in_features=2), SyntheticRegression(w=[1.0, 2.0]))
    fit(tmp_path / "trial", AutoRegressive(), SineWave(), fast_dev_run=True)
    assert not list(tmp_path.rglob("multi_step.png"))
