"""What every datamodule shares: three splits, resumable loaders, values for the model, new data."""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import torch

from datamodules.interface.batches import Batch
from datamodules.interface.errors import DataError
from datamodules.loaders import BatchSampler, ResumableLoader, TensorLoader

__all__ = ["BatchSize", "NewData", "ZooDataModule", "default_data_dir"]

BatchSize = int | Literal["full"]
Loader = ResumableLoader


def default_data_dir() -> str:
    """``$ZOO_DATA_DIR``, else ``data``; an empty one counts as unset, not as the working directory."""
    return os.environ.get("ZOO_DATA_DIR") or "data"


class NewData(NamedTuple):
    """Data to predict that is not one of the splits.

    Attributes:
        names: What each example is called in the output (a file, a row number).
        loader: Its batches; targets are zeros.
    """

    names: list[str]
    loader: TensorLoader


class ZooDataModule(L.LightningDataModule):
    """Base of the datamodules: the book's ``DataModule`` (section 3.2.3) on Lightning.

    ``prepare_data`` gets files, ``setup`` reads them into :attr:`splits`; validation data is held out of the
    training data with a fixed seed, and the test split is only ever tested on. What a model needs to know
    (``num_classes``, ``in_features``, ...) is an attribute, readable before ``setup``; one that the data do
    not have is absent or None.

    Args:
        batch_size: Examples in a batch on each device, or ``full`` for one batch of everything.
        seed: Seed of the split and of the training order.

    Attributes:
        splits: ``train``, ``val`` and ``test`` as one big batch each, filled by ``setup``.
        class_names: Name of each class, where there are classes.
    """

    class_names: tuple[str, ...] = ()

    def __init__(self, *, batch_size: BatchSize = 32, seed: int = 0) -> None:
        super().__init__()
        if batch_size != "full" and not batch_size >= 1:
            raise ValueError(f"batch_size is {batch_size!r}, but must be at least 1, or `full`")
        self.batch_size: BatchSize = batch_size
        self.seed = seed
        self.splits: dict[str, Batch] = {}
        self._train_loader: Loader | None = None
        self._train_state: dict[str, int] = {}

    # To override

    def setup(self, stage: str | None = None) -> None:
        """Read the files into :attr:`splits`, once."""
        if not self.splits:
            self.splits = self.read_splits()

    def read_splits(self) -> dict[str, Batch]:
        """The three splits, from files that ``prepare_data`` got."""
        raise NotImplementedError(f"{type(self).__name__} must define read_splits()")

    def read_new_data(self, source: Path | None) -> NewData:
        """Data to predict from a file or folder, or from standard input when ``source`` is None.

        Raises:
            DataError: If it cannot be read, or this kind of data cannot be given so.
        """
        raise DataError(f"{type(self).__name__} predicts only its own test split; leave out --input")

    # Loaders

    def train_dataloader(self) -> Loader:
        """Shuffled training batches."""
        trainer: Any = self.trainer
        overfit = trainer is not None and trainer.overfit_batches > 0  # the same batches in each epoch
        self._train_loader = self._split_loader("train", shuffle=not overfit)
        if self._train_state:
            self._train_loader.load_state_dict(self._train_state)
            self._train_state = {}
        return self._train_loader

    def batch_generator(self, device: torch.device) -> torch.Generator:
        """What to draw from for the training batch that was delivered last: always the same for this batch.

        The global generator would not do: the command line seeds it alike on every rank, and a checkpoint
        does not hold it.
        """
        assert self._train_loader is not None, "a training batch comes from train_dataloader()"
        return torch.Generator(device).manual_seed(self._train_loader.batch_seed)

    def val_dataloader(self) -> Loader:
        """Validation batches."""
        return self._split_loader("val", shuffle=False)

    def test_dataloader(self) -> Loader:
        """Test batches."""
        return self._split_loader("test", shuffle=False)

    def predict_dataloader(self) -> Loader:
        """Test batches: what is predicted when no input is given."""
        return self._split_loader("test", shuffle=False)

    def _split_loader(self, split: str, *, shuffle: bool) -> Loader:
        """The loader of a split that has an example for each device.

        Raises:
            DataError: If it has fewer.
        """
        loader = self._loader(split, shuffle=shuffle)
        sampler = loader.batch_sampler
        if sampler.size < sampler.world_size:
            raise DataError(
                f"the {split} split has {sampler.size} examples for {sampler.world_size} devices, but must "
                "have at least one for each; use fewer devices or more data"
            )
        return loader

    def _loader(self, split: str, *, shuffle: bool) -> Loader:
        tensors = self.splits[split]
        return TensorLoader(tensors, self.batch_sampler(len(tensors[0]), shuffle=shuffle))

    def batch_sampler(self, size: int, *, shuffle: bool) -> BatchSampler:
        """A sampler over ``size`` examples that knows this process's rank."""
        trainer = self.trainer
        return BatchSampler(
            size,
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """How far training has come in its epoch.

        Lightning saves the loaders' states too, but does not restore them when ``configure_optimizers`` asked
        for ``trainer.estimated_stepping_batches``, as schedules over the whole run do.
        """
        return {} if self._train_loader is None else self._train_loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next training loader go on where the checkpoint was saved."""
        self._train_state = state_dict
