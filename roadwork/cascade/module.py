"""The module that Lightning runs when the heads of a cascade are trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from roadwork.cascade.losses import CASCADE_OBJECTIVES, cascade_losses
from roadwork.cascade.selection import SelectionLoss, selection_loss
from roadwork.settings import CascadeSettings
from roadwork.training.divergence import DivergenceGuard
from roadwork.training.schedules import adamw

__all__ = ["CascadeHeads", "HeadBatches"]

_WEIGHT_DECAY = 0.01


class HeadBatches:
    """What both heads read, with labels, in order; the same batches every time.

    Attributes:
        labels: (N,) of all rows.
    """

    def __init__(self, first: Tensor, second: Tensor, labels: Tensor, size: int = 4096) -> None:
        """``size`` rows of (N, D), (N, W) and (N,) at a time."""
        self.parts = {"first": first, "second": second, "labels": labels}
        self.labels = labels
        self.size = size

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(self.labels), self.size):
            yield self.take(slice(start, start + self.size))

    def take(self, rows: slice | Tensor) -> dict[str, Tensor]:
        """One batch of some rows."""
        return {name: part[rows] for name, part in self.parts.items()}


class CascadeHeads(LightningModule):
    """Two heads on standardised features; remembers those with the lowest selection loss.

    Logged are ``cascade/loss`` at every step, and the selection losses at every pass:
    ``cascade/select_nll`` of the cascade, ``cascade/select_first_nll`` and
    ``cascade/select_second_nll`` of the stages.

    Attributes:
        history: selection losses of every pass; pass 0 is the start.
        best_epoch: the pass with the lowest loss of the cascade.
    """

    def __init__(
        self,
        first: nn.Linear,
        second: nn.Linear,
        wanted: CascadeSettings,
        held_out: HeadBatches,
        steps: int,
    ) -> None:
        """Put together what one run trains.

        Args:
            first: head of stage 1, changed in place.
            second: head of stage 2, changed in place unless the first alone is trained.
            wanted: settings of the cascade.
            held_out: the selection set.
            steps: of the whole training.
        """
        super().__init__()
        self.first = first
        self.second = second.requires_grad_(wanted.trains == "heads")
        learned = CASCADE_OBJECTIVES[wanted.objective].learned_weights
        self.log_variances = nn.Parameter(torch.zeros(2), requires_grad=learned)
        self.wanted = wanted
        self.held_out = held_out
        self.steps = steps
        self.guard = DivergenceGuard("cascade")
        self.history: list[SelectionLoss] = []
        self.best_epoch = 0
        self.best_state: dict[str, Tensor] = {}
        self._logits: list[tuple[Tensor, Tensor]] = []
        self._losses: list[Tensor] = []

    @torch.no_grad()
    def score_start(self) -> None:
        """Selection losses of the start: pass 0 takes part in the choice."""
        self._logits = [self._judge(batch) for batch in self.held_out]
        self._record()

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, 2) of both stages."""
        return self.first(batch["first"]), self.second(batch["second"])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The objective on one batch."""
        first, second = self(batch)
        loss = cascade_losses(first, second, batch["labels"], self.wanted, self.log_variances)
        self._losses = [loss.detach()]
        self.log("cascade/loss", loss, on_step=True, on_epoch=False)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm, and stop before a step that would spoil the weights."""
        self.guard.clip(self, optimizer, self._losses, gradient_clip_val or math.inf)

    def on_validation_epoch_start(self) -> None:
        """Begin to collect logits."""
        self._logits = []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Collect the logits of one batch."""
        self._logits.append(self._judge(batch))

    def on_validation_epoch_end(self) -> None:
        """Judge the pass, and keep the heads if they are the best."""
        self._record()
        self.log_dict(self.logged)

    @property
    def logged(self) -> dict[str, float]:
        """Selection losses of the last pass, by the names under which they are logged."""
        last = self.history[-1]
        return {
            "cascade/select_nll": last.cascade,
            "cascade/select_first_nll": last.first,
            "cascade/select_second_nll": last.second,
        }

    def _judge(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        first, second = self(batch)
        return first.double().cpu(), second.double().cpu()

    def _record(self) -> None:
        first, second = (torch.cat(part).numpy() for part in zip(*self._logits, strict=True))
        found = selection_loss(first, second, self.held_out.labels.numpy())
        if not self.history or found.cascade < self.history[self.best_epoch].cascade:
            self.best_epoch = len(self.history)
            self.best_state = {k: v.detach().cpu().clone() for k, v in self.state_dict().items()}
        self.history.append(found)

    def configure_optimizers(self) -> Any:
        """AdamW with a schedule over all steps."""
        optimizer, schedule = adamw(self, self.wanted.learning_rate, _WEIGHT_DECAY, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of."""
        checkpoint["roadwork"] = {
            "history": [[loss.cascade, loss.first, loss.second] for loss in self.history],
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        state = checkpoint["roadwork"]
        losses: Sequence[Sequence[float]] = state["history"]
        self.history = [SelectionLoss(*values) for values in losses]
        self.best_epoch = int(state["best_epoch"])
        self.best_state = dict(state["best_state"])
