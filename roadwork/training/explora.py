"""The module that Lightning runs for ExPLoRA: student, teacher, DINO + iBOT + KoLeo.

The loss is that of DINOv2 (Oquab et al., 2304.07193): cross-entropy between crops for the class
token, cross-entropy behind the mask for the patches, and 0.1 KoLeo on the student's global class
tokens. From DINOv2's and DINOv3's published settings come also the student's temperature (0.1), the
shares of masked patches, the three iterations of Sinkhorn-Knopp, and where the teacher's
temperature (0.04) and the decay of the weights (0.04) start; here both stay there. Rank
and trained weights are ExPLoRA's. Ours are, because data, batches and steps are far fewer: the
start of the heads (:meth:`Explora.start_heads`), the number of prototypes, the teacher's momentum
at the start, light instead of strong colour jitter, and schedules as shares of the run; and the
learning rate, which the paper's scripts do not tell.
"""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from roadwork.models.backbone import BackboneInfo
from roadwork.models.masked import MaskedTransformer
from roadwork.models.sharding import shard
from roadwork.settings import OptimizerSettings, PretrainSettings
from roadwork.training.accumulation import in_parts
from roadwork.training.centring import CENTRINGS
from roadwork.training.collapse import collapse_figures, collapse_warning
from roadwork.training.collectives import all_mean
from roadwork.training.crops import GLOBAL_CROPS
from roadwork.training.dino import PrototypeHead, dino_loss, koleo
from roadwork.training.divergence import DivergenceGuard, learning_rate
from roadwork.training.ibot import ibot_loss
from roadwork.training.layer_decay import weight_groups
from roadwork.training.optimizers import OPTIMIZERS
from roadwork.training.schedules import scheduled
from roadwork.training.teacher import TEACHER_TEMPERATURE, follow, teacher_momentum

__all__ = ["FIGURES", "Branch", "Explora"]

logger = logging.getLogger(__name__)
_KOLEO_WEIGHT = 0.1
_WEIGHT_DECAY = 0.04

FIGURES = ("loss", "dino", "ibot", "koleo", "entropy", "divergence", "spread", "neighbour")
"""Logged each step as ``pretrain/NAME``; their means over a pass are the history."""


