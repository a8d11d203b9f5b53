"""What every registered datamodule must do; a new one inherits all of it. Files come from ``fixtures.py``."""

import ast
import inspect
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

import datamodules
from datamodules import _download
from datamodules.base import ZooDataModule
from datamodules.interface.batches import (
    Batch,
    ClassificationBatch,
    ImageBatch,
    RegressionBatch,
    SequenceBatch,
    TranslationBatch,
)
from datamodules.interface.errors import DataError
from datamodules.interface.links import LINKED_VALUES
from tests.datamodules.fixtures import BUILDERS

NAMES = datamodules.list_datamodules()
CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# Their examples are fixed by the book, so that the seed has no part in the split.
WITHOUT_DRAWS = {"EdgeImage", "HouseTiny", "TextFile", "TimeMachine", "WikiText2"}

SPLITS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def _tiny_files_instead_of_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise DataError("tests do not download")

    monkeypatch.setattr(_download, "_download", refuse)
    monkeypatch.setattr(_download, "_check", lambda path, file: None)


def arguments(name: str, folder: Path) -> dict[str, Any]:
    entry = datamodules.DATAMODULES[name]
    folder.mkdir()
    return {**entry.tiny, **(BUILDERS[name](folder) if name in BUILDERS else {})}


def make(name: str, given: dict[str, Any], *, seed: int = 0) -> ZooDataModule:
    """The datamodule after ``prepare_data`` and ``setup``."""
    try:
        data: ZooDataModule = datamodules.DATAMODULES[name].cls(**{**given, "seed": seed})
        data.prepare_data()
        data.setup()
    except (TypeError, DataError) as error:
        if name in BUILDERS:
            raise
        pytest.fail(f"{name} needs files ({error}): add a builder to tests/datamodules/fixtures.py")
    return data


def values_of(data: ZooDataModule) -> dict[str, int]:
    """What the data offer to the model; an AttributeError within a property is an error, not an absence."""
    values = {value: getattr(data, value) for value in LINKED_VALUES if value in dir(data)}
    return {name: value for name, value in values.items() if value is not None}


def batches(data: ZooDataModule, split: str) -> list[Batch]:
    return list(getattr(data, f"{split}_dataloader")())


def examples_of(batches: Iterable[Batch]) -> list[bytes]:
    """The examples of batches, as bytes that can be compared, without padding and without references."""
    found = []
    for batch in batches:
        for i in range(len(batch[0])):
            fields = [field[i] for field in batch]
            if isinstance(batch, TranslationBatch):
                fields = [fields[0][: fields[1]], fields[2][: fields[3]]]
            found.append(b"|".join(field.numpy().tobytes() for field in fields))
    return found


def examples(data: ZooDataModule, split: str) -> list[bytes]:
    """The examples of a split, as bytes that can be compared."""
    return examples_of(batches(data, split))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def given(name: str, tmp_path: Path) -> dict[str, Any]:
    return arguments(name, tmp_path / "files")


@pytest.fixture
def data(name: str, given: dict[str, Any]) -> ZooDataModule:
    return make(name, given)


def test_three_disjoint_splits_with_examples(data: ZooDataModule) -> None:
    found = {split: examples(data, split) for split in SPLITS}
    for split in SPLITS:
        assert found[split], f"{split} is empty"
        assert len(set(found[split])) == len(found[split])
    assert not set(found["train"]) & set(found["val"])
    assert not set(found["train"]) & set(found["test"])
    assert not set(found["val"]) & set(found["test"])


def test_batches_are_what_the_task_expects(data: ZooDataModule) -> None:
    for split in SPLITS:
        for batch in batches(data, split):
            assert len({len(field) for field in batch}) == 1
            if isinstance(batch, ImageBatch):
                assert (batch.image.dtype, batch.image.ndim) == (torch.uint8, 4)
                assert (batch.label.dtype, batch.label.ndim) == (torch.int64, 1)
            elif isinstance(batch, ClassificationBatch):
                assert (batch.features.dtype, batch.label.dtype) == (torch.float32, torch.int64)
            elif isinstance(batch, SequenceBatch):
                assert (batch.tokens.dtype, batch.tokens.ndim) == (torch.int64, 2)
                assert (batch.label.dtype, batch.label.shape) == (torch.int64, batch.tokens.shape)
                assert (batch.continues.dtype, batch.continues.ndim) == (torch.bool, 1)
                assert torch.equal(batch.label[:, :-1], batch.tokens[:, 1:])
            elif isinstance(batch, TranslationBatch):
                assert {field.dtype for field in batch} == {torch.int64}
                assert [field.ndim for field in batch] == [2, 1, 2, 1, 3]
                # As wide as the longest, each longer than nothing.
                assert batch.source_length.min() >= 1
                assert batch.source.shape[1] == batch.source_length.max()
                assert batch.target_length.min() >= 2
                assert batch.target.shape[1] == batch.target_length.max()
                assert (batch.references.numel() == 0) == (split == "train")
            else:
                assert isinstance(batch, RegressionBatch)
                assert (batch.features.dtype, batch.target.dtype) == (torch.float32, torch.float32)


