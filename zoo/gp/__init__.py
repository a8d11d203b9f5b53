"""Gaussian processes (chapter 18) and what Bayesian optimisation needs of them."""