class Branch(nn.Module):
    """A transformer with its two heads; student and teacher are one each."""

    def __init__(self, backbone: MaskedTransformer, prototypes: int, hidden: int) -> None:
        """New heads on a transformer: one for class tokens, one for patches."""
        super().__init__()
        self.backbone = backbone
        width = len(backbone.mask_token)
        self.head = PrototypeHead(width, prototypes, hidden)
        self.patch_head = PrototypeHead(width, prototypes, hidden)

    def patches(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Prototype scores (M, P) of the hidden patches among tokens (B, P + N, D)."""
        return self.patch_head(tokens[:, self.backbone.prefix :][mask])


class Explora(LightningModule):
    """Student, teacher and prototypes; the teacher follows what trains of the student.

    Attributes:
        student: what trains.
        teacher: its moving average.
        history: for each finished pass the means of :data:`FIGURES`.
    """

    mean: Tensor
    std: Tensor
    sums: Tensor
    start: Tensor
    batches: Tensor

    def __init__(
        self,
        student: MaskedTransformer,
        info: BackboneInfo,
        wanted: PretrainSettings,
        steps: int,
        parts: int = 1,
    ) -> None:
        """Put heads on a prepared student and copy it to the teacher.

        Args:
            student: with its adapters, and with what trains marked so.
            info: how pixels are normalised.
            wanted: resolved settings.
            steps: of the whole run.
            parts: in which the student's tokens of a batch are computed.
        """
        super().__init__()
        self.student = Branch(student, wanted.prototypes, wanted.hidden)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.centring = CENTRINGS[wanted.centring].build(wanted.prototypes)
        self.patch_centring = CENTRINGS[wanted.centring].build(wanted.prototypes)
        self.wanted = wanted
        self.steps = steps
        self.parts = parts
        self.frozen_steps = round(wanted.freeze_prototypes * steps)
        self.history: list[dict[str, float]] = []
        self.guard = DivergenceGuard("pretrain")
        self._loss = torch.zeros(())  # of the step that is being taken
        self.register_buffer("mean", torch.tensor(info.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(info.std).view(1, 3, 1, 1), persistent=False)
        # Buffers, so that a checkpoint in the middle of a pass holds them.
        self.register_buffer("sums", torch.zeros(len(FIGURES)))
        self.register_buffer("start", torch.zeros(len(FIGURES)))
        self.register_buffer("batches", torch.zeros(()))

    @torch.no_grad()
    def start_heads(self, batch: dict[str, Tensor]) -> None:
        """Let the new heads tell apart what the backbone, as it came, tells apart in a batch.

        Call it once, before training and before anything is compiled, wrapped or cut; a checkpoint
        overrules it. Of the patches, those behind the masks are taken; without any, the patches'
        head has no part in the loss and stays as it is.
        """
        mask = batch["mask"].transpose(0, 1).flatten(0, 1)
        tokens = self.student.backbone(self._pixels(batch, "large", slice(0, GLOBAL_CROPS)))
        self.student.head.standardise(tokens[:, 0])
        patches = tokens[:, self.student.backbone.prefix :][mask]
        if len(patches):
            self.student.patch_head.standardise(patches)
        for name in ("head", "patch_head"):
            own = getattr(self.student, name).state_dict()
            getattr(self.teacher, name).load_state_dict(own, strict=True)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch of stacked :class:`~roadwork.training.crops.Crops`."""
        count = batch["gain"].shape[1]
        large = self._pixels(batch, "large", slice(0, GLOBAL_CROPS))
        mask = batch["mask"].transpose(0, 1).flatten(0, 1)
        with torch.no_grad():
            seen = self.teacher.backbone(large)
            targets = self.centring(self.teacher.head(seen[:, 0]), TEACHER_TEMPERATURE)
            hidden = self.teacher.patches(seen, mask)
            patch_targets = self.patch_centring(hidden, TEACHER_TEMPERATURE)
        tokens = self._tokens(pixels=large, mask=mask)
        features = tokens[:, 0]
        described = [features]
        if count > GLOBAL_CROPS:
            small = self._pixels(batch, "small", slice(GLOBAL_CROPS, count))
            described.append(self._tokens(pixels=small)[:, 0])
        scores = self.student.head(torch.cat(described)).unflatten(0, (count, -1))
        dino = dino_loss(scores, targets.unflatten(0, (GLOBAL_CROPS, -1)))
        ibot = ibot_loss(self.student.patches(tokens, mask), patch_targets, mask)
        spread = torch.stack([koleo(crop) for crop in features.chunk(GLOBAL_CROPS)]).mean()
        loss = dino + ibot + _KOLEO_WEIGHT * spread
        self._loss = loss.detach()
        self._record(
            {"loss": loss, "dino": dino, "ibot": ibot, "koleo": spread}
            | collapse_figures(targets, seen[:, 0].unflatten(0, (GLOBAL_CROPS, -1))),
            batch_size=scores.shape[1],
        )
        return loss

    def _tokens(self, **batch: Tensor) -> Tensor:
        return in_parts(lambda part: self.student.backbone(**part), batch, self.parts)

    def _pixels(self, batch: dict[str, Tensor], kind: str, crops: slice) -> Tensor:
        """Normalised pixels (C N, 3, S, S) of one kind of crop, crop by crop."""
        pixels = batch[kind].transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2).float() / 255.0
        gain = batch["gain"][:, crops].transpose(0, 1).flatten(0, 1)[:, :, None, None]
        offset = batch["offset"][:, crops].transpose(0, 1).flatten()[:, None, None, None]
        return ((pixels * gain + offset).clamp(0, 1) - self.mean) / self.std

    @torch.no_grad()
    def _record(self, figures: dict[str, Tensor], batch_size: int) -> None:
        # Of all processes, so that a checkpoint is the same whichever of them writes it.
        values = all_mean(torch.stack([figures[name].detach().float() for name in FIGURES]))
        if self.global_step == 0:
            self.start.copy_(values)
        self.sums.add_(values)
        self.batches.add_(1)
        logged = {f"pretrain/{name}": values[index] for index, name in enumerate(FIGURES)}
        self.log_dict(logged, on_step=True, on_epoch=False, batch_size=batch_size)

    def on_after_backward(self) -> None:
        """Hold the prototypes still at first: new heads would wreck the last block (DINO)."""
        if self.global_step < self.frozen_steps:
            self.student.head.prototypes.grad = None
            self.student.patch_head.prototypes.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm, and stop before a step that would spoil the weights."""
        limit = math.inf if gradient_clip_val is None else float(gradient_clip_val)
        figures = self.guard.clip(self, optimizer, [self._loss], limit)
        self.log("pretrain/grad_norm", torch.tensor(figures[-1]), on_step=True)
        self.log("pretrain/learning_rate", torch.tensor(learning_rate(optimizer)), on_step=True)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the student, and the teacher's after it.

        Not at the end of the batch: the checkpoint is saved there, before the module's own hook,
        and would miss the teacher's last move.
        """
        momentum = teacher_momentum(self.global_step, self.steps, self.wanted.momentum)
        super().optimizer_step(*args, **kwargs)
        follow(self.teacher, self.student, momentum)

    def on_train_epoch_end(self) -> None:
        """Enter the pass into the history; warn of a collapse."""
        figures = self._named(self.sums / self.batches)
        self.history.append(figures)
        self.sums.zero_()
        self.batches.zero_()
        warning = collapse_warning(figures, self.first)
        if warning is not None:
            logger.warning("pass %d: %s", len(self.history), warning)

    def shard(self, mesh: DeviceMesh) -> None:
        """Cut the weights of student and teacher alike, so that each part follows its own."""
        for branch in (self.student, self.teacher):
            for part in branch.children():
                shard(part, mesh)

    @property
    def first(self) -> dict[str, float]:
        """The figures of the first batch, that is of the backbone as it came and of new heads."""
        return self._named(self.start)

    @staticmethod
    def _named(values: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in zip(FIGURES, values.tolist(), strict=True)}

    def configure_optimizers(self) -> Any:
        """The chosen optimizer over all that trains, with the schedule of all steps."""
        wanted = OptimizerSettings(name=self.wanted.optimizer)
        groups = weight_groups(self, self.wanted.learning_rate, _WEIGHT_DECAY)
        optimizer = OPTIMIZERS[wanted.name].build(groups, self.steps, wanted)
        return {
            "optimizer": optimizer,
            "lr_scheduler": scheduled(optimizer, "cosine", self.steps),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of."""
        checkpoint["roadwork"] = {"history": self.history, "random": torch.get_rng_state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self.history = list(checkpoint["roadwork"]["history"])
        torch.set_rng_state(checkpoint["roadwork"]["random"])
