"""ExPLoRA: adapt a backbone to the training images without labels.

Khanna et al., "ExPLoRA: Parameter-Efficient Extended Pre-Training to Adapt Vision Transformers
under Domain Shifts", ICML 2025 (2406.10973). The last block, all layer norms and the class token
are trained in full, every other block through LoRA on queries and values; the loss is
self-distillation against a moving average of the student. The adapters are merged at the end, so
that an unchanged architecture comes out. Only images of the training set are seen.
"""

from __future__ import annotations

import copy
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from roadwork.data.exposure import Exposure, Use
from roadwork.data.loading import BatchStream, as_tensor, read_image, row_generator
from roadwork.data.manifest import TrainSet
from roadwork.errors import LeakageError
from roadwork.fingerprint import code_hash, fingerprint
from roadwork.models.adapters import add_lora, explora_parameters, last_block, merge_lora
from roadwork.models.backbone import Backbone, build_network
from roadwork.settings import PretrainSettings, Settings
from roadwork.training.crops import GLOBAL_CROPS, make_crops
from roadwork.training.dino import DinoHead, DinoLoss, koleo
from roadwork.training.fit import adamw, fit, require_finite
from roadwork.training.samplers import plain_order
from roadwork.training.views import image_reader

__all__ = ["pretrain"]

logger = logging.getLogger(__name__)
_KOLEO_WEIGHT = 0.1
_COLLAPSED = 0.05  # share of the largest possible entropy below which all pictures look alike


def pretrain(
    backbone: Backbone, train: TrainSet, settings: Settings, checkpoints: Path
) -> Backbone:
    """Adapt the backbone, or return it as it is with the reason logged.

    Args:
        backbone: where to start; left unchanged.
        train: images; the labels are not used.
        settings: resolved settings.
        checkpoints: folder of all checkpoints; this run's is named after its inputs.

    Raises:
        LeakageError: ``train`` is not the training set.
        TrainingError: a refused checkpoint or a loss that is not finite.
    """
    if not isinstance(train, TrainSet):
        raise LeakageError(f"pretraining takes the training set, not {type(train).__name__}")
    wanted = settings.pretrain
    assert isinstance(wanted.epochs, int)
    assert isinstance(wanted.batch_size, int)
    reason = _reason_to_skip(backbone, wanted)
    if reason is not None:
        logger.info("pretraining is skipped: %s", reason)
        return backbone
    torch.manual_seed(settings.seed)
    network = build_network(backbone.name, backbone.image_size)
    network.load_state_dict(backbone.network.state_dict(), strict=True)
    add_lora(network, backbone.name, wanted.rank, wanted.rank, exclude=last_block(network))
    explora_parameters(network)
    logger.info(
        "ExPLoRA: %d of %d weights train",
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        sum(p.numel() for p in network.parameters()),
    )
    read, uris = image_reader(settings), train.uris
    stream = BatchStream(
        len(train),
        wanted.batch_size,
        settings.seed,
        lambda rows, epoch: {
            "crops": as_tensor(
                [
                    make_crops(
                        read_image(uris[int(row)], read),
                        backbone.image_size,
                        row_generator(settings.seed, epoch, int(row)),
                    )
                    for row in rows
                ]
            )
        },
        order=plain_order(train, settings),
    )
    module = _Explora(network, backbone, wanted, steps=wanted.epochs * len(stream))
    folder = checkpoints / (
        "pretrain-"
        + fingerprint(
            backbone.content_hash,
            train.content_hash,
            wanted.model_dump_json(),
            str(settings.seed),
            code_hash([__name__]),
        )
    )
    fit(
        module,
        stream,
        None,
        epochs=wanted.epochs,
        folder=folder,
        checkpoint_every=settings.compute.checkpoint_every,
        precision=settings.compute.precision,
    )
    merge_lora(network)
    shutil.rmtree(folder, ignore_errors=True)
    return Backbone(
        name=backbone.name,
        image_size=backbone.image_size,
        network=network.cpu().eval(),
        origin=f"{backbone.origin}; ExPLoRA on {len(train)} training images",
        learned=backbone.learned,
        exposure=backbone.exposure.union(Exposure.of(Use.PRETRAIN, train)),
    )


def _reason_to_skip(backbone: Backbone, wanted: PretrainSettings) -> str | None:
    if not wanted.enabled:
        return "pretrain.enabled is false"
    if wanted.epochs == 0:
        return "pretrain.epochs is 0"
    if not backbone.info.transformer:
        return (
            f"{backbone.name} is a convolutional network, and ExPLoRA is defined for the blocks, "
            "norms and class token of a vision transformer"
        )
    return None


class _Explora(LightningModule):
    """Student, teacher and prototypes; the teacher follows the student's trained weights."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, backbone: Backbone, wanted: PretrainSettings, steps: int
    ) -> None:
        super().__init__()
        info = backbone.info
        self.student = network
        self.student_head = DinoHead(int(network.num_features), wanted.prototypes)  # pyright: ignore
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.student_head).requires_grad_(False)
        self.loss = DinoLoss(wanted.prototypes)
        self.wanted = wanted
        self.steps = steps
        self.register_buffer("mean", torch.tensor(info.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(info.std).view(1, 3, 1, 1), persistent=False)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        crops = batch["crops"].transpose(0, 1)  # (C, N, S, S, 3)
        count = crops.shape[0]
        pixels = crops.flatten(0, 1).permute(0, 3, 1, 2).float() / 255.0
        pixels = (pixels - self.mean) / self.std
        features = self.student(pixels)
        student = self.student_head(features).unflatten(0, (count, -1))
        with torch.no_grad():
            wide = pixels.unflatten(0, (count, -1))[:GLOBAL_CROPS].flatten(0, 1)
            teacher = self.teacher_head(self.teacher(wide)).unflatten(0, (GLOBAL_CROPS, -1))
        spread = koleo(features.unflatten(0, (count, -1))[0])
        loss = require_finite(
            self.loss(student, teacher) + _KOLEO_WEIGHT * spread, "self-distillation"
        )
        self.loss.update_centre(teacher)
        self.log("pretrain/loss", loss, on_step=False, on_epoch=True, batch_size=student.shape[1])
        mean = self.loss.targets(teacher).mean(dim=(0, 1))
        entropy = -(mean * (mean + 1e-12).log()).sum() / torch.log(torch.tensor(float(len(mean))))
        self.log("pretrain/entropy", entropy, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        # Not at the end of the batch: the checkpoint is saved there, before the module's own hook,
        # and would miss the teacher's last move.
        super().optimizer_step(*args, **kwargs)
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        pairs = (
            *zip(self.student.parameters(), self.teacher.parameters(), strict=True),
            *zip(self.student_head.parameters(), self.teacher_head.parameters(), strict=True),
        )
        for student, teacher in pairs:
            if student.requires_grad:
                teacher.lerp_(student, 1 - self.wanted.momentum)

    def on_train_epoch_end(self) -> None:
        entropy = float(self.trainer.callback_metrics.get("pretrain/entropy", 1.0))
        if entropy < _COLLAPSED:
            logger.warning(
                "pretraining collapses: the teacher gives all pictures nearly the same prototype "
                "(relative entropy %.3f); lower pretrain.learning_rate",
                entropy,
            )

    def configure_optimizers(self) -> Any:
        optimizer, schedule = adamw(self, self.wanted.learning_rate, 0.04, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["roadwork"] = {"random": torch.get_rng_state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        torch.set_rng_state(checkpoint["roadwork"]["random"])
