"""The one place that runs Lightning: deterministic, resumable between any two steps."""

from __future__ import annotations

import logging
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from roadwork.allocator import keep_freed_memory
from roadwork.data.loading import BatchStream
from roadwork.errors import Interrupted
from roadwork.training.checkpoint import CheckpointEvery, SafeCheckpointIO, load_checkpoint
from roadwork.training.patience import Patience
from roadwork.training.processes import current
from roadwork.training.recorder import Recorder
from roadwork.training.strategies import trainer_arguments

__all__ = ["PlainProgress", "fit"]

logger = logging.getLogger(__name__)
_LINE_EVERY = 10.0  # seconds between two plain lines


def fit(
    module: LightningModule,
    stream: BatchStream,
    select: Any,
    *,
    epochs: int,
    folder: Path,
    checkpoint_every: int,
    precision: str = "32",
    monitor: str | None = None,
    patience: int = 1,
    recorder: Recorder | None = None,
    strategy: str = "ddp",
) -> None:
    """Train ``module`` in place; go on from ``folder/last.ckpt`` if there is one.

    Within a group of processes (:func:`roadwork.training.processes.join`) all call this together.

    Args:
        module: holds the weights, the loss and the optimizer.
        stream: training batches.
        select: batches of the selection set, or None.
        epochs: passes over the training set.
        folder: receives the checkpoint.
        checkpoint_every: steps between two checkpoints.
        precision: ``32`` or ``bf16``.
        monitor: name of the logged value for early stopping, lower is better; or None.
        patience: passes without a better value before training stops.
        recorder: takes down what the module logs.
        strategy: what several processes share, ``ddp`` or ``fsdp``.

    Raises:
        ConfigError: the strategy does not suit the module, or the machines share no folder.
        Interrupted: somebody stopped training.
        TrainingError: the checkpoint is refused, or the loss is not finite.
    """
    keep_freed_memory()
    checkpoint = folder / "last.ckpt"
    group = current()
    resume = checkpoint if group.agreed(checkpoint.exists()) else None
    if resume is not None:
        step = load_checkpoint(resume)["global_step"]
        logger.info("going on from the checkpoint of step %d", step)
    live = sys.stderr.isatty()
    bar: Callback = RichProgressBar(leave=True) if live else PlainProgress()
    # Before the checkpoint is saved: it must hold the values of its own step.
    recorders = [] if recorder is None else [recorder]
    callbacks: list[Callback] = [bar, *recorders, CheckpointEvery(checkpoint, checkpoint_every)]
    if monitor is not None:
        callbacks.append(Patience(monitor, patience))
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning advises more worker processes; our stream decodes in threads ahead of use.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
        # Every process logs the same figures: they come from the whole batch.
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
        # Convolutions compute with channels innermost; DDP's buckets need not.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view.*")
        # Features are changed by nobody in place.
        warnings.filterwarnings("ignore", message=".*FSDP2-wrapped module.*returned a view.*")
        trainer = Trainer(
            **trainer_arguments(group, strategy),
            max_epochs=epochs,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=live,
            num_sanity_val_steps=0,
            gradient_clip_val=1.0,
            callbacks=callbacks,
            plugins=[SafeCheckpointIO()],
            default_root_dir=folder,
            deterministic="warn" if torch.cuda.is_available() else True,
            limit_val_batches=None if select is not None else 0,
        )
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, stream, select, ckpt_path=resume, weights_only=True)
        except SystemExit:
            if not trainer.interrupted:
                raise
            # Lightning turns an interrupt into an exit, and ignores every later interrupt.
            signal.signal(signal.SIGINT, handler)
            raise Interrupted(
                f"training was interrupted at step {trainer.global_step}; the same command goes on "
                "from the last checkpoint"
            ) from None


class PlainProgress(Callback):
    """One line every ten seconds and one per pass, for logs."""

    def __init__(self) -> None:
        """Start counting with the first batch."""
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print now and then."""
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY:
            self._last = now
            self._line(trainer, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the pass's values."""
        self._line(trainer, int(trainer.num_training_batches))

    def _line(self, trainer: Trainer, batch: int) -> None:
        if not trainer.is_global_zero:
            return
        values = " ".join(
            f"{name} {float(value):.4f}"
            for name, value in sorted(trainer.callback_metrics.items())
            if not name.endswith(("_step", "_epoch"))
        )
        logger.info(
            "epoch %d of %s, batch %d of %d: %s",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            batch,
            int(trainer.num_training_batches),
            values,
        )
