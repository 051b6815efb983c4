"""Packaging: the fitted parts, exported and proven alike, become a sealed bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from roadwork.bundle import ModelBundle, write_bundle
from roadwork.bundle_files import BundleConfig, Policy, Preprocessor, golden_parts, to_json
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import SampleSet
from roadwork.engines import OnnxRuntimeEngine, OpenVinoEngine
from roadwork.engines.base import Engine
from roadwork.errors import BundleError
from roadwork.evaluation.card import model_card
from roadwork.evaluation.record import Check, EvaluationReport
from roadwork.evaluation.report import render_html
from roadwork.export.golden import golden_pictures, views_of
from roadwork.export.onnx import export_onnx
from roadwork.export.parity import EngineParity, ParityReport, check_parity
from roadwork.models.backbone import BACKBONES, contiguous
from roadwork.models.classifier import Classifier
from roadwork.models.inference import run_network
from roadwork.settings import Settings, SyntheticSource

__all__ = [
    "ENGINES",
    "Packaged",
    "licence_notes",
    "package",
    "parity_check",
    "portable",
    "write_numbered",
]

logger = logging.getLogger(__name__)
_PHOTOGRAPHS = 24  # of the selection set, compared beside the golden pictures

ENGINES: Mapping[str, type[OnnxRuntimeEngine] | type[OpenVinoEngine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
}
"""What runs an exported graph, by name."""


@dataclass(frozen=True)
class Packaged:
    """A sealed bundle and the report that it holds."""

    bundle: ModelBundle
    report: EvaluationReport


def package(
    classifier: Classifier,
    calibrator: FittedCalibrator,
    conformal: FittedConformal,
    report: EvaluationReport,
    photographs: SampleSet,
    settings: Settings,
    folder: Path,
) -> Packaged:
    """Export, compare every engine with the evaluated network, and write the bundle.

    Args:
        classifier: the evaluated network.
        calibrator: fitted on its logits.
        conformal: fitted on its calibrated probabilities.
        report: its evaluation.
        photographs: real inputs for the comparison of engines; none of them enters the bundle.
        settings: resolved settings of the run.
        folder: receives the bundle, in a sub-folder named after the weights.

    Raises:
        ParityError: the exported graph does not answer like the network; there is no bundle then.
        BundleError: the bundle cannot be written.
    """
    spec = classifier.spec
    model = export_onnx(classifier)
    pictures = golden_pictures(settings.export.golden)
    golden = views_of(pictures, spec.image_size, spec.views.tiles)
    reader = ViewReader(photographs, spec.image_size, spec.views.tiles, settings.data.workers)
    rows = np.unique(np.linspace(0, len(reader) - 1, min(_PHOTOGRAPHS, len(reader))).astype(int))
    views = np.concatenate([golden, *[reader(int(row))[None] for row in rows]])
    logits = run_network(classifier.network, views)
    parity = ParityReport(
        engines={
            name: _compare(
                name, ENGINES[name](model), logits, views, calibrator, conformal, settings
            )
            for name in dict.fromkeys(("onnxruntime", *settings.export.engines))
        }
    )
    for name, engine in parity.engines.items():
        logger.info(
            "parity %s: %s", name, "accepted" if engine.accepted else "; ".join(engine.reasons)
        )
    parity.require()
    report = report.with_parity([parity_check(engine) for engine in parity.engines.values()])
    parts: dict[str, bytes | Path] = {
        "config.json": to_json(_config(classifier)),
        "preprocessor.json": to_json(
            Preprocessor(
                size=spec.image_size,
                tiles=spec.views.tiles,
                max_megapixels=settings.data.max_megapixels,
            )
        ),
        "model.safetensors": save(contiguous(classifier.network.state_dict())),
        "model.onnx": model,
        "calibration.json": to_json(calibrator.model),
        "conformal.json": to_json(conformal.model),
        "policy.json": to_json(Policy()),
        "exposure.bin": conformal.exposure.union(
            classifier.exposure, calibrator.exposure
        ).to_bytes(),
        "metrics.json": report.metrics_json(),
        "parity.json": to_json(parity),
        "report.html": render_html(report).encode(),
        "settings.json": portable(settings).model_dump_json(indent=1).encode(),
        "README.md": model_card(
            report,
            title=f"roadwork: {settings.name}",
            licence_notes=licence_notes(spec.backbone, spec.origin),
        ).encode(),
        **golden_parts(
            pictures, logits[: len(pictures)], settings.export.max_probability_difference
        ),
    }
    target = folder / f"{settings.name}-{classifier.content_hash[:12]}"
    return Packaged(write_numbered(target, parts), report)


def portable(settings: Settings) -> Settings:
    """The settings without paths of this machine: a bundle tells nothing of where it was made."""
    data, backbone = settings.data, settings.backbone
    sources = tuple(
        source if isinstance(source, SyntheticSource) else source.model_copy(update={"root": None})
        for source in data.sources
    )
    shards = data.shards.model_copy(update={"to": None})
    data = data.model_copy(update={"sources": sources, "reference": None, "shards": shards})
    if backbone.weights_path is not None:
        # The name stays: without it, settings with local weights would not be valid.
        name = Path(backbone.weights_path.name)
        backbone = backbone.model_copy(update={"weights_path": name})
    return settings.model_copy(update={"runs": None, "data": data, "backbone": backbone})


def write_numbered(target: Path, parts: Mapping[str, bytes | Path]) -> ModelBundle:
    """Write a bundle; another one of the same name (a new report, say) gets a number.

    Raises:
        BundleError: the bundle cannot be written.
    """
    for number in range(2, 1000):
        try:
            return write_bundle(target, parts)
        except BundleError:
            if not target.exists():
                raise
            target = target.with_name(f"{target.name.partition('.')[0]}.{number}")
    raise BundleError(f"{target.parent} holds too many bundles of these weights: remove some")


def _compare(
    name: str,
    engine: Engine,
    logits: NDArray[np.float64],
    views: NDArray[np.uint8],
    calibrator: FittedCalibrator,
    conformal: FittedConformal,
    settings: Settings,
) -> EngineParity:
    return check_parity(
        name, logits, engine.run, views, calibrator.model, conformal.model, settings.export
    )


def parity_check(parity: EngineParity) -> Check:
    """One engine's parity as a line of the report."""
    if parity.accepted:
        detail = (
            f"{parity.images} images: largest difference of a probability "
            f"{parity.max_probability_difference or 0:.1e}, decisions and sets alike"
        )
    else:
        detail = "; ".join(parity.reasons)
    return Check(name=f"{parity.engine} answers like torch", passed=parity.accepted, detail=detail)


def _config(classifier: Classifier) -> BundleConfig:
    spec = classifier.spec
    return BundleConfig(
        classes=spec.classes,
        positive=1,
        backbone=spec.backbone,
        adapter=spec.adapter,
        image_size=spec.image_size,
        tiles=spec.views.tiles,
        aggregator=spec.views.aggregator,
        architecture=spec.model_dump(mode="json"),
    )


def licence_notes(backbone: str, origin: str) -> list[str]:
    """Sentences of the card on licences; ``origin`` says where the first weights are from."""
    return [
        "Code of roadwork: Apache-2.0.",
        f"Starting weights of {backbone}: {BACKBONES[backbone].licence} ({origin}).",
        "Photographs: see the sources of the training data; none of them is in this bundle. The "
        "golden pictures are drawn by roadwork.",
    ]
