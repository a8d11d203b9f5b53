"""Storages for the tests of the search."""

from collections.abc import Iterator

import pytest

from tests.search.postgresql import Server
from tests.search.studies import OPENED


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
