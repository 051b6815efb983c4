"""Checkpoints: written whole or not at all, read as tensors and plain values only."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import CheckpointIO

from roadwork.errors import TrainingError

__all__ = ["CheckpointEvery", "SafeCheckpointIO", "load_checkpoint"]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it can run code.

    Raises:
        TrainingError: it is damaged, or holds anything but tensors and plain values.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TrainingError(
            f"the checkpoint {path} is refused: it is damaged, or holds objects other than tensors "
            f"and plain values ({reason[:160]}). Delete it to train from the start."
        ) from None
    if not isinstance(found, dict) or "global_step" not in found:
        raise TrainingError(
            f"the checkpoint {path} is refused: it was not written by training. Delete it to train "
            "from the start."
        )
    return found


class SafeCheckpointIO(CheckpointIO):
    """Writes to a temporary file and renames; reads with ``weights_only=True``."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write and rename, so that a killed process leaves the earlier checkpoint whole.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        target = Path(path)
        partial = target.with_suffix(".partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            what = "the disk is full: make room" if full else f"{error}: make the folder writable"
            goes_on = (
                "goes on from the earlier one (scripts/train.py: with --ckpt_path)"
                if target.exists()
                else "starts anew"
            )
            raise TrainingError(
                f"cannot write the checkpoint {target}: {what}; then the same command {goes_on}"
            ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read; ``weights_only`` cannot be switched off."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class CheckpointEvery(Callback):
    """Saves after every so many steps, and after the first step of a pass.

    Never after the last step of a pass: validation comes next, and the first step of the following
    pass records its outcome. Where passes have a single step, that is too late, and the outcome is
    saved right before it.
    """

    def __init__(self, path: Path, steps: int) -> None:
        """Overwrite ``path`` each time."""
        self.path = path
        self.steps = steps

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the outcome of a pass of one step."""
        # Not at the start of the pass: Lightning would take the one before for unfinished.
        if trainer.num_training_batches == 1 and trainer.current_epoch > 0:
            trainer.save_checkpoint(self.path)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        last = batch_idx + 1 >= trainer.num_training_batches
        due = batch_idx == 0 or trainer.global_step % self.steps == 0
        if due and not last:
            trainer.save_checkpoint(self.path)
