"""COCO annotation files with CMU ROADWork's extras, read into images with named boxes.

COCO (Lin et al. 2014, https://cocodataset.org/#format-data) keeps images, annotations and
categories in three lists that refer to each other by number. Numbers of categories differ between
files and tools, so boxes carry the category's *name* from here on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roadwork.data.sources.rows import Verdict

__all__ = ["AnnotatedImage", "AnnotationFile", "Box", "read_annotations"]

_LISTS = ("images", "annotations", "categories")
_SHOWN = 5


@dataclass(frozen=True)
class Box:
    """One annotated object: category name; left, top, width and height in pixels."""

    category: str
    left: float
    top: float
    width: float
    height: float


@dataclass
class AnnotatedImage:
    """One entry of ``images`` with its annotations.

    Attributes:
        file_name: name in the folder of images.
        height: of the image in pixels; None where the entry has none.
        width: the same.
        city: ``city_name``, or None.
        video: ``video_info``: ``vid_id``, ``seq_id``, ``frame_id``; empty where absent.
        tags: ``scene_level_tags``; empty where absent.
        boxes: every usable annotation of the image.
    """

    file_name: str
    height: int | None
    width: int | None
    city: str | None
    video: Mapping[str, Any]
    tags: Mapping[str, Any]
    boxes: list[Box] = field(default_factory=list)


@dataclass
class AnnotationFile:
    """What a file says, and what is wrong with it.

    Attributes:
        images: in the order of the file.
        categories: names in the order of the file.
        faults: place in the file and verdict, one for each kind of damage.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    faults: list[tuple[str, Verdict]] = field(default_factory=list)

    def fault(self, place: str, reason: str, detail: str) -> None:
        """Note damage at a place (empty: the file as a whole)."""
        self.faults.append((place, Verdict(reason, detail)))


def read_annotations(data: bytes, name: str) -> AnnotationFile:
    """Read one file; damage is noted as faults, and what is left of the file is still given.

    Args:
        data: bytes of the file.
        name: of the file, for messages.
    """
    read = AnnotationFile()
    content = _parsed(data, name, read)
    if content is None:
        return read
    numbers = _images(content["images"], name, read)
    names = _categories(content["categories"], name, read)
    _annotations(content["annotations"], name, read, numbers, names)
    return read


def _parsed(data: bytes, name: str, read: AnnotationFile) -> dict[str, list[Any]] | None:
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        read.fault(
            "",
            "bad_json",
            f"{name} is no JSON: {error.msg} in line {error.lineno}, column {error.colno}; it may "
            "be cut off: fetch it again",
        )
        return None
    except UnicodeDecodeError as error:
        read.fault("", "bad_json", f"{name} is no UTF-8 text: byte {error.start}; fetch it again")
        return None
    has = content if isinstance(content, dict) else {}
    missing = [key for key in _LISTS if not isinstance(has.get(key), list)]
    if missing:
        read.fault(
            "",
            "missing_key",
            f"{name} has no list {' nor '.join(map(repr, missing))} (it has: "
            f"{', '.join(sorted(map(str, has))) or 'nothing'}): it is no COCO annotation file",
        )
        return None
    return {key: has[key] for key in _LISTS}


def _images(entries: list[Any], name: str, read: AnnotationFile) -> dict[Any, AnnotatedImage]:
    numbers: dict[Any, AnnotatedImage] = {}
    files: set[str] = set()
    for place, entry in enumerate(entries):
        entry = entry if isinstance(entry, dict) else {}
        where = f"images[{place}]"
        file_name, number = entry.get("file_name"), entry.get("id")
        if not isinstance(file_name, str) or not file_name:
            read.fault(where, "no_file_name", f"{where} of {name} (id {number}) has no file_name")
        elif not isinstance(number, int) or number in numbers:
            read.fault(
                where,
                "bad_image_id",
                f"{where} of {name} ({file_name}) has no id of its own: {number!r}",
            )
        elif file_name in files:
            read.fault(where, "listed_twice", f"{where} of {name}: {file_name} is listed before")
        else:
            files.add(file_name)
            numbers[number] = _image(file_name, entry)
            read.images.append(numbers[number])
    return numbers


def _image(file_name: str, entry: Mapping[str, Any]) -> AnnotatedImage:
    def side(key: str) -> int | None:
        value = entry.get(key)
        return int(value) if isinstance(value, (int, float)) and value > 0 else None

    def record(key: str) -> Mapping[str, Any]:
        value = entry.get(key)
        return value if isinstance(value, dict) else {}

    city = entry.get("city_name")
    return AnnotatedImage(
        file_name,
        side("height"),
        side("width"),
        city if isinstance(city, str) and city else None,
        record("video_info"),
        record("scene_level_tags"),
    )


def _categories(entries: list[Any], name: str, read: AnnotationFile) -> dict[int, str]:
    names: dict[int, str] = {}
    for place, entry in enumerate(entries):
        entry = entry if isinstance(entry, dict) else {}
        number, label = entry.get("id"), entry.get("name")
        if not isinstance(number, int) or not isinstance(label, str) or number in names:
            where = f"categories[{place}]"
            read.fault(where, "bad_category", f"{where} of {name} has no id and name of its own")
            continue
        names[number] = label.strip()
        read.categories.append(names[number])
    return names


def _annotations(
    entries: list[Any],
    name: str,
    read: AnnotationFile,
    images: Mapping[Any, AnnotatedImage],
    categories: Mapping[int, str],
) -> None:
    strays: dict[str, list[str]] = {"unknown_image": [], "unknown_category": [], "bad_box": []}
    for place, entry in enumerate(entries):
        entry = entry if isinstance(entry, dict) else {}
        number = entry.get("id", f"annotations[{place}]")
        image, category = entry.get("image_id"), entry.get("category_id")
        edges = _edges(entry.get("bbox"))
        if not isinstance(image, int) or image not in images:
            strays["unknown_image"].append(f"{number} (image_id {image})")
        elif not isinstance(category, int) or category not in categories:
            strays["unknown_category"].append(f"{number} (category_id {category})")
        elif edges is None:
            strays["bad_box"].append(str(number))
        else:
            images[image].boxes.append(Box(categories[category], *edges))
    meaning = {
        "unknown_image": "refer to images that the file does not list",
        "unknown_category": "refer to categories that the file does not list",
        "bad_box": "have no bbox of four finite numbers",
    }
    for reason, found in strays.items():
        if found:
            first = ", ".join(found[:_SHOWN])
            read.fault(
                f"annotations:{reason}",
                reason,
                f"{len(found)} annotations of {name} {meaning[reason]} and are not counted; the "
                f"first ids: {first}",
            )


def _edges(bbox: Any) -> tuple[float, float, float, float] | None:
    """Left, top, width and height, if they are four finite numbers."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    if not all(isinstance(edge, (int, float)) and abs(edge) < 1e9 for edge in bbox):
        return None
    left, top, width, height = map(float, bbox)
    return left, top, width, height