def test_values_are_known_before_setup_and_are_those_of_the_batches(
    name: str, given: dict[str, Any], data: ZooDataModule
) -> None:
    fresh = datamodules.DATAMODULES[name].cls(**given)
    values = values_of(fresh)
    assert values, "a model needs to know something about its data"
    assert values == values_of(data)
    for split in SPLITS:
        for raw in batches(data, split):
            batch = data.on_after_batch_transfer(raw, 0)
            if isinstance(batch, SequenceBatch):
                assert batch.tokens.min() >= 0
                assert max(batch.tokens.max(), batch.label.max()) < values["vocab_size"]
                assert values["vocab_size"] == len(data.tokenizers["text"])
                continue
            if isinstance(batch, TranslationBatch):
                assert min(batch.source.min(), batch.target.min()) >= 0
                assert batch.source.max() < values["source_vocab_size"] == len(data.tokenizers["source"])
                assert batch.target.max() < values["target_vocab_size"] == len(data.tokenizers["target"])
                continue
            inputs, target = batch
            if isinstance(batch, ImageBatch):
                assert batch.image.dtype == torch.float32
                assert batch.image.min() >= 0
                assert batch.image.max() <= 1
                assert inputs.shape[1:] == (values["in_channels"], values["image_size"], values["image_size"])
            elif "in_features" in values:
                assert inputs.shape[1:] == (values["in_features"],)
            else:
                assert inputs.shape[1] == values["in_channels"]
            if "num_classes" in values:
                assert target.max() < values["num_classes"]
                assert len(data.class_names) in (0, values["num_classes"])
            if "out_features" in values:
                assert target.shape[1:] == (values["out_features"],)


def test_the_same_seed_makes_the_same_split_and_another_seed_another(
    name: str, given: dict[str, Any], data: ZooDataModule
) -> None:
    again, other = make(name, given), make(name, given, seed=1)
    for split in SPLITS:
        assert examples(again, split) == examples(data, split)
    same = [sorted(examples(other, split)) == sorted(examples(data, split)) for split in SPLITS]
    assert all(same) == (name in WITHOUT_DRAWS)


def test_evaluation_comes_in_the_same_order_each_time(data: ZooDataModule) -> None:
    for split in ("val", "test"):
        loader = getattr(data, f"{split}_dataloader")()
        first, second = ([field for batch in loader for field in batch] for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_training_comes_in_another_order_each_epoch(data: ZooDataModule) -> None:
    loader = data.train_dataloader()
    epochs = [examples_of(loader) for _ in range(10)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    orders = {tuple(epoch) for epoch in epochs}
    assert (len(orders) > 1) == (len(epochs[0]) > 1)


def test_setup_reads_once(data: ZooDataModule, tmp_path: Path) -> None:
    def contents() -> list[Any]:
        """Splits, tokenizers and what else it read."""
        held = [value for _, value in sorted(vars(data).items()) if isinstance(value, dict | list)]
        return held + [entry for value in held if isinstance(value, dict) for entry in value.values()]

    before = contents()
    shutil.rmtree(tmp_path / "files")
    data.setup()
    assert all(a is b for a, b in zip(before, contents(), strict=True))


def test_setup_does_not_read_a_file_that_was_removed_before(
    name: str, given: dict[str, Any], tmp_path: Path
) -> None:
    if name not in BUILDERS:
        return  # there are no files
    shutil.rmtree(tmp_path / "files")
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "files"))) as caught:
        datamodules.DATAMODULES[name].cls(**given).setup()
    assert "\n" not in str(caught.value)


def test_arguments_are_keyword_only_and_documented(name: str) -> None:
    cls = datamodules.DATAMODULES[name].cls
    parameters = inspect.signature(cls).parameters
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert {"batch_size", "seed"} <= parameters.keys()
    documented = re.search(r"^Args:\n(.*?)(^\w|\Z)", inspect.getdoc(cls) or "", re.DOTALL | re.MULTILINE)
    assert documented, "the docstring has no Args"
    assert re.findall(r"^    (\w+): \S", documented[1], re.MULTILINE) == list(parameters)


def test_the_config_exists(name: str) -> None:
    config = datamodules.DATAMODULES[name].config
    assert config is None or (CONFIGS / config).is_file()


def test_every_public_datamodule_is_registered() -> None:
    stub = ast.parse(Path(datamodules.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    public = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    classes = {
        name
        for name in public
        if inspect.isclass(cls := getattr(datamodules, name)) and issubclass(cls, ZooDataModule)
    }
    assert classes == set(NAMES)


def test_every_builder_belongs_to_a_datamodule() -> None:
    assert set(BUILDERS) <= set(NAMES)
