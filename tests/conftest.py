"""Shapes and types are checked throughout the suite; real data is used where it lies beside the checkout."""

import os
from pathlib import Path

from jaxtyping import install_import_hook

# Must come before the packages are imported.
_hook = install_import_hook(["zoo", "datamodules"], "tests.typecheck.check")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


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
    os.environ.setdefault("MPLBACKEND", "Agg")
