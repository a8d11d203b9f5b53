"""Storages for the tests of the search."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.search.postgresql import Server, find_programs, server
from tests.search.studies import OPENED


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    if find_programs() is None and os.environ.get("CI") != "true":
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    # Not tmp_path, which only its owner may enter: the server runs as a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="zoo-postgresql-"))
    try:
        with server(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["journal", "postgresql"])
def storage_url(request: pytest.FixtureRequest) -> str | None:
    """Address of a storage for several workers."""
    if request.param == "journal":
        return None
    running: Server = request.getfixturevalue("postgresql")
    return running.url


@pytest.fixture(autouse=True)
def _close_storages() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()
