"""The catalogue of models."""

from datamodules.interface.registry import Registry

__all__ = ["MODELS", "register"]

MODELS = Registry("zoo")
register = MODELS.register
