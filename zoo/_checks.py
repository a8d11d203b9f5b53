"""Checks of hyperparameters; they live where the datamodules can use them too."""

from datamodules.interface.checks import check_at_least, check_choice, check_fraction, check_positive

__all__ = ["check_at_least", "check_choice", "check_fraction", "check_positive"]
