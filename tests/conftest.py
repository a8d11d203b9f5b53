"""Shapes and types are checked throughout the suite; real data is used where it lies beside the checkout."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

from tests import typecheck
from tests.search.postgresql import Server, find_programs, server

# The packages are imported by the tests, after this line.
install_import_hook(["zoo", "datamodules"], f"{typecheck.__name__}.check")

torch.set_num_threads(1)

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Folder of real datasets; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no folder of real data beside the checkout")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, so that no test reads or leaves files in the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of commands that tests start: several tests run at once


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
