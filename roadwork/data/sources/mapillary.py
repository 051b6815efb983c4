"""Source: Mapillary Vistas v2.0 (Neuhold et al. 2017), labels derived from instance maps.

The research edition is CC BY-NC-SA: a model that was trained with it may not be used commercially.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

from roadwork.data.decode import FORMATS, Refusal
from roadwork.data.sources.label_png import read_ids
from roadwork.data.sources.root import (
    IMAGE_SUFFIXES,
    digest_of_files,
    files_by_name,
    resolve_root,
)
from roadwork.data.sources.rows import SourceRow, Verdict
from roadwork.data.sources.vistas_rule import Evidence, VistasClasses, judge, measure, read_classes
from roadwork.data.sources.works_size import works_size
from roadwork.data.storage import StoredFile, exists, join, open_stored, read_bytes
from roadwork.errors import ConfigError
from roadwork.settings import MapillarySource

__all__ = ["Mapillary"]

_VERSION = "v2.0"
_CONFIG = f"config_{_VERSION}.json"
_OLD = "v1.2"
_THREADS = 4
_WHY_NOT_OLD = (
    "v1.2 has no class that tells roadwork: neither traffic cones nor temporary barriers nor "
    "temporary signs"
)


@dataclass(frozen=True)
class _Pair:
    """A photograph and its instance map, of which one may be missing."""

    part: str
    stem: str
    image: StoredFile | None
    instances: StoredFile | None


class Mapillary:
    """Reads ``<part>/images``, ``<part>/v2.0/instances`` and ``config_v2.0.json``.

    The rule is that of :mod:`roadwork.data.sources.vistas_rule`; what it cannot decide is left out
    as ``ambiguous`` and counted. Every photograph is a group of its own, since the format tells
    neither sequence nor place: photographs of one place are brought together by their looks alone,
    when sources are fused. There are no slices but ``works_size``.
    """

    def __init__(self, settings: MapillarySource) -> None:
        """Check version and layout, and look the classes up by name.

        Raises:
            ConfigError: the wrong version is asked for or found, or a folder or file is missing.
            DataError: the configuration lacks a class that the rule needs.
        """
        if settings.version == _OLD:
            raise ConfigError(f"data.sources.version: {_WHY_NOT_OLD}; set it to {_VERSION}")
        if settings.version != _VERSION:
            raise ConfigError(
                f"data.sources.version: {settings.version!r} is not known; only {_VERSION} is read"
            )
        self.settings = settings
        self.root = resolve_root(settings.root)
        for part in settings.parts:
            self._check_part(part)
        config = join(self.root, _CONFIG)
        if not exists(config):
            raise ConfigError(
                f"data.sources.root: {self.root} has no {_CONFIG}, which names the classes of the "
                "label PNGs; it lies at the top of the published archive"
            )
        self.classes: VistasClasses = read_classes(read_bytes(config), _CONFIG)

    def fingerprint(self) -> str:
        """Hash of the settings, the classes, and every file's name, size and time of change."""
        listings = [listing for part in self.settings.parts for listing in self._listings(part)]
        return digest_of_files(f"{self.settings.model_dump_json()}{self.classes}", *listings)

    def rows(self) -> Iterator[SourceRow]:
        """Every photograph by part and name; instance maps are read by a few threads, in order.

        Raises:
            ConfigError: a part has no photographs.
        """
        for part in self.settings.parts:
            images, instances = self._listings(part)
            if not images:
                raise ConfigError(f"{self.root} has no image in {part}/images: unzip it again")
            photographs = {_stem(name): file for name, file in images.items()}
            maps = {_stem(name): file for name, file in instances.items()}
            pairs = [
                _Pair(part, stem, photographs.get(stem), maps.get(stem))
                for stem in sorted(photographs.keys() | maps.keys())
            ]
            with ThreadPoolExecutor(_THREADS) as pool:
                yield from pool.map(self._row, pairs)

    def _listings(self, part: str) -> tuple[dict[str, StoredFile], dict[str, StoredFile]]:
        return (
            files_by_name(join(self.root, part, "images"), IMAGE_SUFFIXES),
            files_by_name(join(self.root, part, _VERSION, "instances"), (".png",)),
        )

    def _check_part(self, part: str) -> None:
        if exists(join(self.root, part, _VERSION, "instances")):
            return
        if exists(join(self.root, part, _OLD)):
            raise ConfigError(
                f"data.sources.root: {self.root}/{part} holds {_OLD} only, and {_WHY_NOT_OLD}. "
                f"Fetch the archive that has {part}/{_VERSION}/instances"
            )
        raise ConfigError(
            f"data.sources.root: {self.root} has no {part}/{_VERSION}/instances. The folder should "
            f"have {_CONFIG}, {part}/images/*.jpg and {part}/{_VERSION}/instances/*.png"
        )

    def _row(self, pair: _Pair) -> SourceRow:
        name = self.settings.name
        label_file = f"{pair.part}/{_VERSION}/instances/{pair.stem}.png"
        if pair.image is None:
            assert pair.instances is not None  # a pair has one of the two
            lost = Verdict(
                str(Refusal.MISSING),
                f"has no photograph {pair.part}/images/{pair.stem}.jpg: unzip the images again",
            )
            return SourceRow(pair.instances.uri, label_file, None, "", name, verdict=lost)
        file = f"{pair.part}/images/{PurePosixPath(pair.image.uri).name}"
        evidence = self._evidence(pair.image, pair.instances, label_file)
        label, size, verdict = None, None, None
        if isinstance(evidence, Verdict):
            verdict = evidence
        else:
            label = judge(evidence, self.settings.min_instances, self.settings.min_area)
            size = works_size(evidence.height) if evidence.instances else None
            verdict = self._ambiguous(evidence) if label is None else None
        return SourceRow(
            uri=pair.image.uri,
            file=file,
            label=label,
            group=f"{name}/{pair.part}/{pair.stem}",
            source=name,
            slices={"works_size": size},
            verdict=verdict,
        )

    def _evidence(
        self, image: StoredFile, instances: StoredFile | None, label_file: str
    ) -> Evidence | Verdict:
        if instances is None:
            return Verdict("no_instances", f"has no instance map {label_file}: unzip labels again")
        ids = read_ids(instances.uri, 16, _size(image.uri))
        evidence = ids if isinstance(ids, Verdict) else measure(ids, self.classes)
        if isinstance(evidence, Verdict):
            return Verdict(evidence.reason, f"{label_file} {evidence.detail}")
        return evidence

    def _ambiguous(self, evidence: Evidence) -> Verdict:
        return Verdict(
            "ambiguous",
            f"{evidence.instances} temporary traffic object(s), the largest {evidence.area:.3%} of "
            f"the picture: fewer than {self.settings.min_instances} and smaller than "
            f"{self.settings.min_area:.3%}, but not none",
            fault=False,
        )


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _size(uri: str) -> tuple[int, int] | None:
    """Width and height by the header alone; None for what is no image, which ingest will say."""
    try:
        with open_stored(uri) as file, Image.open(file, formats=FORMATS) as image:
            return image.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
