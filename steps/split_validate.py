"""Step: cut the manifest into the five sets, and prove that nothing leaks between them."""

from __future__ import annotations

import logging
from typing import Annotated

from zenml import step

import materializers  # noqa: F401
from roadwork.data.manifest import (
    CalibrationSet,
    ConformalSet,
    Manifest,
    SelectSet,
    TestSet,
    TrainSet,
)
from roadwork.data.splits import cut
from roadwork.data.validation import ValidationReport, require_valid, validate_manifest
from roadwork.evaluation.evaluate import summarise_data
from roadwork.evaluation.record import DataSummary
from roadwork.settings import Settings
from steps.caching import library_cache
from steps.folders import reports

logger = logging.getLogger(__name__)


@step(
    cache_policy=library_cache(
        "roadwork.data.splits", "roadwork.data.validation", "roadwork.evaluation.evaluate"
    )
)
def split_validate(
    manifest: Manifest, settings: Settings, reference_fingerprint: str
) -> tuple[
    Annotated[TrainSet, "train"],
    Annotated[SelectSet, "select"],
    Annotated[CalibrationSet, "calibrate"],
    Annotated[ConformalSet, "conformal"],
    Annotated[TestSet, "test"],
    Annotated[ValidationReport, "validation"],
    Annotated[DataSummary, "data_summary"],
    Annotated[dict[str, str], "set_hashes"],
]:
    """Whole groups go to one set each; Great Expectations checks the outcome.

    ``reference_fingerprint`` changes with the profile that ``data.reference`` names, and so the
    cache key does.
    """
    splits = cut(manifest, settings.split, settings.seed)
    held_out = settings.split.held_out_sources
    report = validate_manifest(manifest, splits, settings.data, held_out)
    if not report.success:
        page = reports(settings) / "validation.html"
        page.write_text(report.html, encoding="utf-8")
        page.with_suffix(".json").write_text(report.results, encoding="utf-8")
        logger.error("the validation failed; its page: %s", page)
    require_valid(report)
    return (
        splits.train,
        splits.select,
        splits.calibrate,
        splits.conformal,
        splits.test,
        report,
        summarise_data(manifest, splits.each()),
        splits.hashes(),
    )
