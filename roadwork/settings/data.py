"""Settings of the data: sources, fusion, validation, splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from roadwork.settings.strict import Count, Share, Strict

__all__ = [
    "CmuRoadworkSource",
    "DataSettings",
    "FusionSettings",
    "ImageFolderSource",
    "MapillarySource",
    "NatixSource",
    "ShardSettings",
    "Source",
    "SourceExpectation",
    "SplitSettings",
    "SyntheticSource",
]

Root = Annotated[
    str | None,
    Field(
        default=None,
        description="Folder or address (s3://, gs://, hf://); null: ROADWORK_DATA.",
    ),
]


class SyntheticSource(Strict):
    """Generated street scenes: the default source, which needs nothing from outside."""

    kind: Literal["synthetic"] = "synthetic"
    drives: Count = Field(
        default=170, description="Drives; a drive is a group of frames of one street."
    )
    min_frames: Count = Field(default=4, description="Fewest frames of a drive.")
    max_frames: Count = Field(default=7, description="Most frames of a drive.")
    label_noise: float = Field(
        default=0.0, ge=0, le=0.2, description="Share of labels flipped on purpose."
    )
    faults: bool = Field(
        default=True, description="Plant unreadable files and duplicates on purpose."
    )
    prior: float | None = Field(
        default=0.5,
        ge=0.2,
        le=0.9,
        description="Share of roadwork in every camera family; null: 0.85, 0.6 and 0.3, so that "
        "the family tells something of the label.",
    )

    @model_validator(mode="after")
    def _frames_in_order(self) -> SyntheticSource:
        if self.min_frames > self.max_frames:
            raise ValueError("min_frames is larger than max_frames: exchange the two")
        return self


class ImageFolderSource(Strict):
    """A folder of images with a CSV of labels and groups, or with one sub-folder per class."""

    kind: Literal["image_folder"] = "image_folder"
    root: Root = None
    csv: str | None = Field(
        default="manifest.csv", description="CSV in the folder; null: class folders."
    )
    file_column: str = "file"
    label_column: str = "label"
    group_column: str = "group_id"
    source_column: str | None = None


class NatixSource(Strict):
    """NATIX roadwork: Parquet shards with embedded JPEGs, or a saved ``datasets`` folder."""

    kind: Literal["natix"] = "natix"
    root: Root = None
    name: str = Field(default="natix", description="Name of the source in slices and reports.")
    splits: tuple[Literal["train", "test"], ...] = Field(
        default=("train", "test"),
        min_length=1,
        description="Published splits; they are fused and cut anew.",
    )
    disagreement: Literal["quarantine", "keep"] = Field(
        default="quarantine",
        description="Rows whose label and description disagree; the subnet itself skips them.",
    )


class CmuRoadworkSource(Strict):
    """CMU ROADWork: COCO annotations with scene tags; every image shows works."""

    kind: Literal["cmu_roadwork"] = "cmu_roadwork"
    root: Root = None
    name: str = Field(
        default="cmu_roadwork", description="Name of the source in slices and reports."
    )
    annotations: tuple[str, ...] = Field(
        default=("instances_train_gps_split.json", "instances_val_gps_split.json"),
        min_length=1,
        description="Files in scene/annotations; those of geographic_da become domains.",
    )


class MapillarySource(Strict):
    """Mapillary Vistas v2.0: labels derived from instances of temporary traffic objects."""

    kind: Literal["mapillary"] = "mapillary"
    root: Root = None
    name: str = Field(default="mapillary", description="Name of the source in slices and reports.")
    version: str = Field(default="v2.0", description="v1.2 has no roadwork class and is refused.")
    parts: tuple[Literal["training", "validation"], ...] = Field(
        default=("training", "validation"), min_length=1
    )
    min_instances: Count = Field(
        default=2, description="Strong instances that make a positive, whatever their size."
    )
    min_area: float = Field(
        default=0.0005, gt=0, lt=1, description="Share of the image that makes one instance enough."
    )


Source = Annotated[
    SyntheticSource | ImageFolderSource | NatixSource | CmuRoadworkSource | MapillarySource,
    Field(discriminator="kind"),
]


class FusionSettings(Strict):
    """How images that occur more than once are found, and what becomes of them."""

    near_duplicate_distance: int = Field(
        default=4,
        ge=0,
        le=8,
        description="Largest Hamming distance of two 64-bit perceptual hashes.",
    )
    near_duplicates: Literal["group", "drop"] = Field(
        default="group",
        description="Near-duplicates from other drives: share a group, or only the keeper stays.",
    )
    embedding_cosine: float | None = Field(
        default=None,
        gt=0.5,
        lt=1,
        description="Also near: images whose embeddings have at least this cosine; null: off.",
    )


class SourceExpectation(Strict):
    """What a source is expected to look like; a source that does not stops the run."""

    min_prior: float = Field(default=0.0, ge=0, le=1, description="Least share of roadwork.")
    max_prior: float = Field(default=1.0, ge=0, le=1, description="Largest share of roadwork.")
    min_images: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> SourceExpectation:
        if self.min_prior > self.max_prior:
            raise ValueError("min_prior is larger than max_prior: exchange the two")
        return self


class ShardSettings(Strict):
    """The training set as tar archives, for training from an object store. Off by default."""

    to: str | None = Field(
        default=None,
        description="Folder or address that receives the shards; null: train on the images where "
        "they are.",
    )
    megabytes: Count = Field(default=256, description="Largest shard.")
    window: Count = Field(default=4, description="Shards whose rows are mixed with each other.")
    cache_gigabytes: float = Field(
        default=20.0, gt=0, description="Local disk that keeps shards of an object store."
    )


class DataSettings(Strict):
    """Where the images come from and how many broken ones are tolerated."""

    sources: tuple[Source, ...] = Field(
        default=(SyntheticSource(),),
        min_length=1,
        description="Fused into one manifest; of two copies, that of the earlier source is kept.",
    )
    fusion: FusionSettings = FusionSettings()
    on_bad_row: Literal["quarantine", "raise"] = Field(
        default="quarantine",
        description="Rows that a source cannot read: list them, or stop at the first.",
    )
    max_quarantine_share: float = Field(
        default=0.05, ge=0, le=1, description="More unreadable images than this share stop the run."
    )
    max_megapixels: float = Field(default=50.0, gt=0, description="Larger images go to quarantine.")
    workers: int = Field(default=2, ge=0, description="Threads that decode and hash images.")
    shards: ShardSettings = ShardSettings()
    expect: Mapping[str, SourceExpectation] = Field(
        default={}, description="Expectations by source name."
    )
    reference: str | None = Field(
        default=None,
        description="Profile of accepted data (`roadwork data profile`) that new data must match.",
    )


class SplitSettings(Strict):
    """Shares of the groups that each role receives; training takes the rest."""

    select: Share = 0.10
    calibrate: Share = 0.10
    conformal: Share = 0.20
    test: Share = 0.20
    held_out_sources: tuple[str, ...] = Field(
        default=(),
        description="Sources whose groups all go to the test set (leave-one-source-out).",
    )

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitSettings:
        held_out = self.select + self.calibrate + self.conformal + self.test
        if held_out > 0.9:
            raise ValueError(
                f"select + calibrate + conformal + test = {held_out:.2f} leaves less than 0.10 of "
                "the groups for training: lower one of them"
            )
        return self
