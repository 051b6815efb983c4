"""Divergence: a step that would spoil the weights is refused before it is taken.

Gradients are clipped to a norm; a norm that is no number stops training, so that weights, optimizer
and checkpoints stay good. The losses of a step and the norm come to the host in one transfer, for
which the step waits. Hard negatives and Sophia's curvature have transfers of their own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim import Optimizer

from roadwork.errors import TrainingError
from roadwork.models.sharding import whole
from roadwork.training.checkpoint import CheckpointEvery

__all__ = ["DivergenceGuard", "gradient_norm", "learning_rate"]

logger = logging.getLogger(__name__)
_ALARMING = 1000.0  # times the limit


class DivergenceGuard:
    """Looks at the loss and the gradients of every step.

    It warns once of gradients that explode without being infinite; after a resume, once more.
    """

    def __init__(self, part: str) -> None:
        """``part`` of the settings has the ``learning_rate`` that messages speak of."""
        self.part = part
        self._warned = False

    def clip(
        self, module: LightningModule, optimizer: Optimizer, losses: Iterable[Tensor], limit: float
    ) -> list[float]:
        """Scale the gradients down to a norm of at most ``limit``.

        Args:
            module: trains.
            optimizer: whose parameters have the gradients.
            losses: scalars, from which the gradients come.
            limit: of the norm over all parameters.

        Returns:
            The losses, and behind them the norm as it was.

        Raises:
            TrainingError: one of them is no number. The weights are as they were.
        """
        norm = whole(nn.utils.clip_grad_norm_(_parameters(optimizer), limit))
        figures = self.require_finite(module, optimizer, [*losses, norm])
        if figures[-1] > _ALARMING * limit and not self._warned:
            self._warned = True
            logger.warning(
                "the gradients' norm is %.3g in %s: it was clipped to %g. If it stays so, lower "
                "%s.learning_rate",
                figures[-1],
                _place(module, optimizer),
                limit,
                self.part,
            )
        return figures

    def require_finite(
        self, module: LightningModule, optimizer: Optimizer, figures: Iterable[Tensor]
    ) -> list[float]:
        """Losses and, last, the norm of their gradients, as numbers.

        Raises:
            TrainingError: one of them is none; it says where and what to do.
        """
        values: list[float] = torch.stack([f.detach().float() for f in figures]).tolist()
        for value in values[:-1]:
            if not math.isfinite(value):
                raise self._error(module, optimizer, f"the loss is {value}")
        if not math.isfinite(values[-1]):
            what = f"the loss is {values[-2]:.4g}, but the norm of its gradients is {values[-1]}"
            raise self._error(module, optimizer, what)
        return values

    def _error(self, module: LightningModule, optimizer: Optimizer, what: str) -> TrainingError:
        trainer = module.trainer
        kept = [path for path in map(_written, trainer.callbacks) if path]  # pyright: ignore
        advice = f"Lower {self.part}.learning_rate; training then starts anew"
        if str(trainer.precision) != "32-true":
            advice = f"Lower {self.part}.learning_rate, or set compute.precision: 32; "
            advice += (
                "with precision 32 it goes on from there, with another rate it starts anew"
                if kept
                else "training then starts anew"
            )
        where = (
            f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint was written yet"
        )
        return TrainingError(
            f"training stopped in {_place(module, optimizer)}: {what}. The step was not taken, and "
            f"{where}. {advice}."
        )


def _written(callback: object) -> str:
    """The checkpoint that a callback wrote; empty where it wrote none."""
    if isinstance(callback, CheckpointEvery):
        return str(callback.path) if callback.path.exists() else ""
    if isinstance(callback, ModelCheckpoint):
        return callback.last_model_path or callback.best_model_path
    return ""


def gradient_norm(optimizer: Optimizer) -> Tensor:
    """Euclidean norm of all gradients."""
    gradients = [p.grad for p in _parameters(optimizer) if p.grad is not None]
    return whole(nn.utils.get_total_norm(gradients))


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _place(module: LightningModule, optimizer: Optimizer) -> str:
    trainer = module.trainer
    steps = int(trainer.num_training_batches) * int(trainer.max_epochs or 0)
    return (
        f"pass {trainer.current_epoch + 1} of {trainer.max_epochs}, step "
        f"{trainer.global_step + 1} of {steps}, at a learning rate of {learning_rate(optimizer):g}"
    )


def learning_rate(optimizer: Optimizer) -> float:
    """Rate of the fastest group, that of the head; ScheduleFree's own warm-up counts."""
    # Before its first step ScheduleFree has none to tell.
    return max(group.get("scheduled_lr") or group["lr"] for group in optimizer.param_groups)
