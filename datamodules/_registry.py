"""The catalogue of datamodules."""

from datamodules.interface.registry import Registry

__all__ = ["DATAMODULES", "register"]

DATAMODULES = Registry("datamodules")
register = DATAMODULES.register
