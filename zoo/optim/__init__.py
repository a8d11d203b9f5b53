"""Optimizers and learning rate schedules (chapter 12)."""
