"""The task bases: means over examples, optimizers and schedules, lost runs, saved arguments."""

import functools
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn

import zoo
from datamodules.interface.batches import ClassificationBatch, ImageBatch, MultiLabelBatch, RegressionBatch
from datamodules.loaders import BatchSampler, TensorLoader
from zoo.tasks import BinaryClassifier, Classifier, MultiLabelClassifier, Task


def loader(batch: Any, batch_size: int, *, shuffle: bool = False) -> TensorLoader:
    return TensorLoader(batch, BatchSampler(len(batch[0]), batch_size, shuffle=shuffle))


def fit(model: Task, batch: Any, batch_size: int, *, val: Any = None, **options: Any) -> L.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in options.get("callbacks", [])),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 1,
    }
    trainer = L.Trainer(**{**defaults, **options})
    trainer.fit(model, loader(batch, batch_size), loader(batch if val is None else val, batch_size))
    return trainer


def frozen() -> Any:
    return lambda p: torch.optim.SGD(p, lr=0.0)


def images(examples: int = 7, num_classes: int = 4) -> ImageBatch:
    return ImageBatch(torch.rand(examples, 1, 6, 6), torch.arange(examples) % num_classes)


def softmax(**arguments: Any) -> zoo.SoftmaxRegression:
    return zoo.SoftmaxRegression(image_size=6, num_classes=4, **arguments)


# Means


def test_e15_epoch_means_are_over_all_examples_with_an_uneven_last_batch() -> None:
    """A mean of the batches' means would weigh the one example of the last batch as much as three."""
    model = softmax(optimizer=frozen())
    batch = images()
    metrics = fit(model, batch, 3).callback_metrics
    logits = model(batch.image)
    for stage in ("train", "val"):
        assert metrics[f"{stage}/loss"].item() == pytest.approx(
            F.cross_entropy(logits, batch.label).item(), rel=1e-6
        )
        assert metrics[f"{stage}/acc"].item() == pytest.approx(
            (logits.argmax(1) == batch.label).float().mean().item()
        )
    batch_means = [F.cross_entropy(logits[i : i + 3], batch.label[i : i + 3]) for i in (0, 3, 6)]
    assert torch.stack(batch_means).mean().item() != pytest.approx(metrics["train/loss"].item(), rel=1e-4)


class StepLog(Logger):
    """Keeps what is logged at each step."""

    name, version = "steps", 0

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "train/loss_step" in metrics:
            self.rows.append((step, metrics["train/loss_step"]))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("every", [1, 3, 5])
def test_each_logged_mean_is_over_all_batches_since_the_last(every: int, accumulate: int) -> None:
    """Also where several batches make a step, and where an epoch ends in between."""
    model = softmax(optimizer=frozen())
    batch = images(12)
    log = StepLog()
    fit(
        model,
        batch,
        1,
        logger=log,
        max_epochs=2,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=every,
    )
    losses = F.cross_entropy(model(batch.image), batch.label, reduction="none").detach()
    chunks = torch.cat([losses, losses]).split(every * accumulate)
    expected = [chunk.mean().item() for chunk in chunks if len(chunk) == every * accumulate]
    assert [step for step, _ in log.rows] == [every * (i + 1) for i in range(len(expected))]
    assert [mean for _, mean in log.rows] == pytest.approx(expected, rel=1e-6)


def test_regression_means() -> None:
    model = zoo.LinearRegression(in_features=2, out_features=3, loss="half_mse", optimizer=frozen())
    batch = RegressionBatch(torch.randn(7, 2), torch.randn(7, 3))
    metrics = fit(model, batch, 3).callback_metrics
    error = (model(batch.features) - batch.target).detach()
    assert metrics["val/loss"].item() == pytest.approx(error.square().mean().item() / 2, rel=1e-6)
    assert metrics["val/mse"].item() == pytest.approx(error.square().mean().item(), rel=1e-6)
    assert metrics["val/mae"].item() == pytest.approx(error.abs().mean().item(), rel=1e-6)


def test_top5_accuracy_is_logged_where_there_are_more_than_five_classes() -> None:
    model = zoo.SoftmaxRegression(image_size=2, num_classes=8, optimizer=frozen())
    batch = ImageBatch(torch.randn(40, 1, 2, 2), torch.arange(40) % 8)
    metrics = fit(model, batch, 16).callback_metrics
    top5 = model(batch.image).argsort(dim=1, descending=True)[:, :5]
    expected = (top5 == batch.label[:, None]).any(dim=1).float().mean().item()
    assert 0 < expected < 1
    assert metrics["val/acc_top5"].item() == pytest.approx(expected)
    assert metrics["val/acc_top5"] > metrics["val/acc"]
    assert "val/acc_top5" not in fit(softmax(), images(), 3).callback_metrics


def test_soft_labels_give_their_own_loss_and_count_the_likeliest_class() -> None:
    model = softmax(optimizer=frozen())
    probability = torch.rand(7, 4).softmax(1)
    batch = ImageBatch(images().image, probability)
    metrics = fit(model, batch, 3).callback_metrics
    logits = model(batch.image)
    expected = -(probability * logits.log_softmax(1)).sum(1).mean().item()
    assert metrics["train/loss"].item() == pytest.approx(expected, rel=1e-6)
    right = (logits.argmax(1) == probability.argmax(1)).float().mean().item()
    assert metrics["val/acc"].item() == pytest.approx(right)


