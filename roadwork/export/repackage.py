"""Repackaging: a new policy around a sealed network becomes a bundle of its own.

Graph, weights, preprocessing, decision rule, golden pictures and licences are those of the old
bundle, byte for byte. Parity is proven again, because it speaks of probabilities and sets, which
are new.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from roadwork.bundle import ModelBundle
from roadwork.bundle_files import to_json
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import SampleSet
from roadwork.evaluation.card import model_card
from roadwork.evaluation.record import EvaluationReport
from roadwork.evaluation.report import render_html
from roadwork.export.golden import views_of
from roadwork.export.package import (
    ENGINES,
    Packaged,
    licence_notes,
    parity_check,
    portable,
    write_numbered,
)
from roadwork.export.parity import EngineParity, ParityReport, check_parity
from roadwork.recalibration import Recalibrated, SealedNetwork
from roadwork.settings import Settings

__all__ = ["LINEAGE", "repackage"]

logger = logging.getLogger(__name__)

LINEAGE = "recalibration.json"
"""File of the bundle that names the one whose network it has."""

_PHOTOGRAPHS = 24  # of a new set, compared beside the golden pictures


def repackage(
    champion: ModelBundle,
    policy: Recalibrated,
    report: EvaluationReport,
    photographs: SampleSet,
    settings: Settings,
    folder: Path,
) -> Packaged:
    """Compare every engine under the new policy, and write the new bundle.

    The reference is what was evaluated: on the golden pictures the network's own logits, which the
    old bundle keeps; on the photographs those of ONNX Runtime, from which the policy was fitted.
    There ONNX Runtime is compared with itself in a batch and alone, and other engines with it. An
    engine that was refused before stays refused.

    Args:
        champion: the bundle that was recalibrated.
        policy: fitted on its logits.
        report: of the policy.
        photographs: real inputs for the comparison of engines; none of them enters the bundle.
        settings: of the recalibration.
        folder: receives the bundle, in a sub-folder named after the old one.

    Raises:
        ParityError: the graph does not answer like the network under the new policy; there is no
            bundle then.
        BundleError: the bundle cannot be written.
    """
    parity = _parity(champion, policy, photographs, settings)
    for name, engine in parity.engines.items():
        logger.info(
            "parity %s: %s", name, "accepted" if engine.accepted else "; ".join(engine.reasons)
        )
    parity.require()
    report = report.with_parity([parity_check(engine) for engine in parity.engines.values()])
    parts: dict[str, bytes | Path] = {name: champion.read(name) for name in champion.digests}
    parts |= {
        "calibration.json": to_json(policy.calibrator.model),
        "conformal.json": to_json(policy.conformal.model),
        "exposure.bin": policy.conformal.exposure.union(policy.calibrator.exposure).to_bytes(),
        "metrics.json": report.metrics_json(),
        "parity.json": to_json(parity),
        "report.html": render_html(report).encode(),
        "settings.json": portable(settings).model_dump_json(indent=1).encode(),
        "README.md": model_card(
            report,
            title=f"roadwork: {settings.name}",
            licence_notes=licence_notes(report.model.backbone, report.model.weights),
        ).encode(),
        LINEAGE: to_json({"schema_version": 1, "recalibrated_from": champion.hash}),
    }
    target = folder / f"{settings.name}-{champion.hash[:12]}"
    return Packaged(write_numbered(target, parts), report)


def _parity(
    champion: ModelBundle, policy: Recalibrated, photographs: SampleSet, settings: Settings
) -> ParityReport:
    form, golden = champion.preprocessor, champion.golden()
    drawn = views_of([champion.read(case.file) for case in golden.cases], form.size, form.tiles)
    reader = ViewReader(photographs, form.size, form.tiles, settings.data.workers)
    rows = np.unique(np.linspace(0, len(reader) - 1, min(_PHOTOGRAPHS, len(reader))).astype(int))
    real = np.stack([reader(int(row)) for row in rows])
    served = SealedNetwork.open(champion).engine.run(real).astype(np.float64)
    reference = np.concatenate([np.array([case.logits for case in golden.cases]), served])
    views = np.concatenate([drawn, real])

    def compare(name: str, known: EngineParity) -> EngineParity:
        if not known.accepted:
            return known
        return check_parity(
            name,
            reference,
            ENGINES[name](champion.read("model.onnx")).run,
            views,
            policy.calibrator.model,
            policy.conformal.model,
            settings.export,
            champion.policy,
            champion.config.positive,
        )

    engines = {name: compare(name, known) for name, known in champion.parity.engines.items()}
    return ParityReport(reference=champion.parity.reference, engines=engines)
