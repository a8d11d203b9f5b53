"""``python -m zoo_cli``: the same as ``cli.py`` and ``d2l-zoo``."""

import sys

from zoo_cli.main import main

sys.exit(main())
