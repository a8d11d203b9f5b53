"""Convolutional networks (chapters 7 and 8)."""
