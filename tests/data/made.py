"""Small manifests made by hand for tests: no image exists behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from roadwork.data.manifest import (
    DUPLICATES,
    QUARANTINE,
    SCHEMA,
    CalibrationSet,
    ConformalSet,
    Manifest,
    SelectSet,
    TestSet,
    TrainSet,
)
from roadwork.data.splits import Splits

ROLES = (TrainSet, SelectSet, CalibrationSet, ConformalSet, TestSet)


def row(number: int, group: str = "", label: int | None = None, **changes: Any) -> dict[str, Any]:
    """Row ``number`` of a made manifest; its hash is far from that of every other row."""
    sha256 = hashlib.sha256(f"image {number}".encode()).hexdigest()
    group = group or f"drive-{number // 4}"
    return {
        "sample_id": sha256[:16],
        "uri": f"/nowhere/{number}.jpg",
        "file": f"{number}.jpg",
        "sha256": sha256,
        "phash": int(sha256[16:32], 16),
        "group_id": group,
        "drive": group,
        "source": "made",
        "label": number % 2 if label is None else label,
        "width": 64,
        "height": 48,
        "bytes": 1000 + number,
        "luminance": 110.0,
        "contrast": 50.0,
        "saturation": 40.0,
        "sharpness": 30.0,
        **changes,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as the manifest's table."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def manifest(rows: Sequence[Mapping[str, Any]]) -> Manifest:
    """A manifest without quarantine or copies."""
    return Manifest(
        table(rows),
        pa.Table.from_pylist([], schema=QUARANTINE),
        pa.Table.from_pylist([], schema=DUPLICATES),
    )


def splits(parts: Sequence[Sequence[Mapping[str, Any]]]) -> Splits:
    """Five sets from their rows, in the order of the pipeline."""
    train, select, calibrate, conformal, test = (table(part) for part in parts)
    return Splits(
        TrainSet(train),
        SelectSet(select),
        CalibrationSet(calibrate),
        ConformalSet(conformal),
        TestSet(test),
    )


def good_parts(size: int = 8) -> list[list[dict[str, Any]]]:
    """Rows of five sets that pass every check: ``size`` each, in groups of four."""
    return [[row(part * size + number) for number in range(size)] for part in range(5)]
