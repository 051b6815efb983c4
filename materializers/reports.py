"""Materializers of reports: JSON, shown in the dashboard as the page that people read."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from materializers.record import RecordMaterializer
from roadwork.data.validation import ValidationReport
from roadwork.evaluation.record import DataSummary, EvaluationReport
from roadwork.promotion import Verdict

__all__ = [
    "EvaluationReportMaterializer",
    "FiguresMaterializer",
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
        """The page of all checks, and their JSON."""
        return self.visualize(
            {"validation.html": data.html, "validation.json": data.model_dump_json(indent=1)}
        )


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


class FiguresMaterializer(RecordMaterializer):
    """Strict records without a page of their own: the data summary, the gate's verdict."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (DataSummary, Verdict)

    def save_visualizations(self, data: DataSummary | Verdict) -> dict[str, VisualizationType]:
        """The record as JSON."""
        return self.visualize({"figures.json": data.model_dump_json(indent=1)})
