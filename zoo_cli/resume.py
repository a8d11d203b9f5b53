"""Resuming with other optimizer settings than the checkpoint's."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from zoo_cli.errors import CommandError

__all__ = ["ChangedOptimizer", "changed_arguments"]


def changed_arguments(saved: dict[str, Any], wanted: dict[str, Any], where: str) -> dict[str, Any]:
    """Optimizer arguments that the user changed.

    Args:
        saved: Class path and arguments in the checkpoint.
        wanted: Class path and arguments of this run.
        where: Where the user gave them.

    Raises:
        CommandError: If the class itself is another one, whose state the checkpoint does not hold.
    """
    if saved["class_path"].rpartition(".")[2] != wanted["class_path"].rpartition(".")[2]:
        raise CommandError(
            f"{where}: optimizer is {wanted['class_path']}, but the checkpoint holds the state of "
            f"{saved['class_path']}; resume with that one"
        )
    before = saved.get("init_args") or {}
    return {k: v for k, v in (wanted.get("init_args") or {}).items() if k in before and before[k] != v}


class ChangedOptimizer(Callback):
    """Lets explicit optimizer arguments win over those that come back with the optimizer's state.

    A changed learning rate keeps its place in the schedule: only the rate that the schedule scales is new.

    Args:
        changes: New values by argument name.
    """

    def __init__(self, changes: dict[str, Any]) -> None:
        self.changes = changes

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Change the restored parameter groups."""
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                for name, value in self.changes.items():
                    if name == "lr":
                        base = group.get("initial_lr", group["lr"])
                        group["lr"] = value * (group["lr"] / base if base else 1.0)
                        group["initial_lr"] = value
                    elif name != "weight_decay" or group["weight_decay"] != 0:  # vectors have none
                        group[name] = value
        if "lr" in self.changes:
            for config in trainer.lr_scheduler_configs:
                if hasattr(config.scheduler, "base_lrs"):
                    config.scheduler.base_lrs = [self.changes["lr"]] * len(config.scheduler.base_lrs)
