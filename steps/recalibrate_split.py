"""Step of a recalibration: what is new to the champion, cut into three sets by group."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.bundle import ModelBundle
from roadwork.data.manifest import CalibrationSet, ConformalSet, Manifest, TestSet
from roadwork.data.seen import set_aside_seen, write_seen
from roadwork.data.splits import cut_policy
from roadwork.data.validation import ValidationReport, require_valid, validate_manifest
from roadwork.evaluation.evaluate import summarise_data
from roadwork.evaluation.record import DataSummary
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.folders import reports

logger = logging.getLogger(__name__)


@step(
    cache_policy=library_cache(
        "roadwork.data.seen",
        "roadwork.data.splits",
        "roadwork.data.validation",
        "roadwork.evaluation.evaluate",
    )
)
def recalibrate_split(
    champion: ModelBundle,
    manifest: Manifest,
    seen: str,
    settings: Settings,
    reference_fingerprint: str,
) -> tuple[
    Annotated[CalibrationSet, "calibrate"],
    Annotated[ConformalSet, "conformal"],
    Annotated[TestSet, "test"],
    Annotated[Manifest, "new_manifest"],
    Annotated[ValidationReport, "validation"],
    Annotated[DataSummary, "data_summary"],
    Annotated[dict[str, str], "set_hashes"],
]:
    """What was seen lies as a table in the folder of reports, each row with its reason.

    ``reference_fingerprint`` changes with the profile that ``data.reference`` names, and so the
    cache key does.
    """
    new = set_aside_seen(manifest, champion.exposure, champion.title, stop=seen == "raise")
    listed = write_seen(new, reports(settings) / f"{settings.name}-seen.csv")
    logger.info("what the %s has seen is listed in %s", champion.title, listed)
    splits = cut_policy(new, settings.split, settings.seed)
    report = validate_manifest(new, splits, settings.data)
    if not report.success:
        page = reports(settings) / f"{settings.name}-validation.html"
        page.write_text(report.html, encoding="utf-8")
        page.with_suffix(".json").write_text(report.results, encoding="utf-8")
        logger.error("the validation failed; its page: %s", page)
    require_valid(report)
    return (
        *splits.each(),
        new,
        report,
        summarise_data(new, splits.each()),
        splits.hashes(),
    )  # pyright: ignore[reportReturnType]
