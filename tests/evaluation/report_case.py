"""A small, fully determined evaluation that the report's tests share."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from roadwork.calibration.base import softmax
from roadwork.calibration.choice import compare_calibrators
from roadwork.conformal import MondrianConformal
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import (
    DUPLICATES,
    QUARANTINE,
    SCHEMA,
    ConformalSet,
    Manifest,
    TestSet,
    TrainSet,
)
from roadwork.evaluation.evaluate import Baseline, build_report, summarise_data
from roadwork.evaluation.record import EvaluationReport, ModelInfo
from roadwork.risk_control import DeferPromise, DeferThreshold, levels_from
from roadwork.settings import Settings, parse_settings

GOLDEN = Path(__file__).parent / "golden" / "report.json"


def make_table(rows: int, start: int = 0, labels: np.ndarray | None = None) -> pa.Table:
    """Rows of the manifest with ids counted from ``start``, six frames a drive."""
    numbers = range(start, start + rows)
    truth = np.arange(rows) % 3 != 0 if labels is None else labels
    values: dict[str, list[Any]] = {
        "sample_id": [f"{number:016x}" for number in numbers],
        "uri": [f"images/{number}.jpg" for number in numbers],
        "file": [f"drive-{number // 6:03d}/frame-{number % 6}.jpg" for number in numbers],
        "sha256": [f"{number:064x}" for number in numbers],
        "phash": list(numbers),
        "group_id": [f"drive-{number // 6:03d}" for number in numbers],
        "drive": [f"drive-{number // 6:03d}" for number in numbers],
        "source": ["dashcam" if number % 2 else "phone" for number in numbers],
        "label": truth.astype(int).tolist(),
        "width": [512] * rows,
        "height": [288] * rows,
        "bytes": [40_000] * rows,
        "luminance": [110.0] * rows,
        "contrast": [50.0] * rows,
        "saturation": [40.0] * rows,
        "sharpness": [30.0] * rows,
        "capture": [None] * rows,
        "time_of_day": [("day", "day", "day", "dusk", "night")[n % 5] for n in numbers],
        "weather": [("clear", "rain", None, "fog")[n // 6 % 4] for n in numbers],
        "environment": [None] * rows,
        "city": ["one"] * rows,
        "camera": [None] * rows,
        "works_size": [None] * rows,
        "domain": [None] * rows,
    }
    return pa.table(values, schema=SCHEMA)


def make_logits(labels: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Two-class logits (N, 2) that lean towards the label by ``strength`` standard deviations."""
    rng = np.random.default_rng(seed)
    score = strength * (labels - 0.5) + rng.standard_normal(len(labels))
    return np.stack([np.zeros(len(labels)), score.round(3) * 3.0], axis=1)


def make_settings(**changes: Any) -> Settings:
    """Few resamples, so that tests are quick."""
    evaluate = {"bootstrap": 200, "worst": 6, "slices": ["source", "time_of_day", "weather"]}
    return parse_settings({"name": "case", "evaluate": evaluate, **changes})


def make_thumbnails(rows: list[int]) -> list[bytes]:
    """A flat picture of one colour for each row."""
    pictures = []
    for row in rows:
        buffer = io.BytesIO()
        Image.new("RGB", (160, 90), (row * 37 % 256, 120, 90)).save(buffer, "JPEG", quality=70)
        pictures.append(buffer.getvalue())
    return pictures


MODEL = ModelInfo(
    title="Fine-tuned and calibrated",
    description="A vision transformer with adapters, pooled over one global view and nine tiles.",
    backbone="vit_tiny_patch16_dinov3",
    weights="random",
    adapter="full",
    calibrator="temperature scaling, T = 1.5",
    input="96 px, one global view and 9 tiles",
)


def make_arguments(rows: int = 240, strength: float = 2.2, **changes: Any) -> dict[str, Any]:
    """Arguments of ``build_report`` for ``rows`` test images."""
    fitted = ConformalSet(make_table(240, start=60_000))
    test = changes.get("test") or TestSet(make_table(rows, start=90_000))
    train = TrainSet(make_table(300))
    conformal = MondrianConformal.fit(
        softmax(make_logits(fitted.labels, strength, 1) / 1.5),
        fitted.labels,
        0.1,
        groups=fitted.groups,
    )
    logits = make_logits(test.labels, strength, 2)
    bad = [
        {
            "file": "x.jpg",
            "source": "phone",
            "reason": "truncated",
            "detail": "ends early",
            "fault": True,
        },
        {
            "file": "y.jpg",
            "source": "phone",
            "reason": "empty",
            "detail": "no bytes",
            "fault": True,
        },
    ]
    manifest = Manifest(
        table=pa.concat_tables([train.table, fitted.table, test.table]),
        quarantine=pa.Table.from_pylist(bad, schema=QUARANTINE),
        duplicates=make_table(3, start=200_000)
        .append_column(DUPLICATES.field("kept"), pa.array(["0" * 16] * 3))
        .append_column(DUPLICATES.field("reason"), pa.array(["content"] * 3)),
    )
    exposure = Exposure.of(Use.TRAIN, train).union(Exposure.of(Use.CONFORMALISE, fitted))
    arguments = {
        "settings": make_settings(),
        "test": test,
        "probabilities": softmax(logits / 1.5),
        "uncalibrated": softmax(logits),
        "conformal": conformal,
        "exposure": exposure,
        "data": summarise_data(manifest, [train, fitted, test]),
        "model": MODEL,
        "baseline": Baseline(
            "Frozen features and logistic regression",
            "ImageNet features without fine-tuning.",
            softmax(make_logits(test.labels, 1.2, 3) / 2.0),
        ),
        "thumbnails": make_thumbnails,
    }
    return {**arguments, **changes}


def make_report(rows: int = 240, strength: float = 2.2, **changes: Any) -> EvaluationReport:
    """The report of :func:`make_arguments`."""
    return build_report(**make_arguments(rows, strength, **changes))


def make_full_report(
    rows: int = 240, *, max_error: float = 0.2, **changes: Any
) -> EvaluationReport:
    """The same with a calibrator chosen by "auto" and a defer threshold."""
    labels = make_table(240, start=30_000).column("label").to_numpy()
    groups = np.asarray(make_table(240, start=30_000).column("group_id").to_pylist())
    logits = make_logits(labels, 2.2, 4)
    promise = DeferPromise(max_error=max_error, max_missed=0.4, delta=0.1)
    defer = DeferThreshold.fit(
        softmax(make_logits(labels, 2.2, 5) / 1.5),
        labels,
        levels_from(softmax(logits / 1.5), labels, 40, promise),
        groups,
        promise=promise,
    )
    compared = compare_calibrators(logits, labels, groups)
    return make_report(rows, calibrators=compared, defer=defer, **changes)


def golden_figures() -> dict[str, Any]:
    """Figures of fixed logits, without the hashes and words that change with other code."""
    tree = json.loads(make_report(120, thumbnails=None).to_json())
    del tree["provenance"]
    for key in ("guarantee", "title", "note"):
        del tree["conformal"][key]
    return tree


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden_figures(), sort_keys=True, indent=1) + "\n")
