"""Evidence: what the registry and the log know of a candidate and of the champion, for the gate."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from registry.connection import Registry, registry_errors
from registry.ledger import read_ledger
from registry.resolution import alias_version, find_version, locate
from registry.tags import BUNDLE_HASH, CHAMPION_SCORES, RECALIBRATED_FROM, REPORT, SCORES
from roadwork.bundle import ModelBundle
from roadwork.errors import BundleError, ConfigError, DataError, ParityError, RegistryError
from roadwork.evaluation.metrics import METRICS
from roadwork.evaluation.record import EvaluationReport
from roadwork.evaluation.scored import ScoredSet
from roadwork.evidence import ALL_CLASSES, Champion, Evidence, Parity, Seen
from roadwork.pairing import TestScores
from roadwork.promotion import Verdict
from roadwork.promotion.budgets import measure_latency, megabytes
from roadwork.promotion.rivals import Contender, meet
from roadwork.promotion.spending import candidates_judged, next_opening
from roadwork.settings import PromoteSettings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["artifact", "collect_evidence", "load_report", "load_rival_scores", "load_scores"]


_ROUNDING = 1e-6
"""A report keeps ten digits of a figure."""


def collect_evidence(
    registry: Registry, reference: str = "candidate", settings: PromoteSettings | None = None
) -> Evidence:
    """Read the candidate's report and bundle, and compare it with the champion.

    Nothing is written: the test set counts as opened when a verdict is put into the log.

    Args:
        registry: where both are registered.
        reference: alias or version of the candidate.
        settings: what the gate asks; by default the settings of the run that made the bundle.

    Raises:
        RegistryError: there is no such version, its run has no report, or the log was changed.
        BundleError: the candidate's bundle is not intact.
        ConfigError: the settings in the bundle are those of another version of roadwork.
    """
    version = find_version(registry, reference)
    bundle = locate(registry, version)
    report = load_report(registry, version)
    settings = settings or _sealed_settings(bundle)
    verdicts = [entry.verdict for entry in read_ledger(registry.ledger) if entry.verdict]
    scores = _scores(lambda: load_scores(registry, version), report)
    known = isinstance(scores, TestScores)
    seen = scores.seen_by(bundle.exposure) if known else {}
    return Evidence.from_report(
        report,
        settings=settings,
        version=str(version.version),
        bundle_hash=bundle.hash,
        registered_hash=version.tags[BUNDLE_HASH],
        figures_hash=_figures_hash(json.loads(report.metrics_json())),
        bundle_figures_hash=_figures_hash(bundle.metrics),
        parity=_parity(bundle),
        thresholds=_thresholds(bundle),
        megabytes=megabytes(bundle),
        latency=None if settings.max_latency_ms is None else measure_latency(bundle),
        scores_fault=None if known else scores,
        seen=tuple(Seen(use=use, samples=n, groups=m) for use, (n, m) in seen.items()),
        judged=candidates_judged(verdicts, report.provenance.test_hash, bundle.hash),
        champion=_champion(registry, version, bundle, report, scores, settings, verdicts),
    )


def load_report(registry: Registry, version: ModelVersion) -> EvaluationReport:
    """The evaluation report that was registered with a version.

    Raises:
        RegistryError: its run has none.
        DataError: it was written by another version of roadwork.
    """
    return EvaluationReport.from_json(_of_version(registry, version, REPORT))


def load_scores(registry: Registry, version: ModelVersion, name: str = SCORES) -> TestScores:
    """What the version answered on its test set; or other scores that its run keeps by that name.

    Raises:
        RegistryError: its run has no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _of_version(registry, version, name)
    return TestScores.from_table(pq.read_table(pa.BufferReader(data)))


def load_rival_scores(
    registry: Registry, candidate: ModelVersion, champion: ModelVersion
) -> TestScores:
    """The champion's answers: on the candidate's own test set where that recalibrates it.

    Raises:
        RegistryError: the run that should keep them has no such file.
    """
    if _recalibrates(candidate, champion):
        return load_scores(registry, candidate, CHAMPION_SCORES)
    return load_scores(registry, champion)


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


def _scores(
    load: Callable[[], TestScores], report: EvaluationReport, key: str = "model"
) -> TestScores | str:
    """Answers on the test set of a report, or why these are not known.

    They are no part of the sealed bundle, so they must lead to the figures of the report's row.
    """
    try:
        scores = load()
    except (DataError, RegistryError) as error:
        return str(error)
    if scores.test_hash != report.provenance.test_hash:
        return "the test scores are of other images than the report: evaluate and register again"
    positive = scores.probabilities
    judged = ScoredSet(np.stack([1.0 - positive, positive], axis=1), scores.labels)
    for name in ("auroc", "brier"):
        found, told = METRICS[name].compute(judged).value, report.metric(name, key)
        expected = told.value if told else None
        # Undefined in both is agreement, too.
        if (found is None) != (expected is None) or abs((found or 0) - (expected or 0)) > _ROUNDING:
            return f"the test scores give another {METRICS[name].title} than the report"
    return scores


def _recalibrates(candidate: ModelVersion, champion: ModelVersion) -> bool:
    """Whether the candidate is the champion's network with a new policy.

    The champion's answers to the candidate's test set are then kept with the candidate, and are the
    baseline of its report.
    """
    return candidate.tags.get(RECALIBRATED_FROM) == champion.tags.get(BUNDLE_HASH, "unknown")


def _sealed_settings(bundle: ModelBundle) -> PromoteSettings:
    try:
        return PromoteSettings.model_validate(bundle.settings.get("promote", {}))
    except ValidationError as error:
        raise ConfigError(
            f"the settings in the {bundle.title} have another form of `promote` "
            f"({error.errors()[0]['msg']}): give a settings file"
        ) from None


def _champion(
    registry: Registry,
    candidate: ModelVersion,
    bundle: ModelBundle,
    report: EvaluationReport,
    scores: TestScores | str,
    settings: PromoteSettings,
    verdicts: list[Verdict],
) -> Champion | None:
    version = alias_version(registry, "champion")
    if version is None:
        return None
    number, sealed = str(version.version), version.tags.get(BUNDLE_HASH, "unknown")
    if sealed == bundle.hash:
        return Champion(version=number, bundle_hash=sealed, reason="same bundle")
    if isinstance(scores, str):
        return Champion(version=number, bundle_hash=sealed, reason=scores)
    try:
        champion = locate(registry, version)
        told, key = (
            (report, "baseline")
            if _recalibrates(candidate, version)
            else (load_report(registry, version), "model")
        )
    except (BundleError, DataError, RegistryError) as error:
        return Champion(version=number, bundle_hash=sealed, reason=str(error))
    theirs = _scores(lambda: load_rival_scores(registry, candidate, version), told, key)
    if isinstance(theirs, str):
        return Champion(version=number, bundle_hash=sealed, reason=theirs)
    opening = next_opening(
        verdicts,
        settings,
        test_hash=report.provenance.test_hash,
        candidate=bundle.hash,
        champion=champion.hash,
    )
    return meet(
        Contender(scores, bundle.exposure),
        Contender(theirs, champion.exposure),
        settings,
        opening,
        version=number,
        resamples=report.provenance.bootstrap,
        seed=report.provenance.seed,
    )
