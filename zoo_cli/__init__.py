"""The command line behind ``cli.py`` and ``d2l-zoo``."""
