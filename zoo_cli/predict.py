"""``predict``: new data in, a table out."""

import csv
import io
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from callbacks._files import write_atomically
from zoo.tasks import BinaryClassifier, Classifier, MultiLabelClassifier, TextTask
from zoo.tasks.language import perplexity
from zoo_cli.commands import TEXT_OPTIONS
from zoo_cli.errors import FAILED, CommandError

__all__ = ["add_arguments", "run", "write_rows"]


def add_arguments(parser: LightningArgumentParser) -> None:
    """Add ``--input``, ``--output`` and the options for models of text."""
    parser.add_argument(
        "--input",
        type=str | None,
        default=None,
        help="New data: an image file or a folder of them, a CSV file, or a file of texts; - reads standard "
        "input. Without it, the test split is predicted.",
    )
    parser.add_argument(
        "--output", type=str, default="-", help="File for the predictions; - writes to standard output."
    )
    for name, (kind, text) in TEXT_OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=text)


def run(
    trainer: Trainer, model: LightningModule, datamodule: Any, settings: Any, arguments: dict[str, Any]
) -> None:
    """Predict and write the table.

    Args:
        trainer: The trainer.
        model: The model.
        datamodule: The datamodule, which reads the input.
        settings: With ``input`` and ``output``.
        arguments: Further arguments of ``Trainer.predict``, the checkpoint among them.

    Raises:
        CommandError: If the output cannot be written.
    """
    arguments["return_predictions"] = True
    if settings.input is None:
        batches = trainer.predict(model, datamodule=datamodule, **arguments)
        names = None
    else:
        source = None if settings.input == "-" else Path(settings.input)
        new_data = datamodule.read_new_data(source)
        # Only the input's loader: the datamodule's own splits are not touched.
        datamodule.predict_dataloader = lambda: new_data.loader
        datamodule.prepare_data = datamodule.setup = lambda stage=None: None
        batches = trainer.predict(model, datamodule=datamodule, **arguments)
        names = new_data.names
    if not trainer.is_global_zero:
        return
    predictions = torch.cat([torch.as_tensor(batch) for batch in batches or []]).float().cpu()
    if hasattr(datamodule, "to_target_units"):
        predictions = datamodule.to_target_units(predictions)
    header, cells = columns_of(predictions, model, datamodule.class_names)
    if names is None:
        names = [str(i) for i in range(len(predictions))]
    table = [["input", *header], *([name, *row] for name, row in zip(names, cells, strict=True))]
    write_rows(settings.output, table)


def write_rows(output: str, table: list[list[str]]) -> None:
    """Write a CSV table to a file, wholly or not at all, or to standard output.

    Raises:
        CommandError: If the file cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    if output == "-":
        sys.stdout.write(text.getvalue())
        return
    try:
        write_atomically(Path(output), text.getvalue().encode())
    except OSError as error:
        raise CommandError(f"--output {output}: cannot be written ({error.strerror})", FAILED) from error


def columns_of(
    predictions: torch.Tensor, model: LightningModule, class_names: tuple[str, ...]
) -> tuple[list[str], list[list[str]]]:
    """Header and cells: class and probability, probability of yes, loss of a text, or the numbers."""
    if isinstance(model, Classifier):
        probability, index = predictions.max(dim=1)
        names = class_names or tuple(str(i) for i in range(predictions.shape[1]))
        cells = [[names[i], f"{p:.4f}"] for i, p in zip(index.tolist(), probability.tolist(), strict=True)]
        return ["label", "probability"], cells
    if isinstance(model, TextTask):
        losses = predictions.tolist()
        return ["loss", "perplexity"], [[f"{loss:.6g}", f"{perplexity(loss):.6g}"] for loss in losses]
    flat = predictions.reshape(len(predictions), -1)
    stem = "probability" if isinstance(model, BinaryClassifier | MultiLabelClassifier) else "prediction"
    header = [stem] if flat.shape[1] == 1 else [f"{stem}_{i}" for i in range(flat.shape[1])]
    return header, [[f"{value:.6g}" for value in row] for row in flat.tolist()]
