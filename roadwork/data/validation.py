"""Validation of the splits with Great Expectations, before anything is fitted.

Every check looks at the table of photographs, never at pixels. A check that fails because of the
data is told apart from one that could not be carried out: the latter says nothing about the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from roadwork.data.leak_guard import leak_guard
from roadwork.data.manifest import SCHEMA, Manifest
from roadwork.data.profile import DataProfile, load_profile
from roadwork.data.splits import PolicySplits, Splits
from roadwork.data.validation_report import Check, SetAside, SetCounts, ValidationReport
from roadwork.data.validation_run import great_expectations_json, quiet, record_check, run_checks
from roadwork.errors import DataError, LeakageError
from roadwork.settings import DataSettings

if TYPE_CHECKING:
    from roadwork.data.validation_plan import Frame

__all__ = [
    "Check",
    "SetAside",
    "SetCounts",
    "ValidationReport",
    "require_valid",
    "validate_manifest",
]

_EXAMPLES = 3


def validate_manifest(
    manifest: Manifest,
    splits: Splits | PolicySplits,
    settings: DataSettings,
    held_out: Sequence[str] = (),
) -> ValidationReport:
    """Check the rows of the sets against the manifest, against each other and the reference.

    The expectations are those of Great Expectations 1.x and ours, on in-memory tables; nothing is
    written and nothing is raised for bad data (see :func:`require_valid`).

    Args:
        manifest: all rows.
        splits: the five sets; or the three of them that were cut.
        settings: of the data: expectations by source, the reference profile, limits.
        held_out: sources that may be in the test set alone (``split.held_out_sources``).

    Raises:
        DataError: the reference profile cannot be read.
    """
    table = _table(splits)
    reference = load_profile(settings.reference) if settings.reference else None
    profile = DataProfile.of(manifest.table)
    with quiet():
        import great_expectations

        from roadwork.data.validation_plan import plan_checks

        roles = [part.role for part in splits.each()]
        planned = plan_checks(len(manifest), settings, held_out, profile, reference, roles)
        results = run_checks(_frames(table, manifest), planned)
        version = great_expectations.__version__
    checks = tuple(
        record_check(plan, result) for plan, result in zip(planned, results, strict=True)
    )
    return ValidationReport(
        engine=f"great_expectations {version}",
        counts={
            str(part.role): SetCounts(
                images=len(part),
                groups=len(part.table.column("group_id").unique()),
                positives=int((part.labels > 0).sum()),
            )
            for part in splits.each()
        },
        quarantine=dict(sorted(manifest.quarantine_counts().items())),
        exact_copies=manifest.duplicates.num_rows,
        checks=checks,
        aside=_aside(manifest),
        profile=profile,
        reference=reference,
        leak_guard=leak_guard(manifest.table),
        results=great_expectations_json(results, checks, version),
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


def _table(splits: Splits | PolicySplits) -> pa.Table:
    parts = [
        part.table.append_column("role", pa.array([str(part.role)] * len(part)))
        .append_column("split", pa.array([str(part.role.split)] * len(part)))
        .replace_schema_metadata(None)
        for part in splits.each()
    ]
    return pa.concat_tables(parts, promote_options="permissive")


def _frames(table: pa.Table, manifest: Manifest) -> Mapping[Frame, Any]:
    """The tables that checks read, as pandas frames."""
    from roadwork.data.validation_plan import Frame

    found = {field.name: str(field.type) for field in table.schema}
    types = pa.table(
        {
            "file": SCHEMA.names,
            "expected": [str(field.type) for field in SCHEMA],
            "found": [found.get(name, "absent") for name in SCHEMA.names],
        }
    )
    return {
        Frame.ROWS: table.to_pandas(),
        Frame.TYPES: types.to_pandas(),
        Frame.COPIES: _copies(table, manifest.duplicates).to_pandas(),
    }


def _copies(table: pa.Table, duplicates: pa.Table) -> pa.Table:
    """Left-out copies with the set of the kept image, and every set that holds their drive."""
    roles = {
        key: table.select([key, "role"]).group_by([key, "role"], use_threads=False).aggregate([])
        for key in ("sample_id", "drive")
    }
    kept = roles["sample_id"].rename_columns(["kept", "kept_role"])
    drives = roles["drive"].rename_columns(["drive", "drive_role"])
    wanted = duplicates.select(["file", "kept", "drive"]).replace_schema_metadata(None)
    joined = wanted.join(kept, "kept").join(drives, "drive")
    return joined.sort_by([(name, "ascending") for name in ("file", "drive_role")])


def _aside(manifest: Manifest) -> tuple[SetAside, ...]:
    """What was not offered, the most frequent reason first within each kind."""
    refused, copies = manifest.quarantine, manifest.duplicates
    faulty = refused.column("fault").to_numpy().astype(bool)
    found: list[SetAside] = []
    for kind, keep in (("damaged", faulty), ("left out", ~faulty)):
        found += _by_reason(kind, refused.filter(pa.array(keep)), "detail")
    return (*found, *_by_reason("copy", copies, "kept"))


def _by_reason(kind: str, table: pa.Table, note: str) -> list[SetAside]:
    reasons = table.column("reason").to_numpy(zero_copy_only=False).astype(str)
    names, counts = np.unique(reasons, return_counts=True)
    found = []
    for index in np.lexsort((names, -counts)).tolist():
        rows = table.take(np.flatnonzero(reasons == names[index])[:_EXAMPLES])
        pairs = zip(rows.column("file").to_pylist(), rows.column(note).to_pylist(), strict=True)
        link = "the kept image is " if kind == "copy" else ""
        examples = tuple(f"{file}: {link}{text}" for file, text in pairs)
        found.append(
            SetAside(
                kind=kind, reason=str(names[index]), count=int(counts[index]), examples=examples
            )
        )
    return found
