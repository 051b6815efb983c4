"""ExPLoRA: adapt a backbone to the training images without labels.

Khanna et al., "ExPLoRA: Parameter-Efficient Extended Pre-Training to Adapt Vision Transformers
under Domain Shifts", ICML 2025 (2406.10973). The last block, all layer norms and the class token
are trained in full, every other block through LoRA on queries and values, by the self-supervised
loss the backbone came from (:mod:`roadwork.training.explora`). The adapters are merged at the end,
so that an unchanged architecture comes out. Only images of the training set are seen.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from roadwork.data.exposure import Exposure, Use
from roadwork.data.loading import BatchStream, batch_share, read_image, row_generator
from roadwork.data.manifest import TrainSet
from roadwork.errors import LeakageError
from roadwork.fingerprint import code_hash, fingerprint
from roadwork.models.adapters import add_lora, explora_parameters, last_block, merge_lora
from roadwork.models.backbone import Backbone, build_network
from roadwork.models.execution import execution
from roadwork.models.masked import MaskedTransformer
from roadwork.models.sharding import whole
from roadwork.settings import PretrainSettings, Settings
from roadwork.training.crops import Crops, local_size, make_crops
from roadwork.training.curves import Tracker
from roadwork.training.explora import Explora
from roadwork.training.fit import fit
from roadwork.training.launch import launched
from roadwork.training.processes import join, must_launch
from roadwork.training.recorder import Recorder
from roadwork.training.samplers import plain_order
from roadwork.training.views import image_reader

__all__ = ["Pretrained", "pretrain"]

logger = logging.getLogger(__name__)
_START = 64  # training images from which the heads begin


@dataclass(frozen=True)
class Pretrained:
    """What pretraining gives.

    Attributes:
        backbone: plain, with the adapters merged; the one that was given if it was skipped.
        history: ``skipped``: why, or None. Otherwise also ``passes``: the mean figures of every
            pass (:data:`roadwork.training.explora.FIGURES`), ``start``: those of the first batch,
            ``weights`` and ``trained_weights``: of the backbone, ``execution``, and ``curves``:
            every logged value by step (:mod:`roadwork.training.curves`).
    """

    backbone: Backbone
    history: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``backbone/`` and ``history.json``."""
        (folder / "backbone").mkdir()
        self.backbone.save(folder / "backbone")
        (folder / "history.json").write_text(json.dumps(self.history))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        history = json.loads((folder / "history.json").read_text())
        return cls(Backbone.load(folder / "backbone"), history)


