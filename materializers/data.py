"""Materializers of the manifest and of the five data sets: Parquet."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from materializers.folder import FolderMaterializer
from roadwork import CLASSES
from roadwork.data.manifest import (
    CalibrationSet,
    ConformalSet,
    Manifest,
    SampleSet,
    SelectSet,
    TestSet,
    TrainSet,
)
from roadwork.pairing import TestScores

__all__ = ["ManifestMaterializer", "SampleSetMaterializer", "TestScoresMaterializer"]


class ManifestMaterializer(FolderMaterializer):
    """The manifest, its quarantine and its duplicates."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Manifest,)

    def describe(self, data: Manifest) -> dict[str, Any]:
        """Rows, groups, labels, and what was set aside."""
        return {
            "images": len(data),
            "groups": len(set(data.table.column("group_id").to_pylist())),
            "labels": _labels(data.table.column("label").to_pylist()),
            "sources": dict(sorted(Counter(data.table.column("source").to_pylist()).items())),
            "quarantine": data.quarantine_counts(),
            "exact_copies": data.duplicates.num_rows,
        }


class SampleSetMaterializer(FolderMaterializer):
    """The rows of one role; a file of another role is refused."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (
        TrainSet,
        SelectSet,
        CalibrationSet,
        ConformalSet,
        TestSet,
    )

    def describe(self, data: SampleSet) -> dict[str, Any]:
        """Role, rows, groups and labels."""
        return {
            "role": str(data.role),
            "images": len(data),
            "groups": len(set(data.groups.tolist())),
            "labels": _labels(data.labels.tolist()),
        }


class TestScoresMaterializer(FolderMaterializer):
    """What a model answered on its test set."""

    __test__ = False  # no test class, whatever pytest thinks of the name
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (TestScores,)


def _labels(labels: list[int]) -> dict[str, int]:
    counts = Counter(labels)
    return {CLASSES[label]: counts[label] for label in sorted(counts)}
