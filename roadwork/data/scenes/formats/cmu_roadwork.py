"""Writer of CMU ROADWork's layout: photographs, COCO annotation files, label PNGs on request.

Written are ``scene/images/*.jpg``, the annotation files of :data:`ANNOTATIONS` with every published
key, and ``scene/sem_seg/gtFine/{train,val}/*_labelIds.png``; colour PNGs, trajectories and videos
are not. Every photograph shows works, as in the data set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roadwork.data.scenes import SceneSettings
from roadwork.data.scenes.camera import SUPERSAMPLE
from roadwork.data.scenes.formats.objects import VisibleObject, visible_objects
from roadwork.data.scenes.formats.plan import (
    ROADWORK_IMAGES,
    Shot,
    WrittenPlan,
    WrittenRow,
    roadwork_shots,
)
from roadwork.data.scenes.formats.roadwork_categories import (
    OF_WORKS,
    PLAIN,
    REORDERED,
    SEGMENT_OF_WORKS,
    SIGN_KINDS,
    WITH_SIGNS,
)
from roadwork.data.sources.works_size import works_size

__all__ = ["ADAPTATION", "ANNOTATIONS", "GPS_SPLIT", "write_cmu_roadwork"]

GPS_SPLIT = ("instances_train_gps_split.json", "instances_val_gps_split.json")
ADAPTATION = (
    "instances_geographic_da_pretrain.json",
    "instances_geographic_da_unsupervised_with_gt.json",
    "instances_geographic_da_test.json",
)


@dataclass(frozen=True)
class _Split:
    """Which photographs an annotation file lists, and with which categories."""

    categories: tuple[tuple[int, str], ...]
    home: tuple[str, ...]
    away: tuple[str, ...]


ANNOTATIONS: Mapping[str, _Split] = {
    GPS_SPLIT[0]: _Split(PLAIN, ("train",), ("train",)),
    GPS_SPLIT[1]: _Split(PLAIN, ("val",), ("val",)),
    "instances_train_gps_split_with_signs.json": _Split(WITH_SIGNS, ("train",), ("train",)),
    "instances_val_gps_split_with_signs.json": _Split(WITH_SIGNS, ("val",), ("val",)),
    "instances_train_pittsburgh_only.json": _Split(REORDERED, ("train", "val"), ()),
    "instances_val_pittsburgh_only.json": _Split(REORDERED, (), ("train", "val")),
    ADAPTATION[0]: _Split(REORDERED, ("train",), ()),
    ADAPTATION[1]: _Split(REORDERED, (), ("train",)),
    ADAPTATION[2]: _Split(REORDERED, ("val",), ("val",)),
}
"""Annotation files: of Pittsburgh (``home``) and of the other cities (``away``), the drives for
training, for validation, or both. Which of the published files use which list of categories is not
known beyond the 49 of ``with_signs``; that they differ here keeps loaders from going by numbers."""

_VAL_EVERY = 3
_MESSAGE_BOARD = "TTC Message Board"
_WRITTEN_OUT = {
    "TTC Sign": "Temporary Traffic Control Sign",
    _MESSAGE_BOARD: "Temporary Traffic Control Message Board",
}


@dataclass(frozen=True)
class _Picture:
    """A photograph with its number, its annotated objects and its half of the split."""

    number: int
    shot: Shot
    objects: list[VisibleObject]
    half: str

    @property
    def home(self) -> bool:
        return self.shot.city == "pittsburgh"


def write_cmu_roadwork(
    root: Path,
    settings: SceneSettings,
    *,
    annotations: Sequence[str] = GPS_SPLIT,
    sem_seg: bool = False,
) -> WrittenPlan:
    """Write every frame of ``roadwork-like`` drives that shows works.

    Every third drive, counted in Pittsburgh and in the other cities apart, is for validation.

    Args:
        root: folder to write into; made when absent.
        settings: what to draw.
        annotations: files of :data:`ANNOTATIONS` that the plan is of; all are written.
        sem_seg: write label PNGs too.

    Returns:
        What the loader must give back for these annotation files.
    """
    pictures = _pictures(settings)
    images = root / ROADWORK_IMAGES
    folder = root / "scene" / "annotations"
    for made in (images, folder):
        made.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (images / picture.shot.roadwork_name).write_bytes(picture.shot.jpeg)
        if sem_seg:
            _write_segments(root / "scene" / "sem_seg" / "gtFine" / picture.half, picture)
    rows: dict[str, WrittenRow] = {}
    for name, split in ANNOTATIONS.items():
        text = json.dumps(_coco(split, _listed(split, pictures)))
        (folder / name).write_text(text, encoding="utf-8")
    for name in annotations:
        for picture in _listed(ANNOTATIONS[name], pictures):
            row = _row(picture, _domain(name, picture))
            rows.setdefault(row.file, row)
    return WrittenPlan(tuple(rows.values()))


def _pictures(settings: SceneSettings) -> list[_Picture]:
    pictures: list[_Picture] = []
    drives: dict[bool, list[str]] = {True: [], False: []}
    for number, shot in enumerate(roadwork_shots(settings), start=1):
        known = drives[shot.city == "pittsburgh"]
        if shot.drive.group_id not in known:
            known.append(shot.drive.group_id)
        half = "val" if len(known) % _VAL_EVERY == 0 else "train"
        pictures.append(_Picture(number, shot, visible_objects(shot), half))
    return pictures


def _listed(split: _Split, pictures: list[_Picture]) -> list[_Picture]:
    return [
        picture
        for picture in pictures
        if picture.half in (split.home if picture.home else split.away)
    ]


def _domain(name: str, picture: _Picture) -> str | None:
    if name not in ADAPTATION:
        return None
    return "source" if picture.home else "target"


def _row(picture: _Picture, domain: str | None) -> WrittenRow:
    shot = picture.shot
    return WrittenRow(
        source="cmu_roadwork",
        file=f"{ROADWORK_IMAGES}/{shot.roadwork_name}",
        label=1,
        drive=shot.drive.group_id,
        group=shot.group,
        capture=shot.capture,
        slices={
            "time_of_day": shot.daytime,
            "weather": shot.weather,
            "environment": shot.environment,
            "city": shot.city,
            "works_size": works_size(shot.frame.works_height / shot.frame.image.height),
            "domain": domain,
        },
    )


def _coco(split: _Split, pictures: list[_Picture]) -> dict[str, Any]:
    ids = {name: number for number, name in split.categories}
    found: list[dict[str, Any]] = []
    for picture in pictures:
        for thing in picture.objects:
            category = _category(thing, len(found), ids)
            found.append(_annotation(len(found) + 1, picture.number, ids[category], thing))
    return {
        "info": {"description": "generated street scenes in the layout of CMU ROADWork"},
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": ""}],
        "images": [_image(picture) for picture in pictures],
        "annotations": found,
        "categories": [
            {"id": number, "name": name, "supercategory": ""} for number, name in split.categories
        ],
    }


def _category(thing: VisibleObject, turn: int, ids: Mapping[str, int]) -> str:
    """The name that a list of categories has for a thing; sign kinds take turns."""
    name = OF_WORKS[thing.kind]
    signed = f"{name}: {SIGN_KINDS[turn % len(SIGN_KINDS)]}"
    if signed in ids:
        return signed
    return name if name in ids else _WRITTEN_OUT[name]


def _image(picture: _Picture) -> dict[str, Any]:
    shot = picture.shot
    return {
        "id": picture.number,
        "width": shot.frame.image.width,
        "height": shot.frame.image.height,
        "file_name": shot.roadwork_name,
        "license": 1,
        "flickr_url": "",
        "coco_url": "",
        "date_captured": 0,
        "gps": list(shot.gps),
        "city_name": shot.city,
        "video_info": {
            "vid_id": shot.vid or None,
            "seq_id": shot.seq,
            "frame_id": shot.frame_id,
        },
        "scene_level_tags": {
            "weather": [shot.weather],
            "travel_alteration": [shot.travel_alteration],
            "daytime": shot.daytime,
            "scene_environment": shot.environment,
        },
        "scene_description": shot.description,
    }


def _annotation(number: int, image: int, category: int, thing: VisibleObject) -> dict[str, Any]:
    text = {"Text": "ROAD WORK AHEAD"} if thing.kind == "works sign" else {}
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": [thing.outline],
        "area": float(thing.area),
        "bbox": [float(edge) for edge in thing.box],
        "iscrowd": 0,
        "attributes": {"occluded": thing.interrupted, **text},
    }


def _write_segments(folder: Path, picture: _Picture) -> None:
    """Ids of ``*_labelIds.png``: road below the horizon, works object by object."""
    shot = picture.shot
    ids = np.zeros(shot.frame.instances.shape, dtype=np.uint8)
    ids[round(shot.scene.view.horizon / SUPERSAMPLE) :] = 1
    for thing in picture.objects:
        ids[thing.mask] = SEGMENT_OF_WORKS.get(OF_WORKS[thing.kind], 0)
    folder.mkdir(parents=True, exist_ok=True)
    stem = shot.roadwork_name.removesuffix(".jpg")
    Image.fromarray(ids).save(folder / f"{stem}_labelIds.png")
