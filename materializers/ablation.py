"""Materializers of an ablation: its cells, and the table that they make."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from materializers.folder import FolderMaterializer
from materializers.record import RecordMaterializer
from roadwork.ablation.cell import CellResult
from roadwork.ablation.record import AblationReport

__all__ = ["AblationReportMaterializer", "CellResultMaterializer"]


class CellResultMaterializer(FolderMaterializer):
    """One training run's answers and figures."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (CellResult,)

    def describe(self, data: CellResult) -> dict[str, Any]:
        """The figures that there are."""
        return data.record.model_dump(exclude_none=True)


class AblationReportMaterializer(RecordMaterializer):
    """The whole table."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (AblationReport,)

    def describe(self, data: AblationReport) -> dict[str, Any]:
        """Size and winner."""
        winner = "none" if data.winner is None else data.variants[data.winner].name
        return {"variants": len(data.variants), "images": data.images, "winner": winner}

    def save_visualizations(self, data: AblationReport) -> dict[str, VisualizationType]:
        """The page, and its JSON."""
        from roadwork.ablation.page import render_page

        return self.visualize({"ablation.html": render_page(data), "ablation.json": data.to_json()})
