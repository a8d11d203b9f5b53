"""What recurrent language models share: a hidden state carried from batch to batch (section 9.7)."""

from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from datamodules.interface.batches import SequenceBatch
from zoo.rnn.network import RecurrentNetwork, State
from zoo.tasks import LanguageModel, LRSchedulerCallable, OptimizerCallable

__all__ = ["RecurrentLM"]


class RecurrentLM(LanguageModel):
    """Base of the recurrent language models.

    Args:
        network: The network.
        carry_state: Whether a window that continues the one before it in the same row starts from its last
            hidden state, without the graph: backpropagation through time, truncated at windows (section
            9.7.1.2). The data must then be cut with ``partition: sequential``.
        optimizer: As in :class:`~zoo.tasks.base.Task`.
        lr_scheduler: As in Task.
        lr_scheduler_config: As in Task.
    """

    training_arguments = LanguageModel.training_arguments | {
        "dropout",
        "embed_dropout",
        "weight_dropout",
        "carry_state",
        "randomized_truncation",
    }

    net: RecurrentNetwork

    def __init__(
        self,
        *,
        network: RecurrentNetwork,
        carry_state: bool,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_scheduler_config: dict[str, Any] | None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, lr_scheduler=lr_scheduler, lr_scheduler_config=lr_scheduler_config
        )
        self.net = network
        self.carry_state = carry_state
        self._carried: dict[bool, State] = {}  # by whether it is training's
        self.example_input_array = torch.zeros(2, 32, dtype=torch.int64)

    def setup(self, stage: str) -> None:
        """Start a run with no state.

        Raises:
            ValueError: If a state is to be carried over, but the data's windows do not follow each other.
        """
        super().setup(stage)
        self._carried = {}
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it undeclared
        partition = getattr(datamodule, "partition", "sequential")
        if self.carry_state and stage == "fit" and partition != "sequential":
            raise ValueError(
                f"data.init_args.partition is {partition!r}, but must be 'sequential' for carry_state; give "
                "that, or set model.init_args.carry_state to false"
            )

    def logits_of(self, batch: SequenceBatch) -> Tensor:
        """The logits for a batch (batch, num_steps, vocab_size), from the carried state if there is one."""
        if not self.carry_state:
            return super().logits_of(batch)
        state = self._carried.get(self.training)
        if state is not None:
            # A last batch may have fewer rows. Others begin anew, whatever was there before (nan too).
            rows, goes_on = len(batch.tokens), batch.continues[None, :, None]
            state = tuple(torch.where(goes_on, part[:, :rows].to(goes_on.device), 0) for part in state)
        logits, state = self.net.run(batch.tokens, state)
        self._carried[self.training] = tuple(part.detach() for part in state)
        return logits

    def on_train_epoch_end(self) -> None:
        """Forget the state."""
        super().on_train_epoch_end()
        self._carried.pop(True, None)

    def on_validation_epoch_start(self) -> None:
        """Begin without a state."""
        super().on_validation_epoch_start()
        self._carried.pop(False, None)

    def on_test_epoch_start(self) -> None:
        """Begin without a state."""
        super().on_test_epoch_start()
        self._carried.pop(False, None)

    def on_predict_epoch_start(self) -> None:
        """Begin without a state."""
        self._carried.pop(False, None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the training's state of every process, so that a run resumed within an epoch goes on alike."""
        super().on_save_checkpoint(checkpoint)
        if True in self._carried:
            state: Any = self._carried[True]
            if self._trainer is not None and self.trainer.world_size > 1:
                state = tuple(self.all_gather(part) for part in state)
            else:
                state = tuple(part[None] for part in state)
            checkpoint["carried_state"] = [part.cpu() for part in state]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the training's state.

        Raises:
            ValueError: If the number of processes is another.
        """
        super().on_load_checkpoint(checkpoint)
        fits = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if self.carry_state and fits and "carried_state" in checkpoint:
            saved = checkpoint["carried_state"]
            if len(saved[0]) != self.trainer.world_size:
                raise ValueError(
                    f"the number of devices is {self.trainer.world_size}, but must be {len(saved[0])}: the "
                    "checkpoint was saved within an epoch, and has a carried state for each"
                )
            self._carried[True] = tuple(part[self.global_rank].to(self.device) for part in saved)
