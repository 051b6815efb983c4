"""Materializers of networks and of what is fitted on their logits: safetensors and JSON."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType

from materializers.folder import FolderMaterializer
from roadwork.calibration.fitted import FittedCalibrator
from roadwork.conformal.fitted import FittedConformal
from roadwork.models.backbone import Backbone
from roadwork.models.classifier import Classifier
from roadwork.risk_control.fitted import FittedDeferThreshold

__all__ = ["FittedMaterializer"]


class FittedMaterializer(FolderMaterializer):
    """Anything fitted: its files, and in the dashboard which data touched it."""

    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (
        Backbone,
        Classifier,
        FittedCalibrator,
        FittedConformal,
        FittedDeferThreshold,
    )

    def describe(self, data: Any) -> dict[str, Any]:
        """How many samples and groups touched it, by use."""
        return {"exposure": data.exposure.counts()}
