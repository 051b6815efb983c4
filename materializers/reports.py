"""Materializers of reports: JSON, shown in the dashboard as the page that people read."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from materializers.record import RecordMaterializer
from roadwork.calibration.choice import CalibratorComparison
from roadwork.data.fusion_report import FusionReport
from roadwork.data.validation import ValidationReport
from roadwork.evaluation.record import DataSummary, EvaluationReport
from roadwork.promotion import Verdict

__all__ = [
    "CalibratorComparisonMaterializer",
    "EvaluationReportMaterializer",
    "FiguresMaterializer",
    "FusionReportMaterializer",
    "ValidationReportMaterializer",
]


class ValidationReportMaterializer(RecordMaterializer):
    """The checks of the splits."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ValidationReport,)

    def describe(self, data: ValidationReport) -> dict[str, Any]:
        """How many checks held, and the rows that they saw."""
        held = sum(check.success for check in data.checks)
        return {"success": data.success, "checks": len(data.checks), "held": held}

    def save_visualizations(self, data: ValidationReport) -> dict[str, VisualizationType]:
        """The page of all checks, their JSON, and the JSON of Great Expectations.

        The page that Great Expectations itself would draw loads scripts from other hosts.
        """
        pages = {"validation.html": data.html, "validation.json": data.model_dump_json(indent=1)}
        if data.results:
            pages["validation_results.json"] = data.results
        return self.visualize(pages)


class FusionReportMaterializer(RecordMaterializer):
    """What became of every row that the sources offered."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (FusionReport,)

    def describe(self, data: FusionReport) -> dict[str, Any]:
        """Rows offered, and groups after merging."""
        return {"offered": data.offered, "drives": data.drives, "groups": data.groups}

    def save_visualizations(self, data: FusionReport) -> dict[str, VisualizationType]:
        """The page of all counts, and its JSON."""
        return self.visualize({"fusion.html": data.html, "fusion.json": data.to_json()})


class EvaluationReportMaterializer(RecordMaterializer):
    """The final evaluation."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (EvaluationReport,)

    def save_visualizations(self, data: EvaluationReport) -> dict[str, VisualizationType]:
        """The report's page, and its JSON."""
        from roadwork.evaluation.report import render_html

        return self.visualize(
            {"report.html": render_html(data), "report.json": data.model_dump_json(indent=1)}
        )


class CalibratorComparisonMaterializer(RecordMaterializer):
    """What every calibrator would do, by cross-validation, and which was taken."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (CalibratorComparison,)

    def describe(self, data: CalibratorComparison) -> dict[str, Any]:
        """The method taken and why, and the cross-validated log-loss of each method."""
        losses = {found.method: found.nll for found in data.results if found.nll is not None}
        return {"chosen": data.chosen, "why": data.why, "nll": losses}

    def save_visualizations(self, data: CalibratorComparison) -> dict[str, VisualizationType]:
        """The record as JSON."""
        return self.visualize({"calibrators.json": data.model_dump_json(indent=1)})


class FiguresMaterializer(RecordMaterializer):
    """Strict records without a page of their own: the data summary, the gate's verdict."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (DataSummary, Verdict)

    def save_visualizations(self, data: DataSummary | Verdict) -> dict[str, VisualizationType]:
        """The record as JSON."""
        return self.visualize({"figures.json": data.model_dump_json(indent=1)})
