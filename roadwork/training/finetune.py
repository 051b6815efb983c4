"""Fine-tuning: from the probe's head, adapters are trained on TRAIN and judged on VAL_SELECT."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from torch import Tensor, nn

from roadwork.data.contract import validate_model_selection
from roadwork.data.exposure import Exposure, Use, require_unexposed
from roadwork.data.loading import BatchStream, ViewReader, as_tensor, row_generator
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.fingerprint import code_hash, fingerprint
from roadwork.models.adapters import (
    ADAPTERS,
    freeze_batch_statistics,
    restore_trainable,
    trainable_state,
)
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import (
    Classifier,
    RoadworkNetwork,
    build_classifier_network,
)
from roadwork.settings import Settings
from roadwork.training.fit import adamw, fit, require_finite
from roadwork.training.probe import fit_probe

__all__ = ["Finetuned", "finetune"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning gives.

    Attributes:
        classifier: the model with the lowest selection loss; pass 0 is the probe itself.
        baseline: the probe.
        history: selection loss by pass, and which pass was chosen.
    """

    classifier: Classifier
    baseline: Classifier
    history: dict[str, Any]


def finetune(
    backbone: Backbone, train: TrainSet, select: SelectSet, settings: Settings, checkpoints: Path
) -> Finetuned:
    """Fit the probe, then train from it; goes on from a checkpoint of the same inputs.

    Args:
        backbone: where to start.
        train: weights are fitted here.
        select: the pass is chosen here.
        settings: resolved settings.
        checkpoints: folder of all checkpoints; this run's is named after its inputs.

    Raises:
        LeakageError: the two sets overlap, or the backbone was exposed to the selection set.
        TrainingError: a refused checkpoint or a loss that is not finite.
    """
    validate_model_selection(train, select)
    require_unexposed(backbone, select, "select a model on")
    wanted = settings.finetune
    assert isinstance(wanted.epochs, int)
    assert isinstance(wanted.batch_size, int)
    baseline = fit_probe(backbone, train, settings)
    network = _copy(baseline)
    adapted = ADAPTERS[wanted.adapter].prepare(
        network.backbone, backbone.name, wanted.rank, wanted.alpha
    )
    logger.info(
        "fine-tuning %s (%s): %d layers adapted, %d of %d weights train",
        backbone.name,
        ADAPTERS[wanted.adapter].title,
        len(adapted),
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        sum(p.numel() for p in network.parameters()),
    )
    torch.manual_seed(settings.seed)
    size, tiles = backbone.image_size, settings.backbone.views.tiles
    read = ViewReader(train, size, tiles, settings.data.workers)
    labels = train.labels
    stream = BatchStream(
        len(train),
        wanted.batch_size,
        settings.seed,
        lambda rows, epoch: augmented_batch(read, labels, rows, epoch, settings.seed),
    )
    held_out = _SelectBatches(ViewReader(select, size, tiles, settings.data.workers), select.labels)
    module = _Finetune(network, settings, steps=wanted.epochs * len(stream))
    folder = checkpoints / (
        "finetune-"
        + fingerprint(
            backbone.content_hash,
            train.content_hash,
            select.content_hash,
            settings.finetune.model_dump_json(),
            settings.backbone.model_dump_json(),
            str(settings.seed),
            code_hash("data", "models", "training"),
        )
    )
    if wanted.epochs > 0:
        module.score_start(held_out)
        fit(
            module,
            stream,
            held_out,
            epochs=wanted.epochs,
            folder=folder,
            checkpoint_every=wanted.checkpoint_every,
            precision=wanted.precision,
            monitor="select/nll",
            patience=wanted.patience,
        )
        restore_trainable(network, module.best_state)
    ADAPTERS[wanted.adapter].merge(network.backbone)
    shutil.rmtree(folder, ignore_errors=True)
    spec = baseline.spec.model_copy(
        update={"title": "fine-tuned model", "adapter": ADAPTERS[wanted.adapter].title}
    )
    exposure = baseline.exposure.union(Exposure.of(Use.SELECT, select))
    classifier = Classifier(spec, network.cpu().eval(), exposure)
    history = {"select_nll": module.history, "best_epoch": module.best_epoch}
    return Finetuned(classifier, baseline, history)


