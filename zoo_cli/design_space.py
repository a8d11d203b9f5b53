"""``design-space``: networks drawn from design spaces, trained a little, and the spaces' errors (8.8)."""

import argparse
import inspect
import itertools
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from zoo_cli.errors import FAILED, INTERRUPTED, CommandError
from zoo_cli.names import class_of
from zoo_cli.run import silence_what_is_not_ours
from zoo_cli.samples import Row, claim, lock, not_writable, read_rows, write_rows
from zoo_cli.sources import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["design_space"]

DESCRIPTION = """Draw networks from AnyNetA to AnyNetE, train each a little, and compare the distributions of
their validation errors. Writes samples.csv, a row as soon as a network is trained, and edf.png. The same
command again goes on where it was stopped, and with more samples or other spaces adds to them. Summary and
picture are of all networks in the folder."""
ENOUGH = 10
"""Fewest networks of each space for a verdict on which is better; with fewer it is mostly chance."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise CommandError(message)


def design_space(args: list[str]) -> int:
    """Draw, train, compare.

    Args:
        args: Arguments after ``design-space``.

    Returns:
        The exit code.

    Raises:
        CommandError: For everything that the user can mend.
    """
    if any(arg in ("-h", "--help") for arg in args):
        print(_parser().format_help(), end="")
        return 0
    options = _parse(args)
    output = Path(options.output)
    with lock(output):
        _compare(output, options)
    return 0


def _compare(output: Path, options: argparse.Namespace) -> None:
    """Train the networks that are missing in a folder, and compare the spaces."""
    rows = read_rows(output / "samples.csv")
    shared = {k: v for k, v in vars(options).items() if k not in ("spaces", "samples", "output")}
    claim(output, shared, has_samples=bool(rows))
    done = {(row["space"], int(row["index"])) for row in rows}
    wanted = list(itertools.product(range(options.samples), options.spaces))
    missing = [(space, index) for index, space in wanted if (space, index) not in done]
    if missing:
        silence_what_is_not_ours()
        datamodule = _data(options)
        for space, index in missing:
            row = _train(space, index, options, datamodule)
            rows.append(row)
            write_rows(output / "samples.csv", rows)
            print(
                f"AnyNet{space} {index}  error {float(row['error']):.4f}  parameters {row['parameters']}  "
                f"multiplications {row['multiplications']}  {row['seconds']} s",
                flush=True,
            )
    errors = {
        space: [float(row["error"]) for row in rows if row["space"] == space]
        for space in sorted({row["space"] for row in rows})
    }
    print("\n".join(_summary(errors)))
    _save(_draw(errors), output / "edf.png")
    print(f"wrote {output / 'samples.csv'} and {output / 'edf.png'}")


def _parser() -> Parser:
    parser = Parser(prog="python cli.py design-space", description=DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("--spaces", nargs="+", default=["A", "E"], help="design spaces, A to E (default: A E)")
    add("--samples", type=int, default=12, help="networks of each space (default: 12)")
    add("--data", default="FashionMNIST", help="an image set (default: FashionMNIST)")
    add("--image_size", type=int, default=32, help="height and width in pixels (default: 32)")
    add("--batch_size", type=int, default=128, help="images in a batch (default: 128)")
    add("--epochs", type=int, default=1, help="epochs for each network (default: 1)")
    add(
        "--limit_train_batches",
        type=int,
        help="batches in an epoch (default: all, but for a last one of a single image)",
    )
    add("--limit_val_batches", type=int, help="batches to measure the error on (default: all)")
    add("--lr", type=float, default=0.1, help="learning rate at the start of a cosine (default: 0.1)")
    add(
        "--min_multiplications",
        type=float,
        default=1e6,
        help="fewest multiplications of a network for one image, the paper's flops (default: 1e6)",
    )
    add(
        "--max_multiplications",
        type=float,
        default=4e6,
        help="most multiplications for one image (default: 4e6)",
    )
    add("--seed", type=int, default=0, help="seed; a network follows from it, space and index (default: 0)")
    add("--output", default="runs/design_space", help="folder (default: runs/design_space)")
    return parser


def _parse(args: list[str]) -> argparse.Namespace:
    """The options, checked.

    Raises:
        CommandError: For the first that is wrong.
    """
    from zoo.cnn.design_space import DESIGN_SPACES

    options = _parser().parse_args(args)
    for space in options.spaces:
        if space not in DESIGN_SPACES:
            raise CommandError(f"--spaces is {space!r}, but must be some of {', '.join(DESIGN_SPACES)}")
    options.spaces = list(dict.fromkeys(options.spaces))
    least = {"samples": 1, "image_size": 1, "batch_size": 2, "epochs": 1, "seed": 0}
    least |= {"limit_train_batches": 1, "limit_val_batches": 1}
    for name, minimum in least.items():
        value = getattr(options, name)
        if value is not None and value < minimum:
            raise CommandError(f"--{name} is {value}, but must be at least {minimum}")
    if not options.lr > 0:
        raise CommandError(f"--lr is {options.lr}, but must be positive")
    if not 0 <= options.min_multiplications <= options.max_multiplications:
        raise CommandError(
            f"--min_multiplications is {options.min_multiplications:g}, but must be between 0 and "
            f"--max_multiplications, {options.max_multiplications:g}"
        )
    return options


def _data(options: argparse.Namespace) -> Any:
    """The datamodule, its files read."""
    from datamodules.interface.errors import DataError
    from datamodules.vision.base import ImageDataModule

    name = options.data if "." in options.data else f"datamodules.{options.data}"
    cls = class_of("data", Setting("data", name, "--data"))
    given = {"image_size": options.image_size, "batch_size": options.batch_size, "seed": options.seed}
    takes = inspect.signature(cls).parameters
    if not issubclass(cls, ImageDataModule) or not given.keys() <= takes.keys():
        raise CommandError(f"--data is {options.data}, but must be an image set, such as FashionMNIST")
    if needs := [name for name, argument in takes.items() if argument.default is argument.empty]:
        raise CommandError(
            f"--data is {options.data}, which needs {', '.join(needs)}, but must be an image set that needs "
            "nothing more, such as FashionMNIST"
        )
    try:
        datamodule = cls(**given)
        datamodule.prepare_data()
        datamodule.setup()
    except DataError as error:
        raise CommandError(str(error), FAILED) from error
    except (TypeError, ValueError) as error:
        raise CommandError(f"--data {options.data}: {error}") from error
    return datamodule


def _train(space: str, index: int, options: argparse.Namespace, datamodule: Any) -> Row:
    """Draw one network, train it, and measure its validation error; one that diverges has error 1."""
    import numpy as np
    import torch
    from lightning.pytorch import Trainer

    import zoo
    from zoo.cnn.design_space import DESIGN_SPACES

    seed = int(np.random.SeedSequence([options.seed, index, ord(space)]).generate_state(1)[0])
    images = {
        "image_size": datamodule.image_size,
        "in_channels": datamodule.in_channels,
        "num_classes": datamodule.num_classes,
    }
    try:
        sizes = DESIGN_SPACES[space].sample(
            torch.Generator().manual_seed(seed),
            **images,
            min_multiplications=options.min_multiplications,
            max_multiplications=options.max_multiplications,
        )
    except ValueError as none_found:
        raise CommandError(f"AnyNet{space}: {none_found}") from none_found
    batches = _batches(datamodule, options)
    torch.manual_seed(seed)
    model = zoo.AnyNet(
        **sizes.arguments(),
        **images,
        init="kaiming_normal",
        optimizer=lambda p: torch.optim.SGD(p, lr=options.lr, momentum=0.9, weight_decay=5e-5),
        lr_scheduler=lambda o: zoo.WarmupCosine(o, total_steps=options.epochs * batches),
        lr_scheduler_config={"interval": "step"},
    )
    trainer = Trainer(
        max_epochs=options.epochs,
        limit_train_batches=batches,
        limit_val_batches=options.limit_val_batches,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    start = time.monotonic()
    error, loss = 1.0, float("nan")
    try:
        trainer.fit(model, datamodule=datamodule)
        error = 1 - float(trainer.callback_metrics["val/acc"])
        loss = float(trainer.callback_metrics["val/loss"])
    except zoo.NonFiniteLossError:
        pass
    except (KeyboardInterrupt, SystemExit):
        message = "stopped; the same command goes on with this network"
        raise CommandError(message, INTERRUPTED) from None
    except Exception as failure:
        if os.environ.get("ZOO_DEBUG") == "1":
            raise
        raise CommandError(f"AnyNet{space} {index}: {failure}".replace("\n", " "), FAILED) from failure
    lists = {
        name: " ".join(map(str, getattr(sizes, name)))
        for name in ("depths", "widths", "bottleneck_ratios", "group_widths")
    }
    return {
        "space": space,
        "index": str(index),
        "error": f"{error:.6f}",
        "loss": f"{loss:.6f}",
        "parameters": str(sum(p.numel() for p in model.parameters())),
        "multiplications": str(sizes.multiplications(**images)),
        "seconds": f"{time.monotonic() - start:.1f}",
        "stem_channels": str(sizes.stem_channels),
        **lists,
    }


def _batches(datamodule: Any, options: argparse.Namespace) -> int:
    """How many batches of an epoch to train on: all, but for a last one of a single image.

    Batch normalisation cannot train on it where a stage's output is one pixel.
    """
    loader = datamodule.train_dataloader()
    batches = len(loader)
    if batches > 1 and loader.batch_sampler.size % options.batch_size == 1:
        batches -= 1
    return min(batches, options.limit_train_batches or batches)


def _summary(errors: dict[str, list[float]]) -> list[str]:
    """A line for each space, and one for each pair: which is better at every error."""
    lines = [
        f"AnyNet{space}  networks {len(values)}  least error {min(values):.4f}  "
        f"median {statistics.median(values):.4f}"
        for space, values in errors.items()
    ]
    for first, second in itertools.combinations(errors, 2):
        counts = f"{len(errors[first])} networks of AnyNet{first}, {len(errors[second])} of AnyNet{second}"
        lines.append(f"{_verdict(first, second, errors)} ({counts})")
    return lines


def _verdict(first: str, second: str, errors: dict[str, list[float]]) -> str:
    from zoo.cnn.design_space import dominates

    if min(len(errors[first]), len(errors[second])) < ENOUGH:
        return f"AnyNet{first} and AnyNet{second} are not compared, for which each needs {ENOUGH} networks"
    if dominates(errors[first], errors[second]):
        return f"AnyNet{first} dominates AnyNet{second}"
    if dominates(errors[second], errors[first]):
        return f"AnyNet{second} dominates AnyNet{first}"
    return f"neither of AnyNet{first} and AnyNet{second} dominates the other"


def _draw(errors: dict[str, list[float]]) -> "Figure":
    """The distribution functions, as steps, in the order of the spaces."""
    from callbacks._pictures import new_figure

    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    lowest = min(min(values) for values in errors.values())
    highest = max(max(values) for values in errors.values())
    margin = 0.05 * (highest - lowest) + 1e-3
    for space, values in errors.items():
        steps = [lowest - margin, *sorted(values), highest + margin]
        shares = [0.0, *((i + 1) / len(values) for i in range(len(values))), 1.0]
        label = f"AnyNet{space}: {len(values)} networks, median {statistics.median(values):.3f}"
        axes.step(steps, shares, where="post", label=label)
    axes.set_xlim(lowest - margin, highest + margin)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("validation error")
    axes.set_ylabel("share of networks with at most this error")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def _save(figure: "Figure", path: Path) -> None:
    from callbacks._pictures import save_figure

    try:
        save_figure(figure, path)
    except OSError as error:
        raise not_writable(path.parent, error) from error