class Binary(BinaryClassifier):
    def __init__(self, *, optimizer: Any = lambda p: torch.optim.SGD(p, lr=0.1)) -> None:
        super().__init__(optimizer=optimizer)
        self.net = nn.Linear(3, 1)
        self.example_input_array = torch.zeros(2, 3)


class Tags(MultiLabelClassifier):
    def __init__(self, *, optimizer: Any = lambda p: torch.optim.SGD(p, lr=0.1)) -> None:
        super().__init__(optimizer=optimizer)
        self.net = nn.Linear(3, 4)
        self.example_input_array = torch.zeros(2, 3)


def test_binary_classifier() -> None:
    model = Binary(optimizer=frozen())
    batch = ClassificationBatch(torch.randn(20, 3), torch.arange(20) % 2)
    metrics = fit(model, batch, 8).callback_metrics
    probability = model.predict_step(batch, 0)[:, 0]
    expected = -torch.where(batch.label == 1, probability, 1 - probability).log().mean().item()
    assert metrics["val/loss"].item() == pytest.approx(expected, rel=1e-5)
    assert metrics["val/acc"].item() == pytest.approx(
        ((probability > 0.5) == batch.label).float().mean().item()
    )
    assert model.measure(model.example_batch(5))[2] == 5


def test_multi_label_classifier() -> None:
    model = Tags(optimizer=frozen())
    batch = MultiLabelBatch(torch.randn(7, 3), (torch.rand(7, 4) > 0.5).float())
    metrics = fit(model, batch, 3).callback_metrics
    probability = model.predict_step(batch, 0)
    expected = -torch.where(batch.labels == 1, probability, 1 - probability).log().mean().item()
    assert metrics["val/loss"].item() == pytest.approx(expected, rel=1e-5)
    right = ((probability > 0.5) == (batch.labels == 1)).float().mean().item()
    assert metrics["val/acc"].item() == pytest.approx(right)
    assert model.example_batch(5).labels.shape == (5, 4)


def test_predictions_are_probabilities() -> None:
    probability = softmax().predict_step(images(), 0)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(7))


# Optimizers and schedules


def test_weight_decay_never_touches_biases() -> None:
    model = zoo.LeNet(image_size=12, optimizer=lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3))
    weights, vectors = model.configure_optimizers().param_groups
    assert weights["weight_decay"] == 0.3
    assert vectors["weight_decay"] == 0
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in weights["params"]} == {"weight"}
    assert {names[id(p)].rpartition(".")[2] for p in vectors["params"]} == {"bias"}
    assert len(weights["params"]) + len(vectors["params"]) == len(names)


def test_frozen_parameters_are_left_out() -> None:
    model = softmax()
    model.net[1].bias.requires_grad_(False)
    assert [len(group["params"]) for group in model.configure_optimizers().param_groups] == [1]


def test_lbfgs_gets_plain_parameters_and_trains() -> None:
    model = softmax(optimizer=lambda p: torch.optim.LBFGS(p, lr=0.5))
    batch = images()
    before = model.measure(batch)[0].item()
    fit(model, batch, 7, max_epochs=3)
    assert model.measure(batch)[0].item() < before / 2


def test_reduce_on_plateau_watches_the_validation_loss() -> None:
    model = softmax(
        optimizer=frozen(),
        lr_scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0),
    )
    config = model.configure_optimizers()["lr_scheduler"]
    assert config["monitor"] == "val/loss"
    model = softmax(
        optimizer=lambda p: torch.optim.SGD(p, lr=1e-12),
        lr_scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, eps=0.0),
        lr_scheduler_config={"monitor": "val/acc"},
    )
    trainer = fit(model, images(), 3, max_epochs=3)
    assert trainer.lr_scheduler_configs[0].monitor == "val/acc"
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.25e-12)


def test_schedule_moves_every_step_or_every_epoch() -> None:
    for config, expected in (({"interval": "step"}, 0.1 * 0.5**6), (None, 0.1 * 0.5**2)):
        model = softmax(
            lr_scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.5),
            lr_scheduler_config=config,
        )
        trainer = fit(model, images(), 3, max_epochs=2)
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(expected)


def test_unknown_schedule_option_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lr_scheduler_config has \['intervall'\], but may only have"):
        softmax(lr_scheduler_config={"intervall": "step"})


# Lost runs


def spoiled_at(example: int, examples: int = 12) -> ImageBatch:
    batch = images(examples)
    batch.image[example] = torch.nan
    return batch


