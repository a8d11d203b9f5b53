import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import AtomicCheckpointIO


def test_saved_checkpoint_is_read_back() -> None:
    AtomicCheckpointIO().save_checkpoint({"weight": torch.arange(3)}, Path("folder/best.ckpt"))
    assert torch.load("folder/best.ckpt", weights_only=True)["weight"].tolist() == [0, 1, 2]
    assert os.listdir("folder") == ["best.ckpt"]


def test_failed_save_keeps_the_old_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("best.ckpt")
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def half(checkpoint: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space left") as caught:
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert caught.value.filename == "best.ckpt"
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert os.listdir() == ["best.ckpt"]
