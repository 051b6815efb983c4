"""Patience: training ends when the selection loss has not become lower for some passes."""

from __future__ import annotations

import logging

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

__all__ = ["Patience"]

logger = logging.getLogger(__name__)


class Patience(EarlyStopping):
    """Lightning's early stopping, which says that it stopped, and why."""

    def __init__(self, monitor: str, passes: int) -> None:
        """End after ``passes`` without a value of ``monitor`` lower than all before."""
        super().__init__(monitor, patience=passes, min_delta=0.0, mode="min")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so, where passes were left."""
        ended = trainer.current_epoch
        exhausted = self.wait_count >= self.patience and ended != trainer.max_epochs
        if exhausted and trainer.is_global_zero:
            logger.info(
                "stopped after pass %d: no lower selection loss in %d passes", ended, self.patience
            )
