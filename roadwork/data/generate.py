"""Generated data sets by format: our own CSV, or the exact layout of a real data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from roadwork.data.folders import new_folder
from roadwork.data.scenes import SceneSettings
from roadwork.errors import ConfigError

__all__ = ["FORMATS", "Format", "generate"]


@dataclass(frozen=True)
class Format:
    """One layout on disk.

    Attributes:
        title: what it is.
        settings: how ``data.sources`` reads it, but for the root.
        write: writes below a folder, and gives the number of rows written.
    """

    title: str
    settings: Mapping[str, str]
    write: Callable[[Path, SceneSettings], int]


def _folder(root: Path, settings: SceneSettings) -> int:
    from roadwork.data.scenes import write_scenes
    from roadwork.progress import progress

    with progress("Drawing scenes") as update:
        table = write_scenes(root, settings, progress=update)
    return len(table.read_text(encoding="utf-8").splitlines()) - 1


def _natix(root: Path, settings: SceneSettings) -> int:
    from roadwork.data.scenes.formats.natix import write_natix

    return len(write_natix(root, settings).rows)


def _cmu_roadwork(root: Path, settings: SceneSettings) -> int:
    from roadwork.data.scenes.formats.cmu_roadwork import write_cmu_roadwork

    return len(write_cmu_roadwork(root, settings).rows)


def _mapillary(root: Path, settings: SceneSettings) -> int:
    from roadwork.data.scenes.formats.mapillary import write_mapillary

    return len(write_mapillary(root, settings).rows)


FORMATS: Mapping[str, Format] = {
    "folder": Format(
        "images and a CSV",
        {"kind": "image_folder", "csv": "scenes.csv", "source_column": "source"},
        _folder,
    ),
    "natix": Format("NATIX's Parquet shards", {"kind": "natix"}, _natix),
    "cmu_roadwork": Format("CMU ROADWork's COCO files", {"kind": "cmu_roadwork"}, _cmu_roadwork),
    "mapillary": Format("Mapillary Vistas v2.0", {"kind": "mapillary"}, _mapillary),
}
"""By the name that the command line uses."""


def generate(name: str, to: Path, settings: SceneSettings) -> int:
    """Write a generated data set into a new folder.

    The formats share their drives: with equal settings, ``natix`` shows frames that
    ``cmu_roadwork`` shows too, as the real ones do.

    Returns:
        Rows written, unusable and ambiguous ones included.

    Raises:
        ConfigError: there is no such format, or the folder is there already.
    """
    if name not in FORMATS:
        raise ConfigError(f"there is no format {name!r}; there are: {', '.join(FORMATS)}")
    with new_folder(to) as partial:
        return FORMATS[name].write(partial, settings)
