"""The task around the exact Gaussian process: losses of the splits, the book's run, its limits."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import zoo
from datamodules import SyntheticSines
from datamodules.interface.batches import RegressionBatch


def trainer(**options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


def batch(count: int, seed: int = 0) -> RegressionBatch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 2, generator=generator)
    return RegressionBatch(x, x[:, :1] - 0.5 * x[:, 1:])


def test_losses_are_those_of_the_split() -> None:
    """In training the marginal likelihood per example; else each target under its own prediction."""
    model, train, val = zoo.ExactGP(in_features=2), batch(8), batch(5, seed=1)
    loss, sums, examples = model.measure(train)
    expected = -model.net.log_marginal_likelihood(train.features, train.target[:, 0]) / 8
    torch.testing.assert_close(loss, expected)
    assert (sums, examples) == ({}, 8)

    model.eval()
    loss, sums, examples = model.measure(val)
    mean, variance = (column.detach() for column in model.net.predict(val.features)[::2])
    normal = torch.distributions.Normal(mean, variance.sqrt())
    torch.testing.assert_close(loss, -normal.log_prob(val.target[:, 0]).mean())
    torch.testing.assert_close(sums["mse"].float(), (mean - val.target[:, 0]).square().sum())
    assert examples == 5
    # What it predicts from are still the training examples.
    torch.testing.assert_close(model.net.train_inputs, train.features)


def test_the_books_run(tmp_path: Path) -> None:
    """Loss 1.000 at first and .344 later, lengthscale .472, noise .038: of a draw that is not ours."""
    model, data = zoo.ExactGP(), SyntheticSines(seed=1)
    losses = []

    class Losses(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            losses.append(outputs["loss"].item())

    run = trainer(
        max_epochs=50,
        precision="64-true",
        callbacks=[Losses()],
        log_every_n_steps=1,
        default_root_dir=tmp_path,
    )
    run.fit(model, data)
    assert model.net.train_inputs.dtype == torch.float64
    assert losses[0] == pytest.approx(1.0, abs=0.05)
    assert losses[40] == pytest.approx(0.344, abs=0.08)
    assert model.net.lengthscale.item() == pytest.approx(0.472, abs=0.08)
    assert model.net.noise.item() == pytest.approx(0.038, abs=0.03)
    [tested] = run.test(model, data, verbose=False)
    assert tested["test/mse"] < 0.03  # the function's own variance is .6
    predictions = torch.cat(run.predict(model, data))  # type: ignore[arg-type]
    assert predictions.shape == (500, 3)
    mean, variance, noisy_variance = predictions.T
    function = data.splits["test"].target[:, 0]  # type: ignore[union-attr]
    inside = (function - mean).abs() < 1.96 * noisy_variance.sqrt()
    assert inside.double().mean() > 0.9
    torch.testing.assert_close(noisy_variance - variance, model.net.noise.detach().expand(500))


def test_several_batches_or_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^data\.init_args\.batch_size makes 5 batches, but must be `full`"):
        trainer(max_epochs=1, log_every_n_steps=1).fit(zoo.ExactGP(), SyntheticSines(batch_size=10))
    model = zoo.ExactGP()
    model.trainer = type("TwoDevices", (), {"world_size": 2})()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^the number of devices is 2, but must be 1"):
        model.setup("fit")
    model.setup("test")


def test_targets_of_two_columns_are_refused() -> None:
    x = torch.rand(4, 1)
    with pytest.raises(ValueError, match=r"predicts \(4, 1\), but the data's targets are \(4, 2\)"):
        zoo.ExactGP().measure(RegressionBatch(x, torch.rand(4, 2)))


def test_checkpoint_has_the_examples(tmp_path: Path) -> None:
    model = zoo.ExactGP(in_features=2, kernel="matern32", mean="constant", ard=True)
    model.measure(batch(7))
    run = trainer(max_steps=1)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "gp.ckpt")
    loaded = zoo.ExactGP.load_from_checkpoint(tmp_path / "gp.ckpt").eval()
    new = batch(3, seed=2).features
    torch.testing.assert_close(loaded(new), model.eval()(new), atol=0, rtol=0)
    assert math.isfinite(loaded.measure(batch(3, seed=2))[0].item())
