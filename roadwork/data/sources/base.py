"""What a source gives: rows with an address, a label, a group and slice columns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from roadwork.data.licences import LICENCES
from roadwork.data.sources.cmu_roadwork import CmuRoadwork
from roadwork.data.sources.image_folder import ImageFolder
from roadwork.data.sources.mapillary import Mapillary
from roadwork.data.sources.natix import Natix
from roadwork.data.sources.rows import SourceRow
from roadwork.data.sources.synthetic import Synthetic
from roadwork.settings import Settings

__all__ = ["SOURCES", "Source", "SourceInfo", "SourceRow", "fingerprint_of", "open_sources"]


class Source(Protocol):
    """Somewhere photographs come from."""

    def fingerprint(self) -> str:
        """Changes whenever the data may have changed; cheap, and never downloads images."""
        ...

    def rows(self) -> Iterator[SourceRow]:
        """Every photograph, unreadable ones included."""
        ...


@dataclass(frozen=True)
class SourceInfo:
    """One entry of the registry of sources."""

    title: str
    licence: str
    open: Callable[[Any, Settings], Source]


def _synthetic(source: Any, settings: Settings) -> Source:
    return Synthetic(source, settings.seed, Path(settings.runs or "runs") / "data")


SOURCES: Mapping[str, SourceInfo] = {
    "synthetic": SourceInfo("generated street scenes", LICENCES["synthetic"].name, _synthetic),
    "image_folder": SourceInfo(
        "a folder of images with a CSV, or class folders",
        LICENCES["image_folder"].name,
        lambda source, _: ImageFolder(source),
    ),
    "natix": SourceInfo(
        "NATIX roadwork (Hugging Face)",
        LICENCES["natix"].name,
        lambda source, _: Natix(source),
    ),
    "cmu_roadwork": SourceInfo(
        "CMU ROADWork", LICENCES["cmu_roadwork"].name, lambda source, _: CmuRoadwork(source)
    ),
    "mapillary": SourceInfo(
        "Mapillary Vistas v2.0",
        LICENCES["mapillary"].name,
        lambda source, _: Mapillary(source),
    ),
}


def open_sources(settings: Settings) -> list[Source]:
    """The sources that resolved settings name, in their order."""
    return [SOURCES[source.kind].open(source, settings) for source in settings.data.sources]


def fingerprint_of(settings: Settings) -> str:
    """Changes whenever the data of any source may have changed."""
    parts = [source.fingerprint() for source in open_sources(settings)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