def pretrain(
    backbone: Backbone,
    train: TrainSet,
    settings: Settings,
    checkpoints: Path,
    *,
    read: Callable[[str], Image.Image] | None = None,
    tracker: Tracker | None = None,
) -> Pretrained:
    """Adapt the backbone, or return it as it is with the reason logged.

    With ``compute.processes`` the work is done by processes that are started for it; within
    processes that torchrun started, all call this together, and all are given the result.

    Args:
        backbone: where to start; left unchanged.
        train: images; the labels are not used.
        settings: resolved settings.
        checkpoints: folder of all checkpoints; this run's is named after its inputs.
        read: gives the RGB picture of an address, for callers who keep them decoded; by default
            as the settings say. Processes that are started read as the settings say.
        tracker: is told what is logged, while training runs.

    Raises:
        ConfigError: the processes cannot share a batch.
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
        return Pretrained(backbone, {"skipped": reason})
    if must_launch(settings.compute):
        batch_share(len(train), wanted.batch_size, settings.compute.processes)
        given = {"backbone": backbone, "train": train}
        with launched("pretrain", given, settings, checkpoints, tracker) as results:
            return Pretrained.load(results)
    group = join(settings.compute)
    torch.manual_seed(settings.seed)
    student = student_of(backbone, wanted.rank)
    counts = {
        "weights": sum(p.numel() for p in student.network.parameters()),
        "trained_weights": sum(p.numel() for p in student.network.parameters() if p.requires_grad),
    }
    logger.info("ExPLoRA: %(trained_weights)d of %(weights)d weights train", counts)
    if read is None:
        read = partial(read_image, read=image_reader(settings))
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
    with ThreadPoolExecutor(max(1, settings.data.workers)) as pool:
        batches = _batches(train.uris, read, backbone.image_size, settings, pool)
        order = plain_order(train, settings)
        stream = BatchStream(
            len(train),
            wanted.batch_size,
            settings.seed,
            batches,
            order=order,
            rank=group.rank,
            world=group.world,
        )
        module = Explora(
            student,
            backbone.info,
            wanted,
            steps=wanted.epochs * len(stream),
            parts=settings.compute.accumulate,
        )
        # All processes take the same rows, whichever share of the batches is theirs.
        first = batches(order(0)[:_START], 0)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        module.to(device).start_heads({name: part.to(device) for name, part in first.items()})
        module.cpu()
        recorder = Recorder(tracker)
        with (
            execution(student, settings.compute) as computed,
            execution(module.teacher.backbone, settings.compute),
        ):
            fit(
                module,
                stream,
                None,
                epochs=wanted.epochs,
                folder=folder,
                checkpoint_every=settings.compute.checkpoint_every,
                precision=settings.compute.precision,
                recorder=recorder,
                strategy=settings.compute.strategy,
            )
    if group.shared and settings.compute.strategy == "fsdp":
        state = whole(student.state_dict())
        student = student_of(backbone, wanted.rank)  # what was cut stays cut
        student.load_state_dict(state, strict=True)
    network = student.network
    merge_lora(network)
    group.wait()
    if group.first:
        shutil.rmtree(folder, ignore_errors=True)
    adapted = Backbone(
        name=backbone.name,
        image_size=backbone.image_size,
        network=network.cpu().eval(),
        origin=f"{backbone.origin}; ExPLoRA on {len(train)} training images",
        learned=backbone.learned,
        exposure=backbone.exposure.union(Exposure.of(Use.PRETRAIN, train)),
    )
    history = {
        "skipped": None,
        "passes": module.history,
        "start": module.first,
        "execution": {**computed, "processes": group.world},
        "curves": recorder.curves.columns(),
    }
    return Pretrained(adapted, {**history, **counts})


def student_of(backbone: Backbone, rank: int) -> MaskedTransformer:
    """A copy of the backbone with LoRA on all blocks but the last, for global and local crops.

    LoRA's scale ``alpha / rank`` is 1: the paper does not tell its alpha.
    """
    network = build_network(backbone.name, backbone.image_size)
    network.load_state_dict(backbone.network.state_dict(), strict=True)
    add_lora(network, backbone.name, rank, rank, exclude=last_block(network))
    explora_parameters(network)
    return MaskedTransformer(network, (backbone.image_size, local_size(backbone.image_size)))


def _batches(
    uris: Sequence[str],
    read: Callable[[str], Image.Image],
    size: int,
    settings: Settings,
    pool: ThreadPoolExecutor,
) -> Callable[[NDArray[np.int64], int], dict[str, Tensor]]:
    """Makes the batch of some rows in a pass: every field of :class:`Crops`, stacked."""
    wanted = settings.pretrain

    def crops(row: int, epoch: int) -> Crops:
        generator = row_generator(settings.seed, epoch, row)
        return make_crops(
            read(uris[row]), size, wanted.local_crops, wanted.mask_probability, generator
        )

    def batch(rows: NDArray[np.int64], epoch: int) -> dict[str, Tensor]:
        found = list(pool.map(lambda row: crops(int(row), epoch), rows))
        names = ("large", "small", "gain", "offset", "mask")
        return {
            name: torch.from_numpy(np.stack([getattr(one, name) for one in found]))
            for name in names
        }

    return batch


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
