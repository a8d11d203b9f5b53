from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from datamodules.interface.batches import Batch, ImageBatch, RegressionBatch
from datamodules.interface.errors import DataError
from datamodules.loaders import BatchSampler, TensorLoader, WorkerLoader
from datamodules.vision.base import ImageDataModule
from tests.datamodules.numbers import Numbers
from zoo import SoftmaxRegression

# The sampler


def indices(sampler: BatchSampler) -> list[list[int]]:
    return [batch.tolist() for batch in sampler.batches()]


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


def test_an_epoch_holds_each_example_once() -> None:
    batches = indices(BatchSampler(10, 4, shuffle=True))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(flat(batches)) == list(range(10))
    assert flat(batches) != list(range(10))


def test_evaluation_is_in_order() -> None:
    assert indices(BatchSampler(5, 2)) == [[0, 1], [2, 3], [4]]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = BatchSampler(50, 50, shuffle=True, seed=3)
    again = BatchSampler(50, 50, shuffle=True, seed=3)
    torch.rand(1)  # another state of the global generator
    assert indices(first) == indices(again)
    assert indices(first) != indices(BatchSampler(50, 50, shuffle=True, seed=4))
    again.set_epoch(1)
    assert indices(first) != indices(again)
    again.set_epoch(0)
    assert indices(first) == indices(again)


def test_full_is_one_batch_of_everything() -> None:
    assert [len(batch) for batch in indices(BatchSampler(7, "full", shuffle=True))] == [7]


