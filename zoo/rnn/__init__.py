"""Recurrent networks and what came before them: autoregression (chapters 9 and 10)."""
