"""The options of ``search``."""

import argparse
import re
from typing import Any, NoReturn

from zoo_cli.errors import CommandError

__all__ = ["parse_options"]

USAGE_TEXT = """usage: python cli.py search --config FILE --space FILE [OPTIONS]

Trains the configuration again and again with other values of what the space names, and keeps the best.
Further OPTIONS are those of fit, for all trials. The same command goes on with a study that was stopped; on
other machines, with the same --storage and --studies, it joins in.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(message.removeprefix("argument "))


def parse_options(args: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """This command's options, and those of ``fit``.

    Args:
        args: Arguments after ``search``.

    Raises:
        CommandError: If an option has no value or a wrong one.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(args)
    for name in ("trials", "timeout", "workers", "min_resource", "devices_per_trial"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise CommandError(f"--{name.replace('_', '-')} is {value}, but must be at least 1")
    for name in ("reduction_factor", "folds"):
        value = getattr(options, name)
        if value is not None and value < 2:
            raise CommandError(f"--{name.replace('_', '-')} is {value}, but must be at least 2")
    if options.study is not None and not re.fullmatch(r"\w[\w.-]*", options.study):
        raise CommandError(f"--study is {options.study!r}, but must be letters, digits, '.', '_' and '-'")
    return options, rest


def print_help() -> None:
    """Print the options."""
    _parser().print_help()


def _parser() -> argparse.ArgumentParser:
    from search.samplers import SAMPLERS
    from search.schedulers import SCHEDULERS

    parser: Any = _Parser(
        usage=argparse.SUPPRESS,
        description=USAGE_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument
    add(
        "--space",
        metavar="FILE",
        required=True,
        help="YAML file of what varies, by dotted path (docs/search.md)",
    )
    add("--trials", metavar="N", type=int, help="number of trials (default: 30 if there is no --timeout)")
    add("--timeout", metavar="S", type=float, help="seconds after which to stop; the same command goes on")
    add("--workers", metavar="K", type=int, default=1, help="processes on this machine (default: 1)")
    add("--devices-per-trial", metavar="N", type=int, default=1, help="devices of one trial (default: 1)")
    add("--study", metavar="NAME", help="name of the study (default: that of the configuration)")
    add("--studies", metavar="DIR", default="studies", help="folder of all studies (default: studies)")
    add(
        "--storage",
        metavar="URL",
        help="postgresql://USER@HOST/DATABASE for workers on several machines, or sqlite:///FILE for one "
        "worker (default: a journal file in the study's folder, for all workers of this machine)",
    )
    add(
        "--objective",
        metavar="NAME:max|min",
        action="append",
        help="a logged metric, parameters, or latency (ms); several make a multi-objective study (default: "
        "the model's own monitor)",
    )
    add("--folds", metavar="K", type=int, help="take the mean over K folds; resources are folds then")
    add("--sampler", choices=list(SAMPLERS), default="tpe", help="which values to try next (default: tpe)")
    add(
        "--acquisition",
        choices=["ei", "ucb", "pi"],
        default="ei",
        help="of the sampler bo: expected improvement, upper confidence bound, probability of improvement",
    )
    add(
        "--pruner",
        choices=list(SCHEDULERS),
        help="which trials go on (default: asha; none for several objectives)",
    )
    add(
        "--min-resource",
        metavar="N",
        type=int,
        default=1,
        help="epochs before the first decision (default: 1)",
    )
    add("--reduction-factor", metavar="N", type=int, default=3, help="one trial of N goes on (default: 3)")
    add("--seed", metavar="N", type=int, default=0, help="seed of what is drawn (default: 0)")
    return parser  # type: ignore[no-any-return]
