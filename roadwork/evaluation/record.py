"""The evaluation report as a record: every figure, exact through JSON, with no page around it.

The record is what is kept, compared and gated; :mod:`roadwork.evaluation.report` draws it and
:mod:`roadwork.evaluation.card` words it. It holds no time of day and no path of a machine, and
its floats are cut to ten significant digits once, so that equal runs give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError

from roadwork.calibration.choice import CalibratorComparison
from roadwork.errors import DataError
from roadwork.evaluation.bootstrap import PairedDifference
from roadwork.evaluation.curves import ReliabilityBin, RiskCoverageCurve
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.promise_record import ConformalRecord, Coverage, DeferRecord
from roadwork.evaluation.record_base import Natural, Record, Share
from roadwork.evaluation.slice_tests import SliceTest
from roadwork.evaluation.slices import SliceReport

__all__ = [
    "Check",
    "ConformalRecord",
    "Count",
    "Coverage",
    "DataSummary",
    "DeferRecord",
    "EvaluationReport",
    "ModelInfo",
    "ModelRow",
    "Natural",
    "Provenance",
    "Record",
    "Reliability",
    "ScoreHistogram",
    "Share",
    "WithinGroup",
    "WorstError",
    "ten_digits",
]

THUMBNAIL_BYTES = 12 * 1024
"""Largest JPEG of one worst error; 48 of them leave the page far below three megabytes."""

Metrics = dict[str, Metric]


class Count(Record):
    """How many images, how many of them show roadwork, from how many groups (drives)."""

    n: Natural
    n_positive: Natural
    n_groups: Natural


class DataSummary(Record):
    """What the photographs were and what was left out.

    Attributes:
        roles: the count of every role, such as ``"train"`` and ``"test"``.
        sources: the count of every source, over all roles.
        quarantine: files that could not be used, by reason.
        exact_copies: files left out because their bytes equal those of a file that was kept.
    """

    roles: dict[str, Count]
    sources: dict[str, Count]
    quarantine: dict[str, Natural]
    exact_copies: Natural


class ModelInfo(Record):
    """What was evaluated, in words and names that a reader can look up.

    Attributes:
        title: short name, such as ``"Fine-tuned and calibrated"``.
        description: one or two sentences.
        backbone: name of the network; ``weights``: where its starting weights came from.
        adapter: how it was fine-tuned, such as ``"lora, rank 8"``.
        calibrator: the calibration map with its fitted value.
        input: what the model looks at, such as ``"96 px, one global view and 9 tiles"``.
    """

    title: str
    description: str
    backbone: str
    weights: str
    adapter: str
    calibrator: str
    input: str


class ModelRow(Record):
    """One model on the test set: its metrics by registry name."""

    key: Literal["model", "uncalibrated", "baseline"]
    title: str
    description: str
    metrics: Metrics


class Reliability(Record):
    """Bins of P(roadwork) before calibration (None when unknown) and after it."""

    before: tuple[ReliabilityBin, ...] | None
    after: tuple[ReliabilityBin, ...]


class ScoreHistogram(Record):
    """Counts of P(roadwork) in equal bins from 0 to 1, by true class."""

    counts: dict[str, tuple[Natural, ...]]


class WithinGroup(Record):
    """Pairs of a roadwork and a plain image of one group, and the groups that have such pairs."""

    n_pairs: Natural
    n_groups: Natural


class WorstError(Record):
    """A confident mistake: ``thumbnail`` is a base64 JPEG, or None."""

    file: str
    group: str
    label: str
    probability: Share
    prediction_set: tuple[str, ...]
    thumbnail: (
        Annotated[
            str,
            Field(
                max_length=THUMBNAIL_BYTES * 4 // 3 + 4,
                pattern=r"^[A-Za-z0-9+/]+={0,2}$",
            ),
        ]
        | None
    )


class Provenance(Record):
    """Hashes and versions from which the figures can be made again.

    ``settings_hash`` is taken over the settings without the paths of the machine,
    ``test_hash`` over sample ids, labels and groups of the test set;
    ``bootstrap_skipped`` counts, by metric, the resamples in which it was undefined.
    """

    settings_hash: str
    test_hash: str
    code_version: str
    seed: int
    bootstrap: Natural
    bootstrap_skipped: dict[str, Natural]


class Check(Record):
    """One gate, or one parity check: what was asked, whether it held, and why, in words.

    ``value`` is the number that was compared with ``bar``; None where the check is of another kind.
    """

    name: str
    passed: bool
    detail: str
    value: float | None = None
    bar: float | None = None


class EvaluationReport(Record):
    """Every figure of one evaluation on data that nothing was fitted on.

    ``synthetic`` is true when the photographs were generated: such a report says nothing about
    real roads. ``exposure`` counts samples and groups by use. ``parity`` and ``gates`` are None
    until the export and the promotion fill them in with :meth:`with_parity`, :meth:`with_gates`.
    In ``comparison`` model A is the baseline and B the model; it is empty without a baseline.
    ``calibrators`` says how the calibrator was chosen and ``defer`` what a defer threshold did;
    each is None where there was none. ``slice_tests`` sets every slice against the rest of the test
    set in AUROC, the worst gap first.
    """

    title: ClassVar[str] = "evaluation report"

    schema_version: Literal[1] = 1
    name: str
    synthetic: bool
    classes: tuple[str, ...]
    model: ModelInfo
    data: DataSummary
    test: Count
    rows: Annotated[tuple[ModelRow, ...], Field(min_length=1)]
    within_group: WithinGroup
    comparison: tuple[PairedDifference, ...]
    conformal: ConformalRecord
    reliability: Reliability
    risk_coverage: RiskCoverageCurve
    histogram: ScoreHistogram
    slices: tuple[SliceReport, ...]
    slice_tests: tuple[SliceTest, ...] = ()
    calibrators: CalibratorComparison | None = None
    defer: DeferRecord | None = None
    worst_errors: Annotated[tuple[WorstError, ...], Field(max_length=48)]
    exposure: dict[str, dict[str, Natural]]
    provenance: Provenance
    parity: tuple[Check, ...] | None = None
    gates: tuple[Check, ...] | None = None

    def row(self, key: str = "model") -> ModelRow | None:
        """The row of that key, or None."""
        return next((row for row in self.rows if row.key == key), None)

    def metric(self, name: str, key: str = "model") -> Metric | None:
        """One metric of one row, or None when the row or the metric is not there."""
        row = self.row(key)
        return row.metrics.get(name) if row else None

    def with_gates(self, gates: Sequence[Check]) -> Self:
        """A copy that carries the verdict of the promotion gate."""
        return self.model_copy(update={"gates": tuple(gates)})

    def with_parity(self, parity: Sequence[Check]) -> Self:
        """A copy that carries the checks of the exported engines."""
        return self.model_copy(update={"parity": tuple(parity)})

    def rounded(self) -> Self:
        """A copy with every float cut to ten significant digits."""
        return self.from_json(json.dumps(ten_digits(self.model_dump(mode="json"))))

    def to_json(self) -> str:
        """The whole record as JSON with sorted keys: equal records, equal text."""
        tree = self.model_dump(mode="json")
        return json.dumps(tree, sort_keys=True, indent=1, allow_nan=False) + "\n"

    def metrics_json(self) -> bytes:
        """The figures alone, as canonical bytes: no pictures, nothing that is filled in later.

        Two runs with equal settings and equal data give equal bytes.
        """
        left_out: dict[str, Any] = {
            "parity": True,
            "gates": True,
            "worst_errors": {"__all__": {"thumbnail"}},
        }
        tree = self.model_dump(mode="json", exclude=left_out)
        return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            DataError: the text is no evaluation report of this version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "the text"
            raise DataError(
                f"this is no evaluation report that this version can read ({where}: "
                f"{fault['msg']}): evaluate the model again"
            ) from None

    @property
    def content_hash(self) -> str:
        """SHA-256 of the JSON text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``report.json`` into a folder."""
        (folder / "report.json").write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing, or is no evaluation report of this version.
        """
        path = folder / "report.json"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot read the report {path}: {error.strerror}") from None
        return cls.from_json(text)


def ten_digits(tree: Any) -> Any:
    """A tree of plain values with every float cut to ten significant digits."""
    if isinstance(tree, float):
        return float(f"{tree:.10g}")
    if isinstance(tree, dict):
        return {key: ten_digits(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [ten_digits(value) for value in tree]
    return tree
