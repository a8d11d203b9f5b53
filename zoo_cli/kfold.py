"""``kfold``: cross-validation, the ensemble of the folds and its predictions (section 5.7.5)."""

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from callbacks._files import write_atomically
from datamodules.base import NewData
from zoo_cli import run_directory
from zoo_cli.errors import USAGE, CommandError
from zoo_cli.names import check_settings, class_of, with_full_names
from zoo_cli.predict import write_rows
from zoo_cli.run import run_cli
from zoo_cli.sources import Sources

__all__ = ["kfold", "require_folds"]

USAGE_TEXT = """usage: python cli.py kfold --config FILE [--folds K] [--input FILE] [--output FILE] [OPTIONS]

Trains on each of K folds, prints each fold's and the mean validation metrics, and predicts with the mean of
the K models (of their predictions in the target's own units). OPTIONS are those of fit.

  --folds K       number of folds (default: the data's num_folds)
  --input FILE    rows to predict, - for standard input (default: the data's own unlabelled rows, if any)
  --output FILE   CSV file for the predictions, - for standard output (default: submission.csv in the run
                  directory)
"""


def kfold(args: list[str]) -> int:
    """Train and measure each fold, then predict.

    Args:
        args: Arguments after ``kfold``: its own, and those of ``fit``.

    Returns:
        The exit code.

    Raises:
        CommandError: For everything that the user can mend.
    """
    if not args or any(arg in ("-h", "--help") for arg in args):
        print(USAGE_TEXT)
        return 0 if args else USAGE
    own, rest = _own_options(args)
    sources = Sources(with_full_names(rest))
    check_settings(sources, "fit")
    require_folds(sources, "kfold")
    root_setting = sources.last("trainer.default_root_dir")
    root = Path(root_setting.value or "runs") if root_setting else Path("runs")
    chosen = sources.last("model.class_path") or sources.last("model")
    name = run_directory.run_name(sources, (chosen.value if chosen else None) or "model")
    directory = run_directory.new_version(root, f"{name}_kfold")

    folds: list[dict[str, float]] = []
    predictions: list[torch.Tensor] = []
    rows: list[str] = []
    count = _number_of_folds(own)
    fold = 0
    while count is None or fold < count:
        flags = [f"--data.init_args.fold={fold}", f"--trainer.default_root_dir={directory}"]
        if count is not None:
            flags.append(f"--data.init_args.num_folds={count}")
        cli: Any = run_cli("fit", Sources([*sources.args, *flags]))
        count = int(cli.datamodule.num_folds)
        metrics = {k: float(v) for k, v in cli.trainer.callback_metrics.items() if k.startswith("val/")}
        folds.append(metrics)
        print(
            f"fold {fold + 1}/{count}  " + "  ".join(f"{k} {v:.4f}" for k, v in metrics.items()), flush=True
        )
        new_data = _rows_to_predict(cli.datamodule, own.get("--input"))
        if new_data is not None:
            rows = new_data.names
            predictions.append(_predict(cli.model, cli.datamodule, new_data))
        fold += 1
    mean = {key: sum(metrics[key] for metrics in folds) / len(folds) for key in folds[0]}
    print("mean      " + "  ".join(f"{k} {v:.4f}" for k, v in mean.items()))
    _write_summary(directory, folds, mean)
    if predictions:
        output = own.get("--output", str(directory / "submission.csv"))
        ensemble = torch.stack(predictions).mean(dim=0).reshape(-1)
        header = [getattr(cli.datamodule, "id_column", None) or "input", cli.datamodule.target]
        table = [[row, f"{value:.6g}"] for row, value in zip(rows, ensemble.tolist(), strict=True)]
        write_rows(output, [header, *table])
        if output != "-":
            print(f"predictions of the ensemble: {output}")
    return 0


def require_folds(sources: Sources, needs: str) -> None:
    """Refuse data without folds.

    Args:
        sources: The settings.
        needs: What needs them.

    Raises:
        CommandError: If the data have none.
    """
    data = sources.chosen_class("data")
    if data is not None and "fold" not in inspect.signature(class_of("data", data).__init__).parameters:
        raise CommandError(
            f"{data.where}: {data.value} has no folds; {needs} needs a table, such as HousePrices or CSVTable"
        )


def _write_summary(directory: Path, folds: list[dict[str, float]], mean: dict[str, float]) -> None:
    """A record like that of a run, with the means; the folds' own records no longer count as results."""
    paths = sorted(directory.glob("*/version_*/summary.json"), key=lambda p: p.stat().st_mtime)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if not records:  # a trial run leaves none
        return
    summary = {
        **records[-1],
        "config": f"{records[-1]['config'] or records[-1]['name']} ({len(folds)} folds)",
        "metrics": {f"kfold/{key.removeprefix('val/')}": value for key, value in mean.items()},
        "best": mean,
        "wall_time_s": sum(record["wall_time_s"] for record in records),
        "folds": folds,
    }
    for path, record in [*zip(paths, records, strict=True), (directory / "summary.json", summary)]:
        record["status"] = "finished" if record is summary else "fold"
        write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())


def _own_options(args: list[str]) -> tuple[dict[str, str], list[str]]:
    """This command's options, and the rest."""
    own: dict[str, str] = {}
    rest: list[str] = []
    remaining = iter(args)
    for arg in remaining:
        flag, equals, value = arg.partition("=")
        if flag not in ("--folds", "--input", "--output"):
            rest.append(arg)
            continue
        given = value if equals else next(remaining, None)
        if given is None:
            raise CommandError(f"{flag} needs a value")
        own[flag] = given
    return own, rest


def _number_of_folds(own: dict[str, str]) -> int | None:
    given = own.get("--folds")
    if given is None:
        return None
    if not given.isdigit() or int(given) < 2:
        raise CommandError(f"--folds is {given!r}, but must be a whole number of at least 2")
    return int(given)


def _rows_to_predict(datamodule: Any, given: str | None) -> NewData | None:
    """New rows: the user's, else the unlabelled ones that the dataset comes with."""
    if given is not None:
        rows: NewData = datamodule.read_new_data(None if given == "-" else Path(given))
        return rows
    read = getattr(datamodule, "read_competition_rows", None)
    return read() if read is not None else None


def _predict(model: Any, datamodule: Any, new_data: NewData) -> torch.Tensor:
    """Predictions (rows, out_features) in the target's own units."""
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(batch[0].to(model.device)) for batch in new_data.loader])
    units: torch.Tensor = datamodule.to_target_units(outputs.cpu())
    return units
