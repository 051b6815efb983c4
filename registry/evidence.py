"""Evidence: what the registry knows of a candidate and of the champion, for the gate."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.connection import Registry, registry_errors
from registry.resolution import alias_version, find_version, locate
from registry.tags import BUNDLE_HASH, REPORT, SCORES
from roadwork.bundle import ModelBundle
from roadwork.errors import BundleError, ParityError, RegistryError
from roadwork.evaluation.record import EvaluationReport
from roadwork.evidence import ALL_CLASSES, Champion, Evidence, Parity
from roadwork.pairing import TestScores, UnpairableError, compare

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["artifact", "collect_evidence", "load_report", "load_scores"]


def collect_evidence(registry: Registry, reference: str = "candidate") -> Evidence:
    """Read the candidate's report and bundle, and compare it with the champion.

    Args:
        registry: where both are registered.
        reference: alias or version of the candidate.

    Raises:
        RegistryError: there is no such version, or its run has no report.
        BundleError: the candidate's bundle is not intact.
    """
    version = find_version(registry, reference)
    bundle = locate(registry, version)
    report = load_report(registry, version)
    return Evidence.from_report(
        report,
        version=str(version.version),
        bundle_hash=bundle.hash,
        registered_hash=version.tags[BUNDLE_HASH],
        figures_hash=_figures_hash(json.loads(report.metrics_json())),
        bundle_figures_hash=_figures_hash(bundle.metrics),
        parity=_parity(bundle),
        thresholds=_thresholds(bundle),
        champion=_champion(registry, version, bundle, report),
    )


def load_report(registry: Registry, version: ModelVersion) -> EvaluationReport:
    """The evaluation report that was registered with a version.

    Raises:
        RegistryError: its run has none.
        DataError: it was written by another version of roadwork.
    """
    return EvaluationReport.from_json(_of_version(registry, version, REPORT))


def load_scores(registry: Registry, version: ModelVersion) -> TestScores:
    """What the version answered on its test set.

    Raises:
        RegistryError: its run has no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _of_version(registry, version, SCORES)
    return TestScores.from_table(pq.read_table(pa.BufferReader(data)))


def artifact(registry: Registry, run: str, name: str) -> bytes:
    """One file of a run.

    Raises:
        RegistryError: the run has no such file, or it cannot be fetched.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        registry_errors(f"the run {run} has no {name}"),
    ):
        return Path(registry.client.download_artifacts(run, name, folder)).read_bytes()


def _of_version(registry: Registry, version: ModelVersion, name: str) -> bytes:
    if not version.run_id:
        raise RegistryError(f"version {version.version} belongs to no run, so it has no {name}")
    try:
        return artifact(registry, version.run_id, name)
    except RegistryError as error:
        raise RegistryError(
            f"version {version.version} has no {name} in its run {version.run_id}: "
            f"{error.__cause__}"
        ) from error


def _figures_hash(figures: Mapping[str, Any]) -> str:
    """Hash of a report's figures, without what is filled in later and without pictures."""
    kept = {key: value for key, value in figures.items() if key not in ("parity", "gates")}
    if "worst_errors" in kept:
        kept["worst_errors"] = [
            {key: value for key, value in error.items() if key != "thumbnail"}
            for error in kept["worst_errors"]
        ]
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _parity(bundle: ModelBundle) -> Parity:
    try:
        bundle.parity.require()
    except ParityError as error:
        return Parity(accepted=False, detail=str(error))
    engines = ", ".join(
        f"{name} {'accepted' if engine.accepted else 'refused'}"
        for name, engine in sorted(bundle.parity.engines.items())
    )
    return Parity(accepted=True, detail=engines)


def _thresholds(bundle: ModelBundle) -> dict[str, tuple[int, int | None]]:
    conformal = bundle.conformal
    overall = conformal.promise(None)
    if overall is not None:
        return {ALL_CLASSES: (overall.points, overall.rank)}
    promised = {name: conformal.promise(k) for k, name in enumerate(bundle.config.classes)}
    return {name: (seen.points, seen.rank) for name, seen in promised.items() if seen is not None}


def _champion(
    registry: Registry, candidate: ModelVersion, bundle: ModelBundle, report: EvaluationReport
) -> Champion | None:
    version = alias_version(registry, "champion")
    if version is None:
        return None
    number, sealed = str(version.version), version.tags.get(BUNDLE_HASH, "unknown")
    if sealed == bundle.hash:
        return Champion(version=number, bundle_hash=sealed, difference=None, reason="same bundle")
    try:
        champion = locate(registry, version)
        difference = compare(
            load_scores(registry, candidate),
            load_scores(registry, version),
            (bundle.exposure, champion.exposure),
            resamples=report.provenance.bootstrap,
            seed=report.provenance.seed,
        )
    except (BundleError, RegistryError, UnpairableError) as error:
        return Champion(version=number, bundle_hash=sealed, difference=None, reason=str(error))
    return Champion(version=number, bundle_hash=champion.hash, difference=difference)