@pytest.mark.parametrize(("size", "world_size"), [(10, 3), (11, 4), (12, 4), (2, 3)])
@pytest.mark.parametrize("batch_size", [2, "full"])
def test_ranks_share_the_data_without_duplicates(size: int, world_size: int, batch_size: Any) -> None:
    def shares(*, shuffle: bool) -> list[list[int]]:
        samplers = [
            BatchSampler(size, batch_size, shuffle=shuffle, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        assert [len(s) for s in samplers] == [len(indices(s)) for s in samplers]
        return [flat(indices(sampler)) for sampler in samplers]

    training, evaluation = shares(shuffle=True), shares(shuffle=False)
    assert len(set(flat(training))) == len(flat(training))
    assert {len(share) for share in training} == {size // world_size}
    assert sorted(flat(evaluation)) == list(range(size))


def test_what_equal_shares_leave_out_differs_between_epochs() -> None:
    left_out = set()
    for epoch in range(60):
        samplers = [BatchSampler(7, 7, shuffle=True, rank=rank, world_size=2) for rank in range(2)]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        left_out |= set(range(7)) - set(flat([flat(indices(sampler)) for sampler in samplers]))
    assert left_out == set(range(7))


# The loaders


Loader = TensorLoader | WorkerLoader


def make_loader(kind: str, *, size: int = 22) -> Loader:
    sampler = BatchSampler(size, 4, shuffle=True, seed=1)
    if kind == "tensor":
        return TensorLoader(
            RegressionBatch(torch.arange(size).float()[:, None], torch.zeros(size, 1)), sampler
        )
    workers = {"worker, 0": 0, "worker, 2": 2}[kind]
    return WorkerLoader(Numbers(list(range(size))), sampler, RegressionBatch, num_workers=workers)


KINDS = ["tensor", "worker, 0", "worker, 2"]


def numbers(batch: Batch) -> list[int]:
    assert isinstance(batch, RegressionBatch)
    return [int(x) for x in batch.features.flatten()]


def epochs(loader: Loader, count: int) -> list[list[list[int]]]:
    return [[numbers(batch) for batch in loader] for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_loader_gives_the_samplers_batches_and_a_new_order_each_epoch(kind: str) -> None:
    sampler = BatchSampler(22, 4, shuffle=True, seed=1)
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected.append(indices(sampler))
    assert epochs(make_loader(kind), 3) == expected
    assert len(make_loader(kind)) == 6


@pytest.mark.parametrize(
    ("kind", "delivered"),
    [(kind, delivered) for kind in ("tensor", "worker, 0") for delivered in (0, 1, 4, 6)]
    + [("worker, 2", 2)],
)
def test_a_resumed_loader_gives_the_remaining_batches_and_then_the_next_epochs(
    kind: str, delivered: int
) -> None:
    first, second, third = epochs(make_loader("tensor"), 3)
    loader = make_loader(kind)
    epochs(loader, 1)
    iterator: Iterator[Batch] = iter(loader)
    assert [numbers(next(iterator)) for _ in range(delivered)] == second[:delivered]

    state = loader.state_dict()
    resumed = make_loader(kind)
    resumed.load_state_dict(state)

    if delivered == 0:  # nothing of the second epoch was asked for
        assert state == {"epoch": 0, "position": 6}
        assert epochs(resumed, 2) == [second, third]
    elif delivered == 6:
        assert epochs(resumed, 1) == [third]
    else:
        assert state == {"epoch": 1, "position": delivered}  # whatever the workers have read ahead
        assert epochs(resumed, 2) == [second[delivered:], third]
    assert first != second


@pytest.mark.parametrize("kind", KINDS)
def test_each_batch_has_a_seed_of_its_own_that_a_resumed_loader_gives_again(kind: str) -> None:
    def seeds(loader: Loader) -> list[int]:
        return [loader.batch_seed for _ in loader]  # whatever the workers have read ahead

    loader = make_loader(kind)
    first, second = seeds(loader), seeds(loader)
    assert len({*first, *second}) == 12
    tensors = make_loader("tensor")
    assert (seeds(tensors), seeds(tensors)) == (first, second)
    resumed = make_loader(kind)
    resumed.load_state_dict({"epoch": 1, "position": 2})
    assert seeds(resumed) == second[2:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_saved_before_the_first_batch_starts_with_it(kind: str) -> None:
    loader = make_loader(kind)
    epochs(loader, 1)
    loader.batch_sampler.set_epoch(1)  # as the trainer does before the epoch starts
    resumed = make_loader(kind)
    resumed.load_state_dict(loader.state_dict())
    assert epochs(resumed, 1) == epochs(make_loader("tensor"), 2)[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_an_abandoned_epoch_leaves_nothing_in_the_next(kind: str) -> None:
    loader = make_loader(kind)
    next(iter(loader))
    assert epochs(loader, 1) == epochs(make_loader("tensor"), 2)[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_the_epoch_that_the_trainer_sets_is_the_one_that_comes(kind: str) -> None:
    loader = make_loader(kind)
    loader.batch_sampler.sampler.set_epoch(2)
    assert epochs(loader, 1) == epochs(make_loader("tensor"), 3)[2:]
    resumed = make_loader(kind)
    resumed.load_state_dict({"epoch": 0, "position": 3})
    resumed.batch_sampler.sampler.set_epoch(2)  # another epoch than the state's: from its beginning
    assert epochs(resumed, 1) == epochs(make_loader("tensor"), 3)[2:]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_a_worker_is_the_same_one_line(num_workers: int) -> None:
    loader = WorkerLoader(Numbers([0, 1, 2, -3]), BatchSampler(4, 2), RegressionBatch, num_workers)
    iterator = iter(loader)
    assert numbers(next(iterator)) == [0, 1]
    with pytest.raises(DataError) as caught:
        next(iterator)
    assert str(caught.value) == "number -3: cannot be read"
    assert loader.state_dict() == {"epoch": 0, "position": 1}


# With the trainer


class Numbered(ImageDataModule):
    """Images of one pixel, whose value is their number."""

    in_channels = 1
    num_classes = 2

    def read_splits(self) -> dict[str, Batch]:
        sizes = {"train": 22, "val": 5, "test": 5}
        return {
            split: ImageBatch(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1), torch.arange(n) % 2)
            for split, n in sizes.items()
        }


class Watched(SoftmaxRegression):
    """Remembers the batches and the epochs' means."""

    def __init__(self) -> None:
        super().__init__(image_size=1, num_classes=2)
        self.seen: list[tuple[int, int, list[int]]] = []
        self.means: list[tuple[int, float]] = []

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        pixels = [round(255 * float(x)) for x in batch.image.flatten()]
        self.seen.append((self.current_epoch, batch_idx, pixels))
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.means.append((self.current_epoch, float(self.trainer.callback_metrics["train/loss"])))


class WatchedWithSchedule(Watched):
    """Asks how long the run is, as schedules over the whole run do."""

    def configure_optimizers(self) -> Any:
        assert self.trainer.estimated_stepping_batches == 18
        return super().configure_optimizers()


class SaveAt(L.Callback):
    """Saves one checkpoint after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint("saved.ckpt")


def fit(model: Watched, *, checkpoint: Path | None = None, **options: Any) -> Watched:
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    trainer.fit(model, datamodule=Numbered(batch_size=4, image_size=1, seed=1), ckpt_path=checkpoint)
    return model


@pytest.mark.parametrize("model_class", [Watched, WatchedWithSchedule])
@pytest.mark.parametrize("step", [1, 6, 11])  # an epoch has 6
def test_a_run_stopped_anywhere_goes_on_as_if_it_had_not(model_class: type[Watched], step: int) -> None:
    whole = fit(model_class(), callbacks=[SaveAt(step)])
    assert [batch for _, _, batch in whole.seen[:6]] == epochs(make_loader("tensor"), 1)[0]

    torch.manual_seed(1)  # other initial weights, which the checkpoint replaces
    resumed = fit(model_class(), checkpoint=Path("saved.ckpt"))

    assert resumed.seen == whole.seen[step:]
    # Lightning counts an epoch as ended when its last step was taken; its mean went with the stopped run.
    assert resumed.means == whole.means[step // 6 :]
    assert torch.equal(resumed.net[1].weight, whole.net[1].weight)


class ManyDevices:
    """What a trainer of several devices tells the datamodule."""

    global_rank = 0
    overfit_batches = 0.0

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size


@pytest.mark.parametrize(("split", "size"), [("train", 22), ("val", 5), ("test", 5), ("predict", 5)])
def test_a_split_smaller_than_the_number_of_devices_is_named(split: str, size: int) -> None:
    data: Any = Numbered(image_size=1)
    data.setup()
    data.trainer = ManyDevices(size)
    assert len(getattr(data, f"{split}_dataloader")()) == 1
    data.trainer = ManyDevices(size + 1)
    with pytest.raises(DataError) as caught:
        getattr(data, f"{split}_dataloader")()
    assert str(caught.value) == (
        f"the {split.replace('predict', 'test')} split has {size} examples for {size + 1} devices, but must "
        "have at least one for each; use fewer devices or more data"
    )


def test_overfitting_sees_the_same_batches_in_each_epoch() -> None:
    seen = fit(Watched(), overfit_batches=2).seen
    by_epoch = [[batch for e, _, batch in seen if e == epoch] for epoch in range(3)]
    assert by_epoch[0] == by_epoch[1] == by_epoch[2] == [[0, 1, 2, 3], [4, 5, 6, 7]]
