"""Checks of hyperparameters, with one wording: "is X, but must be Y"."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["check_at_least", "check_choice", "check_fraction", "check_held_out", "check_positive"]


def check_at_least(name: str, value: float, minimum: float) -> None:
    """Raise ValueError unless ``value >= minimum``."""
    if not value >= minimum:
        raise ValueError(f"{name} is {value!r}, but must be at least {minimum}")


def check_positive(name: str, value: float) -> None:
    """Raise ValueError unless ``value > 0``."""
    if not value > 0:
        raise ValueError(f"{name} is {value!r}, but must be positive")


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError unless ``0 <= value < 1``."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}, but must be in [0, 1)")


def check_held_out(val_fraction: float, test_fraction: float) -> None:
    """Raise ValueError unless both shares are in (0, 1) and leave something to train on."""
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        check_positive(name, fraction)
        check_fraction(name, fraction)
    if val_fraction + test_fraction >= 1:
        raise ValueError(
            f"val_fraction + test_fraction is {val_fraction + test_fraction!r}, but must be below 1"
        )


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    known = list(choices)
    if value not in known:
        close = get_close_matches(value, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(known)}{hint}")
