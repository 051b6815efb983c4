"""A cell of the grid: one training run, and its answers on the images that variants are judged on.

Nothing but VAL_SELECT, or folds cut from TRAIN and VAL_SELECT, can be handed in: every set is
checked by its role, and what is judged must not have been trained on.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from roadwork import POSITIVE
from roadwork.calibration.temperature import TemperatureScaling
from roadwork.data.columns import table_hash
from roadwork.data.contract import require_disjoint, require_role
from roadwork.data.exposure import Use, require_unexposed
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.data.views import view_count
from roadwork.errors import ConfigError, DataError, Interrupted, LeakageError, TrainingError
from roadwork.fingerprint import fingerprint
from roadwork.models.adapters import ADAPTERS
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import ClassifierSpec, build_classifier_network
from roadwork.models.inference import predict_logits
from roadwork.settings import Settings
from roadwork.training.finetune import finetune

__all__ = ["ANSWERS", "CellRecord", "CellResult", "cell_key", "run_cell"]

logger = logging.getLogger(__name__)

ANSWERS = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("log_odds", pa.float64(), nullable=False),
    ]
)
"""One row an image; ``log_odds`` of roadwork, calibrated by the temperature of the selection set.
"""


class CellRecord(BaseModel):
    """What is known of a cell beside its answers.

    Attributes:
        key: :func:`cell_key` of the settings that it was trained with.
        failure: why there are no answers; None where there are.
        best_epoch: the pass that was chosen; 0 is the probe.
        temperature: fitted on the selection set.
        trained: weights that were trained, the head included.
        weights: all weights.
        views: views of one photograph that are looked at for an answer.
        seconds: of fine-tuning and scoring on the machine that ran it, without pretraining.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    key: str
    failure: str | None = None
    best_epoch: int | None = None
    temperature: float | None = None
    trained: int | None = None
    weights: int | None = None
    views: int | None = None
    seconds: float


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Attributes:
        record: its figures, or why it failed.
        answers: rows of :data:`ANSWERS`, sorted by image; none where it failed.
    """

    record: CellRecord
    answers: pa.Table

    @property
    def content_hash(self) -> str:
        """Changes with any figure or answer."""
        text = self.record.model_dump_json() + table_hash(self.answers)
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``cell.json`` and ``answers.parquet``."""
        (folder / "cell.json").write_text(self.record.model_dump_json(indent=1), encoding="utf-8")
        pq.write_table(self.answers, folder / "answers.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote."""
        record = CellRecord.model_validate_json((folder / "cell.json").read_text("utf-8"))
        return cls(record, pq.read_table(folder / "answers.parquet"))


def cell_key(settings: Settings) -> str:
    """Name of what a cell is trained with; where its outputs go does not count."""
    return fingerprint(settings.model_copy(update={"runs": None}).model_dump_json())


def run_cell(
    backbone: Backbone,
    train: TrainSet,
    select: SelectSet,
    judged: SelectSet,
    settings: Settings,
    checkpoints: Path,
) -> CellResult:
    """Fine-tune on ``train``, choose the pass on ``select``, answer ``judged``.

    A run that fails with an error of roadwork's own (a loss that is not finite, settings that the
    data cannot serve) is a result, too. A leak and an interrupt are not: they are raised, as is
    whatever was not foreseen.

    Args:
        backbone: where fine-tuning starts.
        train: weights are fitted here.
        select: the pass and the temperature are chosen here.
        judged: ``select`` itself, or a fold that shares nothing with the two others.
        settings: resolved.
        checkpoints: folder of all checkpoints; cells that run at the same time do not meet in it.

    Raises:
        LeakageError: a set of another role, or one that was trained on.
        Interrupted: somebody stopped training, and so the grid.
    """
    require_role(train, "train a variant", TrainSet)
    require_role(select, "choose the pass of a variant", SelectSet)
    require_role(judged, "choose between variants", SelectSet)
    apart = judged.content_hash != select.content_hash
    if apart:
        require_disjoint(select, judged)
    require_disjoint(train, judged)
    key = cell_key(settings)
    start = time.monotonic()
    folder = checkpoints / f"ablation-{key}-{train.content_hash[:8]}"
    try:
        tuned = finetune(backbone, train, select, settings, folder)
        uses = tuple(Use) if apart else (Use.PRETRAIN, Use.TRAIN)
        require_unexposed(tuned.classifier, judged, "choose between variants on", uses)
        logits = predict_logits(tuned.classifier, select, settings.data)
        temperature = TemperatureScaling.fit(logits, select.labels).temperature
        if apart:
            logits = predict_logits(tuned.classifier, judged, settings.data)
    except (LeakageError, Interrupted):
        raise
    except (ConfigError, DataError, TrainingError) as error:
        logger.warning("the cell failed: %s", error)
        seconds = time.monotonic() - start
        record = CellRecord(key=key, failure=str(error), seconds=round(seconds, 1))
        return CellResult(record, ANSWERS.empty_table())
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    log_odds = (logits[:, POSITIVE] - logits[:, 1 - POSITIVE]) / temperature
    trained, weights = _count_weights(tuned.baseline.spec, settings)
    views = settings.backbone.views
    record = CellRecord(
        key=key,
        best_epoch=int(tuned.history["best_epoch"]),
        temperature=temperature,
        trained=trained,
        weights=weights,
        views=view_count(views.tiles) * (2 if views.flip else 1),
        seconds=round(time.monotonic() - start, 1),
    )
    columns = [judged.table.column(name) for name in ("sample_id", "group_id", "label")]
    answers = pa.Table.from_arrays([*columns, pa.array(log_odds)], schema=ANSWERS)
    return CellResult(record, answers.sort_by("sample_id").combine_chunks())


def _count_weights(spec: ClassifierSpec, settings: Settings) -> tuple[int, int]:
    """Weights that the adapter and the head train, and all that the finished network has."""
    network = build_classifier_network(spec)
    weights = sum(parameter.numel() for parameter in network.parameters())
    wanted = settings.finetune
    ADAPTERS[wanted.adapter].prepare(network.backbone, spec.backbone, wanted.rank, wanted.alpha)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trained, weights
