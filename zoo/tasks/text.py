"""What models of text share: they carry the tokenizers that they were trained with."""

from collections.abc import Mapping
from typing import Any

from datamodules.interface.tokenizers import Tokenizer, tokenizer_from_dict
from zoo.tasks.base import LRSchedulerCallable, OptimizerCallable, Task

__all__ = ["TextTask", "TokenizerError"]


class TokenizerError(ValueError):
    """The text of the data and the model's text do not fit together."""


class TextTask(Task):
    """Base of models whose inputs are ids of tokens.

    The tokenizers come from the datamodule when a run starts, are saved in every checkpoint, and come back
    with it, so that a trained model reads and writes text with no data at hand.

    Args:
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.

    Attributes:
        tokenizers: Tokenizers by what they are for (``text``; ``source`` and ``target``); empty before the
            first run.
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.tokenizers: dict[str, Tokenizer] = {}

    def setup(self, stage: str) -> None:
        """Take the data's tokenizers."""
        super().setup(stage)
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it undeclared
        self._take(getattr(datamodule, "tokenizers", {}), "the data's")

    def _take(self, tokenizers: Mapping[str, Tokenizer], whose: str) -> None:
        """Use these tokenizers.

        Raises:
            TokenizerError: If the model has others already: its ids would mean something else.
        """
        for name, tokenizer in tokenizers.items():
            own = self.tokenizers.setdefault(name, tokenizer)
            if own != tokenizer:
                raise TokenizerError(
                    f"{whose} tokenizer of the {name} is {tokenizer}, but must be the model's, {own}, with "
                    "the same tokens in the same order: choose the data that the model was trained on"
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the tokenizers too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["tokenizers"] = {name: t.to_dict() for name, t in self.tokenizers.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Bring the tokenizers back."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint.get("tokenizers", {})
        self._take({name: tokenizer_from_dict(state) for name, state in saved.items()}, "the checkpoint's")

    def tokenizer(self, name: str) -> Tokenizer:
        """The tokenizer for this purpose.

        Raises:
            TokenizerError: If the model has none, since it was neither trained nor loaded.
        """
        if name not in self.tokenizers:
            raise TokenizerError(
                f"{type(self).__name__} has no tokenizer of the {name} yet: train it, or load a checkpoint"
            )
        return self.tokenizers[name]