def _copy(classifier: Classifier) -> RoadworkNetwork:
    network = build_classifier_network(classifier.spec)
    network.load_state_dict(classifier.network.state_dict(), strict=True)
    return network


def augmented_batch(
    read: ViewReader, labels: NDArray[np.int64], rows: NDArray[np.int64], epoch: int, seed: int
) -> dict[str, Tensor]:
    """Views, labels and light augmentation of some rows: mirrored at random, colours shifted."""
    views, gains, offsets = [], [], []
    for row in rows:
        rng = row_generator(seed, epoch, int(row))
        image = read(int(row))
        views.append(image[:, :, ::-1] if rng.random() < 0.5 else image)
        gains.append(rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3))
        offsets.append(rng.uniform(-0.08, 0.08))
    return {
        "views": as_tensor(views),
        "labels": torch.from_numpy(labels[rows]),
        "gain": torch.from_numpy(np.stack(gains)).float(),
        "offset": torch.from_numpy(np.array(offsets)).float(),
    }


class _SelectBatches:
    """The selection set in order, the same batches every time."""

    def __init__(self, reader: ViewReader, labels: NDArray[np.int64], size: int = 16) -> None:
        self.reader = reader
        self.labels = labels
        self.size = size

    def __len__(self) -> int:
        return -(-len(self.reader) // self.size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for index, views in enumerate(self.reader.batches(self.size)):
            labels = self.labels[index * self.size : (index + 1) * self.size]
            yield {"views": torch.from_numpy(views), "labels": torch.from_numpy(labels)}


class _Finetune(LightningModule):
    """Cross-entropy on augmented views; remembers the weights with the lowest selection loss."""

    def __init__(self, network: RoadworkNetwork, settings: Settings, steps: int) -> None:
        super().__init__()
        self.network = network
        self.wanted = settings.finetune
        self.steps = steps
        self.loss = nn.CrossEntropyLoss(label_smoothing=self.wanted.label_smoothing)
        self.history: list[float] = []
        self.best_epoch = 0
        self.best_state: dict[str, Tensor] = {}
        self._sum = torch.zeros((), dtype=torch.float64)
        self._count = 0

    @torch.inference_mode()
    def score_start(self, batches: _SelectBatches) -> None:
        """Selection loss of the probe: pass 0 takes part in the choice."""
        self.network.eval()
        total, count = 0.0, 0
        for batch in batches:
            loss = nn.functional.cross_entropy(
                self.network(batch["views"]).double(), batch["labels"], reduction="sum"
            )
            total, count = total + float(loss), count + len(batch["labels"])
        self.history = [total / count]
        self.best_state = trainable_state(self.network)
        self.network.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        freeze_batch_statistics(self.network)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        count = batch["views"].shape[1]
        pixels = self.network.pixels(batch["views"])
        gain = batch["gain"].repeat_interleave(count, 0)[:, :, None, None]
        offset = batch["offset"].repeat_interleave(count, 0)[:, None, None, None]
        pixels = (pixels * gain + offset).clamp(0, 1)
        logits = self.network.head(self.network.features_of(pixels, count))
        loss = require_finite(self.loss(logits, batch["labels"]), "training")
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(logits))
        return loss

    def on_validation_epoch_start(self) -> None:
        self._sum, self._count = torch.zeros((), dtype=torch.float64), 0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits = self.network(batch["views"]).double().cpu()
        labels = batch["labels"].cpu()
        self._sum = self._sum + nn.functional.cross_entropy(logits, labels, reduction="sum")
        self._count += len(labels)

    def on_validation_epoch_end(self) -> None:
        loss = float(self._sum) / self._count
        if loss < min(self.history):
            self.best_epoch = len(self.history)
            self.best_state = trainable_state(self.network)
        self.history.append(loss)
        self.log("select/nll", loss)

    def configure_optimizers(self) -> Any:
        assert isinstance(self.wanted.learning_rate, float)
        optimizer, schedule = adamw(
            self.network, self.wanted.learning_rate, self.wanted.weight_decay, self.steps
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["roadwork"] = {
            "history": list(self.history),
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "random": torch.get_rng_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["roadwork"]
        self.history = list(state["history"])
        self.best_epoch = int(state["best_epoch"])
        self.best_state = dict(state["best_state"])
        torch.set_rng_state(state["random"])
