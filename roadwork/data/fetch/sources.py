"""Where each source is published, in which parts, and what is to be done with what came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from roadwork.data.fetch.figshare import FIGSHARE, list_article
from roadwork.data.fetch.http import Client
from roadwork.data.fetch.huggingface import HUB, hub_token, list_dataset
from roadwork.data.fetch.remote import RemoteFile
from roadwork.errors import ConfigError

__all__ = ["MANUAL", "PUBLISHED", "Part", "Published", "published"]

_NATIX = "natix-network-org/roadwork"
_ROADWORK_ARTICLE = 26093197


@dataclass(frozen=True)
class Part:
    """A part of a data set that can be fetched on its own.

    Attributes:
        title: what it holds.
        patterns: names of its files, with ``*``.
        default: whether it is fetched unless parts are named.
        unpack_to: folder for the files of its archives, below that of the data set; None: they are
            used as they are.
    """

    title: str
    patterns: tuple[str, ...]
    default: bool = False
    unpack_to: str | None = None

    def holds(self, name: str) -> bool:
        """Whether a file belongs to this part."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)


@dataclass(frozen=True)
class Published:
    """A data set that a program may download.

    Attributes:
        place: where it is published, for people.
        base_url: address of the interface that lists it.
        parts: by name.
        always: patterns of small files that come along, such as the publisher's notes.
        list_files: its files, asked of an address.
        token: what the place accepts as proof of access, if anything.
        note: what to know before downloading.
    """

    place: str
    base_url: str
    parts: Mapping[str, Part]
    always: tuple[str, ...]
    list_files: Callable[[Client, str], list[RemoteFile]]
    token: Callable[[], str | None]
    note: str


PUBLISHED: Mapping[str, Published] = {
    "natix": Published(
        place=f"https://huggingface.co/datasets/{_NATIX}",
        base_url=HUB,
        parts={
            "train": Part("Parquet shards of the train split", ("data/train-*.parquet",), True),
            "test": Part("Parquet shards of the test split", ("data/test-*.parquet",), True),
        },
        always=("README.md", "LICENSE*"),
        list_files=lambda client, base: list_dataset(_NATIX, client, base),
        token=hub_token,
        note="It can also be read where it is, without a copy: set the source's root to "
        f"hf://datasets/{_NATIX} (needs a network at every run).",
    ),
    "cmu_roadwork": Published(
        place="https://doi.org/10.1184/R1/26093197",
        base_url=FIGSHARE,
        parts={
            "images": Part("annotated images", ("images.zip",), True, "scene/images"),
            "annotations": Part(
                "COCO annotations", ("annotations.zip",), True, "scene/annotations"
            ),
            "sem_seg": Part("label maps", ("sem_seg_labels.zip",), False, "scene/sem_seg"),
            "discovered": Part(
                "images of BDD100K and Mapillary: under their licences, not read by roadwork",
                ("discovered_images.zip",),
                False,
                "discovered",
            ),
            "pathways": Part("trajectories, not read by roadwork", ("traj_*.zip",)),
            "videos": Part("video snippets, not read by roadwork", ("videos_compressed.z*",)),
        },
        always=("README*", "LICENSE*"),
        list_files=lambda client, base: list_article(_ROADWORK_ARTICLE, client, base),
        token=lambda: None,
        note="NATIX contains nearly all of these images: fused, they add almost none.",
    ),
}
"""By kind of source."""

MANUAL: Mapping[str, str] = {
    "synthetic": "Nothing to fetch: the scenes are drawn. `roadwork data generate --as folder` "
    "writes them (or natix, cmu_roadwork, mapillary: the same formats as the real data).",
    "image_folder": "Nothing to fetch: these are your own photographs. Put them in a folder with a "
    "CSV of files, labels and groups (docs/real-data.md), and name it as data.sources.root.",
}
"""Sources that are not downloaded, and what to do instead."""


def published(kind: str) -> Published:
    """The entry of a kind of source.

    Raises:
        ConfigError: nothing of that kind can be downloaded by a program.
    """
    if kind not in PUBLISHED:
        raise ConfigError(
            f"{kind} cannot be downloaded by a program; these can: {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[kind]
