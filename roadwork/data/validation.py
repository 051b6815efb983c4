"""Validation of the splits with Great Expectations, before anything is fitted.

Every check looks at the table of photographs, never at pixels. A check that fails because of the
data is told apart from one that could not be carried out: the latter says nothing about the data.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from roadwork.data.manifest import Manifest
from roadwork.data.splits import Splits
from roadwork.environment import silence_telemetry
from roadwork.errors import DataError, LeakageError
from roadwork.settings import DataSettings

if TYPE_CHECKING:
    from roadwork.data.validation_plan import PlannedCheck

__all__ = ["Check", "ValidationReport", "require_valid", "validate_manifest"]

_MOST_OFFENDERS = 20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Check(_Record):
    """One expectation and what came of it.

    Attributes:
        name: stable identifier.
        title: what is expected, as a sentence.
        leak: whether a failure means that an evaluation would be dishonest.
        success: whether the expectation holds.
        broken: whether the check itself could not be carried out; ``success`` is then false.
        observed: how many rows or keys offend, or None where the check broke.
        offenders: the first 20 of them, by name.
        detail: why the check broke; empty otherwise.
    """

    name: str
    title: str
    leak: bool
    success: bool
    broken: bool
    observed: int | None
    offenders: tuple[str, ...]
    detail: str

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        if self.success:
            return "holds"
        if self.broken:
            return f"the check itself broke, which says nothing about the data: {self.detail}"
        more = ", …" if (self.observed or 0) > len(self.offenders) else ""
        named = f": {', '.join(self.offenders)}{more}" if self.offenders else ""
        return f"{self.observed} offend{'s' if self.observed == 1 else ''}{named}"


class SetCounts(_Record):
    """Size of one set."""

    images: int
    groups: int
    positives: int


class ValidationReport(_Record):
    """All checks of one manifest and its splits.

    Attributes:
        engine: who carried the checks out.
        counts: size of each set, by role.
        quarantine: unusable files by reason.
        exact_copies: copies that ingest left out.
        checks: every check, in a fixed order.
    """

    engine: str
    counts: dict[str, SetCounts]
    quarantine: dict[str, int]
    exact_copies: int
    checks: tuple[Check, ...]

    @property
    def success(self) -> bool:
        """Whether every check holds."""
        return all(check.success for check in self.checks)

    @property
    def html(self) -> str:
        """One self-contained page."""
        from roadwork.data.validation_page import render_validation

        return render_validation(self)


def validate_manifest(
    manifest: Manifest, splits: Splits, settings: DataSettings
) -> ValidationReport:
    """Check the rows of the five sets against the manifest, and against each other.

    The expectations are those of Great Expectations 1.x, on an in-memory table; nothing is
    written and nothing is raised for bad data (see :func:`require_valid`).
    """
    table = _table(splits)
    with _quiet():
        import great_expectations

        from roadwork.data.validation_plan import plan_checks

        planned = plan_checks(len(manifest), settings)
        results = _run(table, planned)
    return ValidationReport(
        engine=f"great_expectations {great_expectations.__version__}",
        counts={
            str(part.role): SetCounts(
                images=len(part),
                groups=len(set(part.groups.tolist())),
                positives=int((part.labels > 0).sum()),
            )
            for part in splits.each()
        },
        quarantine=dict(sorted(manifest.quarantine_counts().items())),
        exact_copies=manifest.duplicates.num_rows,
        checks=tuple(_check(plan, result) for plan, result in zip(planned, results, strict=True)),
    )


def require_valid(report: ValidationReport) -> None:
    """Raise unless every check holds.

    Raises:
        LeakageError: something is in two sets, or looks like something in another set.
        DataError: another check failed, or a check could not be carried out.
    """
    failed = [check for check in report.checks if not check.success]
    if not failed:
        return
    leaks = [check for check in failed if check.leak and not check.broken]
    lines = "\n  ".join(f"{check.title}: {check.verdict}" for check in leaks or failed)
    if leaks:
        raise LeakageError(
            f"the sets leak into each other, so that no evaluation could be believed:\n  {lines}\n"
            "Give images that belong together the same group and cut the splits again."
        )
    broken = all(check.broken for check in failed)
    count = f"{len(failed)} of {len(report.checks)} checks of the data do not hold"
    advice = (
        "Look at the installation of great-expectations and pandas (`roadwork doctor`)."
        if broken
        else "Correct the source and ingest again."
    )
    raise DataError(f"{count}:\n  {lines}\n{advice}")


def _table(splits: Splits) -> pa.Table:
    parts = [
        part.table.append_column("role", pa.array([str(part.role)] * len(part)))
        .append_column("split", pa.array([str(part.role.split)] * len(part)))
        .replace_schema_metadata(None)
        for part in splits.each()
    ]
    return pa.concat_tables(parts, promote_options="permissive")


def _run(table: pa.Table, planned: list[PlannedCheck]) -> list[Any]:
    """Results in the order of the plan."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    # Without this default it would make a folder for a documentation site.
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    context = gx.get_context(
        mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores)
    )
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("roadwork").add_dataframe_asset("manifest")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(
        {"dataframe": table.to_pandas()}
    )
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["file"]}
    # One at a time: a suite sorts its results, and one broken metric breaks its neighbours.
    return [batch.validate(plan.expectation, result_format=form) for plan in planned]


def _check(plan: PlannedCheck, result: Any) -> Check:
    broken = _exception(result.exception_info)
    details = result.result.get("details") or {}
    offenders = details.get("offenders")
    if offenders is None:
        offenders = _offending_rows(result.result)
    observed = result.result.get("unexpected_count", len(offenders))
    success = bool(result.success) and broken is None
    if not success and broken is None and not observed:
        # Checks of the whole table name no rows, but say what they saw.
        offenders = [f"the table has {result.result.get('observed_value')}"]
        observed = 1
    return Check(
        name=plan.name,
        title=plan.title,
        leak=plan.leak,
        success=success,
        broken=broken is not None,
        observed=None if broken is not None else int(observed),
        offenders=tuple(offenders[:_MOST_OFFENDERS]) if not success and broken is None else (),
        detail=broken or "",
    )


def _offending_rows(result: dict[str, Any]) -> list[str]:
    rows = result.get("unexpected_index_list") or []
    named = []
    for row in rows:
        values = [str(value) for key, value in row.items() if key != "file"]
        named.append(f"{row['file']} ({', '.join(values)})" if values else str(row["file"]))
    return named


def _exception(info: Any) -> str | None:
    """Message of the exception that Great Expectations swallowed, if it did."""
    if not isinstance(info, dict):
        return None
    if info.get("raised_exception"):
        return str(info.get("exception_message") or "unknown error").strip()
    for inner in info.values():
        found = _exception(inner)
        if found is not None:
            return found
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Great Expectations from reporting home and from filling the log with its set-up."""
    silence_telemetry()
    os.environ.setdefault("TQDM_DISABLE", "1")
    logger = logging.getLogger("great_expectations")
    # Its children set levels of their own, so that only cutting the way up silences them.
    silent, propagate = logging.NullHandler(), logger.propagate
    logger.addHandler(silent)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(silent)
