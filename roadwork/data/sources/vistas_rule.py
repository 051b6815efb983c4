"""From a Mapillary Vistas v2.0 instance map to a label: does the photograph show roadwork?

Vistas has no such class. Four classes of temporary traffic objects are strong evidence; concrete
blocks are weak evidence (they are often permanent) and never count alone, which comes to not
counting them. Names that begin with ``construction--`` mean built structure (roads, kerbs, walls,
buildings), **not** construction works: no rule may go by that prefix. Cones also stand at car parks
and events, so that the labels are weak: train on them, but do not judge a model by them alone.

Class ids are positions in the ``labels`` list of ``config_v2.0.json`` and change between versions
(of the ids 19, 20 and 55, which lists on the web give for roadwork, none is right in any version),
so they are looked up by name in the configuration that lies beside the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadwork.data.sources.rows import Verdict
from roadwork.errors import DataError

__all__ = ["STRONG", "Evidence", "VistasClasses", "judge", "measure", "read_classes"]

STRONG: tuple[str, ...] = (
    "object--traffic-cone",
    "construction--barrier--temporary",
    "object--traffic-sign--temporary-front",
    "object--traffic-sign--temporary-back",
)
"""Classes of which every instance counts."""

_INSTANCES = 256  # an instance map's value is 256 * class + instance
_VALUES = 2**16
_CHUNK = 2**20


@dataclass(frozen=True)
class VistasClasses:
    """What the configuration says: how many classes there are, and the ids of the strong ones."""

    count: int
    strong: tuple[int, ...]


@dataclass(frozen=True)
class Evidence:
    """Instances of strong classes in a picture.

    Attributes:
        instances: how many.
        area: share of the picture that the largest takes.
        height: share of the picture's height that the tallest takes.
    """

    instances: int
    area: float
    height: float


def read_classes(data: bytes, name: str) -> VistasClasses:
    """Look the strong classes up by name.

    Args:
        data: bytes of ``config_v2.0.json``.
        name: of the file, for messages.

    Raises:
        DataError: it is no such configuration, or lacks a class (each missing one is named).
    """
    try:
        content = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{name} is no JSON: {error}; fetch it again") from None
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
        raise DataError(f"{name} has no list `labels` of classes: it is no Vistas configuration")
    ids = {label.get("name"): number for number, label in enumerate(labels)}
    missing = [wanted for wanted in STRONG if wanted not in ids]
    if missing:
        raise DataError(
            f"{name} lists {len(labels)} classes, but not {', '.join(missing)}: without them "
            "roadwork cannot be told. Version 2.0 has them (124 classes); v1.2 (66 classes) has no "
            "roadwork class at all"
        )
    return VistasClasses(len(labels), tuple(ids[wanted] for wanted in STRONG))


def measure(instances: NDArray[Any], classes: VistasClasses) -> Evidence | Verdict:
    """Count the strong instances of an instance map, shape (height, width), or refuse the map."""
    flat = instances.ravel()
    pixels = np.zeros(_VALUES, dtype=np.int64)
    for start in range(0, flat.size, _CHUNK):  # bincount makes 64-bit copies: keep them small
        pixels += np.bincount(flat[start : start + _CHUNK], minlength=_VALUES)
    values = np.flatnonzero(pixels)
    highest = int(values[-1]) // _INSTANCES
    if highest >= classes.count:
        return Verdict(
            "unknown_class",
            f"holds class id {highest}, but the configuration has {classes.count} classes (ids 0 "
            f"to {classes.count - 1}): labels and configuration are of different versions",
        )
    strong = values[np.isin(values // _INSTANCES, classes.strong)]
    if not strong.size:
        return Evidence(0, 0.0, 0.0)
    return Evidence(
        instances=int(strong.size),
        area=int(pixels[strong].max()) / flat.size,
        height=_tallest(instances, strong) / instances.shape[0],
    )


def _tallest(instances: NDArray[Any], values: Sequence[int] | NDArray[Any]) -> int:
    rows, columns = np.nonzero(np.isin(instances, values))
    found, which = np.unique(instances[rows, columns], return_inverse=True)
    first = np.full(found.size, instances.shape[0])
    last = np.full(found.size, -1)
    np.minimum.at(first, which, rows)
    np.maximum.at(last, which, rows)
    return int((last - first + 1).max())


def judge(evidence: Evidence, min_instances: int, min_area: float) -> int | None:
    """1 with enough strong instances or one large enough, 0 with none, None in between."""
    if evidence.instances >= min_instances or evidence.area >= min_area:
        return 1
    return 0 if evidence.instances == 0 else None
