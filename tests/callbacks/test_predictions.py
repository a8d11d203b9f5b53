from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import callbacks.predictions as module
from callbacks import Predictions
from datamodules import SyntheticRegression
from datamodules.interface.batches import ImageBatch
from tests.callbacks.conftest import MakeTrainer, Spoil, digits, lenet
from zoo import LinearRegression


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is drawn, by file name: (title, labels, predicted, shown)."""
    pictures: dict[str, Any] = {}
    original = module.draw_classified_images

    def watch(shown: Any, labels: Any, predicted: Any, names: Any, title: str) -> Any:
        figure = original(shown, labels, predicted, names, title)
        pictures[title.split()[0]] = (title, labels, predicted, shown)
        return figure

    monkeypatch.setattr(module, "draw_classified_images", watch)
    return pictures


def test_pictures_of_validation_and_test_agree_with_the_metrics(
    make_trainer: MakeTrainer, tmp_path: Path, drawn: dict[str, Any]
) -> None:
    trainer = make_trainer(Predictions(), Spoil())
    model = lenet()
    trainer.fit(model, datamodule=digits())
    title, labels, predicted, shown = drawn["validation"]
    right = int((labels == predicted).sum())
    assert right / 200 == pytest.approx(float(trainer.checkpoint_callback.best_model_score))
    epoch = int(trainer.checkpoint_callback.best_model_path.split("epoch=")[1].split("-")[0]) + 1
    assert title.startswith(f"validation split, best checkpoint (epoch {epoch}): {right} of 200 right")
    wrong = 200 - right
    assert [s.label != s.predicted for s in shown] == [True] * min(wrong, 24) + [False] * (
        30 - min(wrong, 24)
    )

    trainer.test(model, datamodule=digits(), ckpt_path="best", verbose=False)
    title, labels, predicted, _ = drawn["test"]
    assert len(labels) == 300
    assert float((labels == predicted).float().mean()) == pytest.approx(
        float(trainer.callback_metrics["test/acc"])
    )
    for name in ("predictions.png", "predictions_test.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size[0] > 1000


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_the_weights_are_as_trained_afterwards(make_trainer: MakeTrainer, drawn: dict[str, Any]) -> None:
    with_picture, without = lenet(), lenet()
    without.load_state_dict(with_picture.state_dict())
    torch.manual_seed(1)
    make_trainer(Predictions(), Spoil()).fit(with_picture, datamodule=digits())
    torch.manual_seed(1)
    make_trainer(Spoil(), logger=False).fit(without, datamodule=digits())
    assert drawn
    for name, value in without.state_dict().items():
        assert torch.equal(value, with_picture.state_dict()[name]), name


def test_without_a_best_checkpoint_the_title_says_so(
    make_trainer: MakeTrainer, drawn: dict[str, Any]
) -> None:
    make_trainer(callbacks=[Predictions()], enable_checkpointing=False).fit(lenet(), datamodule=digits())
    assert drawn["validation"][0].startswith("validation split, weights after the last step: ")


def test_validation_images_are_not_augmented(make_trainer: MakeTrainer, drawn: dict[str, Any]) -> None:
    class Augmented(type(digits())):  # type: ignore[misc]
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            batch = super().on_after_batch_transfer(batch, dataloader_idx)
            if self.trainer.training and isinstance(batch, ImageBatch):
                return batch._replace(image=torch.zeros_like(batch.image))
            return batch

    make_trainer(Predictions()).fit(lenet(), datamodule=Augmented(image_size=12))
    assert all(shown.image.max() > 0 for shown in drawn["validation"][3])


def test_labels_given_as_probabilities_count_as_their_most_likely_class() -> None:
    seen = module._Classified()
    logits = torch.tensor([[3.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    seen.add(ImageBatch(torch.rand(2, 1, 4, 4), torch.tensor([[0.9, 0.0, 0.1], [0.2, 0.8, 0.0]])), logits)
    assert (seen.labels[0].tolist(), seen.predicted[0].tolist()) == ([0, 1], [0, 2])
    assert [(s.label, s.predicted) for s in seen.wrong] == [(1, 2)]


def test_many_classes_and_colour_can_be_drawn() -> None:
    labels = torch.arange(100)
    shown = [module.Shown(torch.randn(3, 8, 8), 1, 2)]
    figure = module.draw_classified_images(
        shown, labels, labels, [f"a long class name {i}" for i in labels], "t"
    )
    assert len(figure.axes) > 0


def test_a_test_leaves_no_hook(make_trainer: MakeTrainer) -> None:
    model = lenet()
    make_trainer(Predictions()).test(model, datamodule=digits(), verbose=False)
    assert not model._forward_hooks


def test_regression_is_predicted_against_true(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    original = module.draw_regression
    monkeypatch.setattr(module, "draw_regression", lambda *args: titles.append(args[2]) or original(*args))
    trainer = make_trainer(callbacks=[Predictions()], enable_checkpointing=False)
    trainer.fit(LinearRegression(in_features=2), datamodule=SyntheticRegression())
    assert titles == ["validation split, weights after the last step"]
    assert (tmp_path / "predictions.png").is_file()


def test_a_regression_picture_shows_each_output() -> None:
    figure = module.draw_regression(torch.zeros(5, 2), torch.ones(5, 2), "t")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["output 0", "output 1", "perfect"]
    assert "root mean squared error 1" in axes.get_title()


def test_a_trial_of_a_few_batches_draws_nothing(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(Predictions(), fast_dev_run=True).fit(lenet(), datamodule=digits())
    assert not (tmp_path / "predictions.png").exists()
