"""Checkpoints that are whole or not there."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

__all__ = ["AtomicCheckpointIO"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its final name and renames it when it is complete and on the disk.

    Lightning's own way writes into the folder of temporary files and copies from there, so that a full disk
    or a kill leaves half a file under the final name when the two are on different disks.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Save, or leave what was there.

        Args:
            checkpoint: What to save.
            path: File to write.
            storage_options: None; for the interface.

        Raises:
            OSError: If it cannot be written; its ``filename`` is the checkpoint's.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except (OSError, RuntimeError) as error:  # torch turns the disk's error into one of its own
            cause = error if isinstance(error, OSError) else error.__context__
            if isinstance(cause, OSError):
                raise OSError(cause.errno, cause.strerror, str(target)) from error
            raise
        finally:
            partial.unlink(missing_ok=True)
