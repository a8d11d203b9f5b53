"""Hyperparameter search on Optuna: spaces, samplers, schedulers, and workers that share a study."""
