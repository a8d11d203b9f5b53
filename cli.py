"""The front door: ``python cli.py fit --config configs/quickstart.yaml``, ``python cli.py --help``."""

import sys

from zoo_cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
