"""Writer of Mapillary Vistas v2.0's layout: photographs, label PNGs, instance PNGs, configuration.

Written are ``config_v2.0.json`` and, below ``training`` and ``validation``, ``images/*.jpg``,
``v2.0/labels/*.png`` and ``v2.0/instances/*.png``; panoptic PNGs and polygons are not. Sky,
buildings, road and pavements are annotated by simple geometry, works object by object; look-alikes
are part of the background.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.camera import SUPERSAMPLE
from roadwork.data.scenes.formats.objects import VisibleObject, visible_objects
from roadwork.data.scenes.formats.plan import Shot, WrittenPlan, WrittenRow, drives_of, shots_of
from roadwork.data.scenes.formats.vistas_classes import (
    CLASSES,
    OF_WORKS,
    colour,
    config,
    has_instances,
)
from roadwork.data.sources.vistas_rule import STRONG
from roadwork.data.sources.works_size import works_size
from roadwork.settings import MapillarySource

__all__ = ["write_mapillary"]

_RULE = MapillarySource()
_SKYLINE = 0.12  # height of the buildings above the horizon, as a share of the picture
_LONE_CONE_EVERY = 5


def write_mapillary(root: Path, settings: SceneSettings) -> WrittenPlan:
    """Write one frame of every ``vistas-like`` drive, since the format knows no sequences.

    The truth of the plan is that of the published rule with its default numbers. Pictures whose
    visible works have no object of a strong class (workers or machines alone) are not written: the
    rule would call them negative. Those with one small strong object are planned as ``ambiguous``;
    and in every fifth picture without works the annotation, not the picture, holds a lone distant
    cone, which makes it ambiguous too.

    Args:
        root: folder to write into; made when absent.
        settings: what to draw.

    Returns:
        What the loader must give back.
    """
    root.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config(), indent=1)
    (root / f"config_{_RULE.version}.json").write_text(text, encoding="utf-8")
    rows: list[WrittenRow] = []
    clear = 0
    for drive in drives_of(settings, "vistas-like"):
        shot = next(iter(shots_of(settings, drive, drive.frames[0].works[0])))
        objects = visible_objects(shot)
        if shot.label and not any(_is_strong(thing) for thing in objects):
            continue
        if not shot.label:
            clear += 1
            if clear % _LONE_CONE_EVERY == 0:
                objects = [_lone_cone(shot)]
        part = "validation" if len(rows) % 5 == 4 else "training"
        rows.append(_write(root, part, shot, objects))
    return WrittenPlan(tuple(rows))


def _write(root: Path, part: str, shot: Shot, objects: list[VisibleObject]) -> WrittenRow:
    key = f"{shot.settings.seed}:{shot.drive.group_id}".encode()
    stem = base64.urlsafe_b64encode(hashlib.sha256(key).digest()[:16]).decode().rstrip("=")
    for folder in ("images", f"{_RULE.version}/labels", f"{_RULE.version}/instances"):
        (root / part / folder).mkdir(parents=True, exist_ok=True)
    (root / part / "images" / f"{stem}.jpg").write_bytes(shot.jpeg)
    labels, instances = _maps(shot, objects)
    picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
    picture.putpalette([part for number in range(len(CLASSES)) for part in colour(number)])
    picture.save(root / part / _RULE.version / "labels" / f"{stem}.png")
    Image.fromarray(instances).save(root / part / _RULE.version / "instances" / f"{stem}.png")
    label = _truth(objects, labels.size)
    strong = [thing.box[3] for thing in objects if _is_strong(thing)]
    return WrittenRow(
        source="mapillary",
        file=f"{part}/images/{stem}.jpg",
        label=label,
        drive=shot.drive.group_id,
        group=f"mapillary/{part}/{stem}",
        slices={"works_size": works_size(max(strong) / labels.shape[0]) if strong else None},
        left_out="ambiguous" if label is None else None,
    )


def _is_strong(thing: VisibleObject) -> bool:
    return OF_WORKS[thing.kind] in STRONG


def _truth(objects: list[VisibleObject], pixels: int) -> int | None:
    strong = [thing.area for thing in objects if _is_strong(thing)]
    if len(strong) >= _RULE.min_instances or max(strong, default=0) / pixels >= _RULE.min_area:
        return 1
    return None if strong else 0


def _lone_cone(shot: Shot) -> VisibleObject:
    """A strip of half the area that would make it a positive, in the middle below the horizon."""
    height, width = shot.frame.instances.shape
    mask = np.zeros((height, width), dtype=bool)
    pixels = max(1, int(_RULE.min_area * height * width / 2))
    mask[round(0.6 * height), width // 2 : width // 2 + pixels] = True
    return VisibleObject("cone", mask)


def _maps(
    shot: Shot, objects: list[VisibleObject]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Class ids, and 256 times class id plus number within the class; both (height, width)."""
    labels = _background(shot)
    instances = (256 * labels).astype(np.uint16)
    used: dict[str, int] = {}
    for thing in objects:
        name = OF_WORKS[thing.kind]
        number = used.get(name, 0)
        used[name] = number + int(has_instances(name))
        labels[thing.mask] = CLASSES.index(name)
        instances[thing.mask] = 256 * CLASSES.index(name) + number
    return labels, instances


def _background(shot: Shot) -> NDArray[np.uint16]:
    """Sky, buildings, road and pavement, from the camera and the street's edges."""
    view, street = shot.scene.view, shot.scene.street
    width, height = view.size
    row = np.arange(height)[:, None] + 0.5 - view.horizon / SUPERSAMPLE
    depth = (view.focal / SUPERSAMPLE) * view.height / np.maximum(row, 0.5)
    column = np.arange(width)[None, :] + 0.5 - view.centre / SUPERSAMPLE
    across = column * depth / (view.focal / SUPERSAMPLE) + view.lateral
    across = across - 0.5 * view.curvature * depth**2
    left, right = sorted((street.near_edge, street.far_edge))
    on_road = (across >= left) & (across <= right)
    sky, building = (CLASSES.index(n) for n in ("nature--sky", "construction--structure--building"))
    road, pavement = (CLASSES.index(f"construction--flat--{n}") for n in ("road", "sidewalk"))
    above = np.where(row < -_SKYLINE * height, sky, building)
    return np.where(row < 0, above, np.where(on_road, road, pavement)).astype(np.uint16)