@pytest.mark.parametrize("log_every_n_steps", [1, 2, 50])
@pytest.mark.parametrize(("accumulate", "step"), [(1, 3), (2, 2)])
def test_nan_loss_stops_the_run_and_names_the_step(
    log_every_n_steps: int, accumulate: int, step: int
) -> None:
    """The third batch of two (batch 2) is part of step 3, or of step 2 when two batches make a step."""
    message = rf"not finite at step {step} \(epoch 0, batch 2\).*Lower the learning rate"
    with pytest.raises(zoo.NonFiniteLossError, match=message):
        fit(
            softmax(),
            spoiled_at(5),
            2,
            val=images(),
            log_every_n_steps=log_every_n_steps,
            accumulate_grad_batches=accumulate,
        )


@pytest.mark.parametrize("when", ["validation", "steps", "epoch"])
def test_last_good_checkpoint_is_kept(when: str, tmp_path: Path) -> None:
    """The first epoch is fine and saved; the second is lost and must not be saved over it."""
    options: dict[str, Any] = {
        "validation": {"save_on_train_epoch_end": False},
        "steps": {"every_n_train_steps": 1},
        "epoch": {"save_on_train_epoch_end": True},
    }[when]
    checkpoint = ModelCheckpoint(tmp_path, filename="model", enable_version_counter=False, **options)

    class Spoil(L.Callback):
        def on_train_batch_start(
            self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int
        ) -> None:
            if trainer.current_epoch == 1:
                batch.image.fill_(torch.nan)

    with pytest.raises(zoo.NonFiniteLossError, match="epoch 1, batch 0"):
        fit(softmax(), images(), 3, max_epochs=3, callbacks=[Spoil(), checkpoint], log_every_n_steps=1000)
    saved = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    assert saved["epoch"] == 0


def test_infinite_loss_counts_as_lost() -> None:
    batch = RegressionBatch(torch.ones(4, 2), torch.full((4, 1), 1e38))
    with pytest.raises(zoo.NonFiniteLossError):
        fit(zoo.LinearRegression(in_features=2), batch, 2)


# Saved arguments


def build(p: Any) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(p, lr=0.25)
    optimizer.defaults["odd"] = True
    return optimizer


def test_callable_that_cannot_be_saved_warns_once_and_is_asked_for_on_resume(tmp_path: Path) -> None:
    model = softmax(optimizer=build)
    trainer = fit(model, images(), 3)
    with pytest.warns(UserWarning, match=r"optimizer=build cannot be written .* must give optimizer again"):
        trainer.save_checkpoint(tmp_path / "model.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.save_checkpoint(tmp_path / "again.ckpt")
    loaded = zoo.SoftmaxRegression.load_from_checkpoint(tmp_path / "model.ckpt")
    torch.testing.assert_close(loaded(images().image).shape, (7, 4))
    with pytest.raises(ValueError, match=r"made with optimizer=build, .* give it again"):
        loaded.configure_optimizers()
    given = zoo.SoftmaxRegression.load_from_checkpoint(tmp_path / "model.ckpt", optimizer=frozen())
    assert given.configure_optimizers().defaults["lr"] == 0


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.9)),
        functools.partial(torch.optim.AdamW, lr=0.01, betas=(0.8, 0.9)),
        {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "betas": [0.8, 0.9]}},
    ],
    ids=["lambda", "partial", "spec"],
)
def test_optimizer_is_saved_as_class_path_and_arguments(optimizer: Any) -> None:
    spec = softmax(optimizer=optimizer).hparams["optimizer"]
    assert spec["class_path"] == "torch.optim.AdamW"
    assert spec["init_args"]["lr"] == 0.01
    assert list(spec["init_args"]["betas"]) == [0.8, 0.9]
    rebuilt = softmax(optimizer=spec).configure_optimizers()
    assert isinstance(rebuilt, torch.optim.AdamW)
    assert tuple(rebuilt.defaults["betas"]) == (0.8, 0.9)


# Speed


def test_no_step_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the logs, training reads no value of a tensor back: each reading would be a wait on a GPU."""
    reads: list[str] = []

    class Watch(L.Callback):
        watching = False

        def on_train_batch_start(self, *args: Any) -> None:
            self.watching = True

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            self.watching = False

    watch = Watch()

    def counted(name: str) -> Any:
        original = getattr(Tensor, name)

        def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if watch.watching:
                reads.append(name)
            return original(self, *args, **kwargs)

        return method

    names = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")
    for name in names:
        monkeypatch.setattr(Tensor, name, counted(name))
    fit(
        zoo.LeNet(image_size=6 * 2),
        ImageBatch(torch.rand(40, 1, 12, 12), torch.arange(40) % 10),
        4,
        callbacks=[watch],
    )
    assert reads == []

    class Waits(zoo.SoftmaxRegression):
        def loss(self, logits: Tensor, label: Tensor) -> Tensor:
            loss = super().loss(logits, label)
            loss.item()
            return loss

    fit(Waits(image_size=6, num_classes=4), images(), 3, callbacks=[watch])
    assert reads == ["item"] * 3


def test_a_base_without_measure_says_so() -> None:
    class Nothing(Task):
        def __init__(self) -> None:
            super().__init__(optimizer=frozen())

    with pytest.raises(NotImplementedError, match=r"Nothing must define measure\(\)"):
        Nothing().measure(None)
    assert issubclass(zoo.LeNet, Classifier)
