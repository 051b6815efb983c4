"""Materializer of the model bundle: its folder, file by file."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType

from materializers.folder import FolderMaterializer
from roadwork.bundle import ModelBundle

__all__ = ["BundleMaterializer"]


class BundleMaterializer(FolderMaterializer):
    """A sealed bundle; opened again it verifies every byte."""

    KEEPS_FOLDER: ClassVar[bool] = True
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ModelBundle,)
