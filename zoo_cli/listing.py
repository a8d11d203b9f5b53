"""``models`` and ``data``: the registries as tables or JSON, and the layers of one model."""

import inspect
import json
from typing import Any

import torch
from torch import nn

from datamodules.interface.registry import Entry, Registry
from zoo_cli.errors import CommandError

__all__ = ["layer_table", "list_data_command", "list_models_command"]


def list_models_command(args: list[str]) -> int:
    """``models [NAME] [--json]``."""
    import zoo

    names, as_json = _parse(args, "models")
    if len(names) > 1:
        raise CommandError(f"models takes one name, but was given {', '.join(names)}")
    zoo.list_models()
    if not names:
        _print_entries(zoo.MODELS, as_json, counted=True)
        return 0
    name = names[0].removeprefix("zoo.")
    family = zoo.MODELS.with_variant(name)
    try:
        entry = family or zoo.MODELS[name]
    except KeyError as error:
        raise CommandError(str(error.args[0])) from error
    if as_json:
        print(json.dumps(_as_dict(entry, "zoo", counted=True)))
        return 0
    print(layer_table(full_size(entry, device="cpu", variant=name if family else None)))
    return 0


def list_data_command(args: list[str]) -> int:
    """``data [--json]``."""
    import datamodules

    names, as_json = _parse(args, "data")
    if names:
        raise CommandError(f"data takes no name, but was given {', '.join(names)}")
    datamodules.list_datamodules()
    _print_entries(datamodules.DATAMODULES, as_json, counted=False)
    return 0


def _parse(args: list[str], command: str) -> tuple[list[str], bool]:
    if any(arg in ("-h", "--help") for arg in args):
        name = " [NAME]" if command == "models" else ""
        print(f"usage: python cli.py {command}{name} [--json]")
        raise SystemExit(0)
    names = [arg for arg in args if not arg.startswith("-")]
    if unknown := [arg for arg in args if arg.startswith("-") and arg != "--json"]:
        raise CommandError(f"{command} has no option {unknown[0]}; it has --json")
    return names, "--json" in args


def full_size(entry: Entry, device: str, variant: str | None = None) -> Any:
    """The model at the book's own size, or a variant of it."""
    chosen = {} if variant is None else entry.variant_arguments(variant)
    with torch.device(device):
        return entry.cls(**entry.full, **chosen)


def _count(entry: Entry, variant: str | None = None) -> int:
    model = full_size(entry, device="meta", variant=variant)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _as_dict(entry: Entry, package: str, *, counted: bool) -> dict[str, Any]:
    return {
        "name": entry.name,
        "class_path": f"{package}.{entry.name}",
        "task": entry.task,
        "book": list(entry.book),
        "params": _count(entry) if counted else None,
        "config": f"configs/{entry.config}" if entry.config else None,
        "variants": {variant: _count(entry, variant) for variant in entry.variants},
        "weights": "torchvision" if "weights" in inspect.signature(entry.cls).parameters else None,
    }


def _print_entries(registry: Registry, as_json: bool, *, counted: bool) -> None:
    rows = [
        _as_dict(entry, registry.package, counted=counted) for entry in sorted(registry, key=lambda e: e.name)
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    header = ["name", "task", "book", *(["parameters", "weights"] if counted else []), "config"]
    table = [
        [
            name,
            row["task"],
            " ".join(row["book"]) or "-",
            *([f"{params:,}", row["weights"] or "-"] if counted else []),
            row["config"] or "-",
        ]
        for row in rows
        for name, params in _lines(row)
    ]
    print(format_table(header, table, right={"parameters"}))


def _lines(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """Name and parameters of a model, or of each of its variants."""
    variants: dict[str, int] = row["variants"]
    return [(f"{row['name']} {name}", params) for name, params in variants.items()] or [
        (row["name"], row["params"])
    ]


def format_table(header: list[str], rows: list[list[str]], right: set[str]) -> str:
    """Plain columns, two blanks apart.

    Args:
        header: Name of each column.
        rows: Cells.
        right: Columns of numbers.
    """
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def layer_table(model: Any) -> str:
    """Output shape, parameters and FLOPs of each layer for one example (the book's ``layer_summary``, 7.6.1).

    FLOPs count a multiplication and an addition as two, in matrix products and convolutions.
    """
    from torch.utils.flop_counter import FlopCounterMode

    leaves = {name: module for name, module in model.net.named_modules() if not list(module.children())}
    shapes: dict[str, tuple[int, ...]] = {}

    def recorder(name: str) -> Any:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            batch, *rest = _first_tensor(output).shape
            if batch > 1 and rest[:1] == [1]:  # steps first, and the one example after them
                rest[0] = batch
            shapes[name] = tuple(rest)

        return record

    handles = [module.register_forward_hook(recorder(name)) for name, module in leaves.items()]
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _flops_of_fused_lstm}
    )
    model.eval()
    example = model.example_input_array
    inputs = [example] if isinstance(example, torch.Tensor) else example
    with torch.no_grad(), counter:
        model.net(*(part[:1] for part in inputs))
    for handle in handles:
        handle.remove()
    flops = {key.partition(".")[2]: sum(ops.values()) for key, ops in counter.get_flop_counts().items()}
    rows = []
    for name, module in leaves.items():
        parameters = sum(p.numel() for p in module.parameters())
        if name not in shapes and not parameters:
            continue  # an empty list of layers
        shape = " x ".join(map(str, shapes[name])) if name in shapes else "-"
        rows.append(
            [name or "net", type(module).__name__, shape, f"{parameters:,}", f"{flops.get(name, 0):,}"]
        )
    total = sum(p.numel() for p in model.net.parameters())
    rows.append(["total", type(model.net).__name__, "", f"{total:,}", f"{counter.get_total_flops():,}"])
    from zoo.tasks import TextTask

    output = "output (steps x features)" if isinstance(model, TextTask) else "output"
    return format_table(["layer", "type", output, "parameters", "FLOPs"], rows, right={"parameters", "FLOPs"})


def _first_tensor(output: Any) -> torch.Tensor:
    """The output itself; of a recurrent layer, the outputs before the state."""
    while not isinstance(output, torch.Tensor):
        output = output[0]
    return output


def _flops_of_fused_lstm(
    x: torch.Size, input_weight: torch.Size, hidden_weight: torch.Size, *_: Any, **__: Any
) -> int:
    """FLOPs of oneDNN's whole layer, which the counter does not know, from its shapes."""
    steps, batch = x[:2]
    return 2 * steps * batch * (input_weight.numel() + hidden_weight.numel())
