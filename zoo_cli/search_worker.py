"""``search-worker``: a process that runs trials; started by ``search``."""

import _thread
import gc
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from search.errors import SearchError
from search.setup import StudyFile, open_study
from search.storage import SECONDS_TO_TRY, open_storage
from search.worker import work
from zoo_cli.errors import INTERRUPTED, print_error
from zoo_cli.search_stop import Once
from zoo_cli.search_trial import TrialRunner

__all__ = ["GIVEN_UP", "SECONDS_LEFT", "STORAGE", "search_worker"]

GIVEN_UP = 3
"""Exit code of a worker that another one could not do better than."""
STORAGE = "ZOO_SEARCH_STORAGE"
"""Environment variable with a worker's storage: all can see arguments, and it may hold a password."""
SECONDS_LEFT = "ZOO_SEARCH_SECONDS"
"""Environment variable with the seconds after which a worker stops."""
SECONDS_TO_HAND_BACK = 10.0
"""So long after a signal further ones do not disturb a worker that hands its trial back."""


def search_worker(args: list[str]) -> int:
    """Run trials of the study in a folder until it is over.

    Args:
        args: The folder.

    Returns:
        The exit code.
    """
    handler = Once(SECONDS_TO_HAND_BACK)
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(args[0])
    seconds = os.environ.get(SECONDS_LEFT)
    deadline = None if seconds is None else time.monotonic() + float(seconds)
    try:
        importlib.import_module("zoo_cli.lightning_cli")
        gc.collect()
        gc.freeze()  # what is loaded for good need not be looked through after each trial
        file = StudyFile.read(folder)
        if file is None:
            raise SearchError(f"{folder}: is no folder of a study")
        storage = open_storage(os.environ.get(STORAGE), folder, file.name, seconds_to_try=SECONDS_TO_TRY)
        study = open_study(file, storage)
        work(study, TrialRunner(file, study.objectives), deadline=deadline)
    except SearchError as error:
        if os.environ.get("ZOO_DEBUG") == "1":
            traceback.print_exc()
        print_error(str(error))  # whatever ZOO_DEBUG says: the command looks for this line and for the code
        return GIVEN_UP
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.unfreeze()  # or libraries complain, at the end, of what is still there
    return 0


def _end_with_parent() -> None:
    """Hand the trial back when the process that started this one is gone."""
    sys.stdin.read()
    _thread.interrupt_main()
