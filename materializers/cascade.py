"""Materializers of the cascade: safetensors and JSON, and its report as the page people read."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from materializers.models import FittedMaterializer
from materializers.record import RecordMaterializer
from roadwork.cascade.certified import CertifiedCascade
from roadwork.cascade.record import CascadeReport
from roadwork.cascade.stages import Cascade

__all__ = ["CascadeMaterializer", "CascadeReportMaterializer", "CertifiedCascadeMaterializer"]


class CascadeMaterializer(FittedMaterializer):
    """Both stages, and in the dashboard which data touched them."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Cascade,)


class CertifiedCascadeMaterializer(FittedMaterializer):
    """Stages, calibrators and exits in one folder."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (CertifiedCascade,)

    def describe(self, data: CertifiedCascade) -> dict[str, Any]:
        """The exits and their promise, and which data touched any part."""
        exits = data.exits.model
        return {
            **super().describe(data),
            "guarantee": exits.guarantee,
            "exits": {"low": str(exits.low), "high": str(exits.high)},
            "exited": exits.exited,
            "groups": exits.votes,
        }


class CascadeReportMaterializer(RecordMaterializer):
    """What the cascade did on the test set."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (CascadeReport,)

    def describe(self, data: CascadeReport) -> dict[str, Any]:
        """Its figures by stable names."""
        return data.figures

    def save_visualizations(self, data: CascadeReport) -> dict[str, VisualizationType]:
        """The page, and its JSON."""
        return self.visualize({"cascade.html": data.html, "cascade.json": data.to_json()})
