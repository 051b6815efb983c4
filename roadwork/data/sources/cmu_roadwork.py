"""Source: CMU ROADWork (Ghosh et al. 2024, arXiv:2406.07661), COCO annotations with scene tags.

The data set has no label of whole images, and practically every image shows a work zone: it gives
positives only. Never balance classes with it alone, and expect NATIX to hold the same photographs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadwork.data.decode import Refusal
from roadwork.data.sources.capture import capture_of, sequence_group
from roadwork.data.sources.coco import AnnotatedImage, AnnotationFile, Box, read_annotations
from roadwork.data.sources.label_png import read_ids
from roadwork.data.sources.roadwork_vocabulary import (
    Meaning,
    Named,
    meaning_of,
    parse_name,
    segment_of,
)
from roadwork.data.sources.root import (
    IMAGE_SUFFIXES,
    digest_of_files,
    files_by_name,
    resolve_root,
)
from roadwork.data.sources.rows import SourceRow, Verdict
from roadwork.data.sources.words import city_of, joined, word
from roadwork.data.sources.works_size import works_size
from roadwork.data.storage import StoredFile, exists, join, read_bytes
from roadwork.errors import ConfigError, DataError
from roadwork.settings import CmuRoadworkSource

__all__ = ["CmuRoadwork"]

_ANNOTATIONS = ("scene", "annotations")
_IMAGES = ("scene", "images")
_SEGMENTS = ("scene", "sem_seg", "gtFine")
_LABEL_IDS = "_labelIds.png"
_THREADS = 4
_ADAPTATION = re.compile(r"^instances_geographic_da_(?P<split>\w+)\.json$")


class CmuRoadwork:
    """Reads ``scene/annotations/*.json``, ``scene/images`` and, if there, ``scene/sem_seg/gtFine``.

    * An image with at least one annotation of works is a positive. One without is left out
      (``no_works_annotated``): nothing says that it shows none. Police, bike lane, road and
      sidewalk are context, no works. Categories count by name; a name that is not known is listed
      as a fault, and an image that has no other works annotation is listed with it.
    * The group is the sequence, ``sequence/<vid>/<seq>``, as in the NATIX source. ``video_info`` is
      preferred to the file's name. An image that tells neither is a group of its own.
    * ``works_size`` compares the tallest works box with the image's height; where the label PNG is
      there, the visible part of the box.
    * ``domain`` is set by the ``geographic_da`` files alone: ``source`` for Pittsburgh (all of
      ``pretrain``, and Pittsburgh's images in ``test``), ``target`` for the other cities.
    * An image that several files list is one row: that of the first file.
    """

    def __init__(self, settings: CmuRoadworkSource) -> None:
        """Check that the folder holds annotations.

        Raises:
            ConfigError: it is not there, or not laid out like the data set.
        """
        self.settings = settings
        self.root = resolve_root(settings.root)
        self.folder = join(self.root, *_ANNOTATIONS)
        if not exists(self.folder):
            raise ConfigError(
                f"data.sources.root: {self.root} has no folder scene/annotations. Unzip "
                "annotations.zip and images.zip of CMU ROADWork so that it has "
                "scene/annotations/instances_train_gps_split.json and scene/images/*.jpg"
            )

    def fingerprint(self) -> str:
        """Hash of the settings and of every file's name, size and time of change."""
        return digest_of_files(
            self.settings.model_dump_json(),
            files_by_name(self.folder, (".json",)),
            files_by_name(join(self.root, *_IMAGES), IMAGE_SUFFIXES),
            files_by_name(join(self.root, *_SEGMENTS), (".png",)),
        )

    def rows(self) -> Iterator[SourceRow]:
        """Every image of the annotation files in their order, and one row for each damage.

        Raises:
            ConfigError: an annotation file that the settings name is not there, or no image is.
            DataError: none of the annotation files can be read.
        """
        there = files_by_name(self.folder, (".json",))
        missing = [name for name in self.settings.annotations if name not in there]
        if missing:
            raise ConfigError(
                f"data.sources.annotations: {self.folder} has no {', '.join(missing)}; it has: "
                f"{', '.join(there) or 'no JSON file'}"
            )
        images = files_by_name(join(self.root, *_IMAGES), IMAGE_SUFFIXES)
        if not images:
            raise ConfigError(
                f"{self.root} has no image in scene/images: unzip images.zip of CMU ROADWork there"
            )
        segments = {
            PurePosixPath(name).name.removesuffix(_LABEL_IDS): file
            for name, file in files_by_name(join(self.root, *_SEGMENTS), (".png",)).items()
            if name.endswith(_LABEL_IDS)
        }
        seen: set[str] = set()
        damage = ""
        for name in self.settings.annotations:
            read = read_annotations(read_bytes(there[name].uri), name)
            yield from self._faults(read, name, there[name].uri)
            fresh = [image for image in read.images if image.file_name not in seen]
            seen |= {image.file_name for image in fresh}
            yield from self._images(fresh, name, images, segments)
            damage = damage or (read.faults[0][1].detail if read.faults else "")
        if not seen:
            raise DataError(
                f"no image is listed by {', '.join(self.settings.annotations)} in {self.folder}: "
                f"{damage or 'their lists of images are empty'}"
            )

    def _faults(self, read: AnnotationFile, name: str, uri: str) -> Iterator[SourceRow]:
        faults = list(read.faults)
        for category in sorted(set(read.categories)):
            if meaning_of(category) is Meaning.UNKNOWN:
                detail = (
                    f"{name} has the category {category!r}, which is not known as works or as "
                    "context: its annotations are not counted; check the version of the data set"
                )
                faults.append((f"category:{category}", Verdict("unknown_category", detail)))
        for place, verdict in faults:
            file = "/".join(_ANNOTATIONS) + f"/{name}" + (f"#{place}" if place else "")
            yield self._damaged(uri, file, verdict)

    def _damaged(self, uri: str, file: str, verdict: Verdict) -> SourceRow:
        return SourceRow(uri, file, None, "", self.settings.name, verdict=verdict)

    def _images(
        self,
        listed: list[AnnotatedImage],
        annotations: str,
        images: Mapping[str, StoredFile],
        segments: Mapping[str, StoredFile],
    ) -> Iterator[SourceRow]:
        """The rows of one annotation file; label PNGs are read by a few threads, in order."""

        def measured(image: AnnotatedImage) -> tuple[float | None, Verdict | None]:
            stem = PurePosixPath(image.file_name).stem
            return _tallest(image, segments.get(stem))

        with ThreadPoolExecutor(_THREADS) as pool:
            sizes = pool.map(measured, listed)
            for image, (share, damage) in zip(listed, sizes, strict=True):
                file = "/".join((*_IMAGES, image.file_name))
                if damage is not None:
                    stem = PurePosixPath(image.file_name).stem
                    name = f"{'/'.join(_SEGMENTS)}/{stem}{_LABEL_IDS}"
                    yield self._damaged(segments[stem].uri, name, damage)
                stored = images.get(image.file_name)
                if stored is None:
                    missing = Verdict(
                        str(Refusal.MISSING),
                        f"{annotations} lists {image.file_name}, which is not in scene/images: "
                        "unzip images.zip again",
                    )
                    uri = join(self.root, *_IMAGES, image.file_name)
                    yield self._row(image, uri, file, annotations, share, missing)
                else:
                    verdict = _verdict(image, annotations)
                    yield self._row(image, stored.uri, file, annotations, share, verdict)

    def _row(
        self,
        image: AnnotatedImage,
        uri: str,
        file: str,
        annotations: str,
        share: float | None,
        verdict: Verdict | None,
    ) -> SourceRow:
        named = parse_name(image.file_name)
        city = city_of(image.city or (named.city if named else None))
        vid, seq, frame = _video(image, named)
        return SourceRow(
            uri=uri,
            file=file,
            label=1 if _works(image) else None,
            group=sequence_group(vid, seq) or f"{self.settings.name}/{file}",
            source=self.settings.name,
            slices={
                "time_of_day": word(image.tags.get("daytime")),
                "weather": _weather(image.tags.get("weather")),
                "environment": word(image.tags.get("scene_environment")),
                "city": city,
                "works_size": works_size(share),
                "domain": _domain(annotations, city),
            },
            capture=capture_of(vid, seq, frame),
            verdict=verdict,
        )


def _works(image: AnnotatedImage) -> list[Box]:
    return [box for box in image.boxes if meaning_of(box.category) is Meaning.WORKS]


def _verdict(image: AnnotatedImage, annotations: str) -> Verdict | None:
    if _works(image):
        return None
    unknown = sorted(
        {box.category for box in image.boxes if meaning_of(box.category) is Meaning.UNKNOWN}
    )
    if unknown:
        return Verdict(
            "unknown_category",
            f"{annotations} annotates nothing but unknown categories in {image.file_name}: "
            f"{', '.join(unknown)}; check the version of the data set",
        )
    return Verdict(
        "no_works_annotated",
        f"{annotations} annotates no works in {image.file_name}, which does not say that it shows "
        "none",
        fault=False,
    )


def _tallest(
    image: AnnotatedImage, segments: StoredFile | None
) -> tuple[float | None, Verdict | None]:
    """Share of the image's height that the tallest works take, and damage of the label PNG."""
    works = _works(image)
    if not works or image.height is None:
        return None, None
    boxed = max(box.height for box in works) / image.height
    if segments is None or image.width is None:
        return boxed, None
    ids = read_ids(segments.uri, 8, (image.width, image.height))
    if isinstance(ids, Verdict):
        return boxed, ids
    return max(_visible_height(ids, box) for box in works) / image.height, None


def _visible_height(ids: NDArray[Any], box: Box) -> float:
    """Height in pixels of what a box's category shows inside it; the box's own where unknown."""
    top, left = max(0, int(box.top)), max(0, int(box.left))
    bottom, right = round(box.top + box.height), round(box.left + box.width)
    inside = ids[top:bottom, left:right] == segment_of(box.category)
    rows = np.flatnonzero(inside.any(axis=1))
    return float(rows[-1] - rows[0] + 1) if rows.size else box.height


def _video(image: AnnotatedImage, named: Named | None) -> tuple[str | None, str | None, str | None]:
    """Video, sequence and frame by ``video_info``; what it lacks is taken from the file's name."""

    def part(key: str, name: str | None) -> str | None:
        told = image.video.get(key)
        return str(told) if isinstance(told, int) else word(told) or name

    return (
        part("vid_id", named.vid if named else None),
        part("seq_id", named.seq if named else None),
        part("frame_id", named.frame if named else None),
    )


def _weather(tag: object) -> str | None:
    return joined(tag if isinstance(tag, list) else [tag])


def _domain(annotations: str, city: str | None) -> str | None:
    found = _ADAPTATION.match(annotations)
    if found is None:
        return None
    home = found["split"] == "pretrain" or city == "pittsburgh"
    return "source" if home else "target"
