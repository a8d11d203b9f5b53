"""Shapes and types are checked throughout the suite; real data is used where it lies beside the checkout."""

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

from tests import typecheck

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
