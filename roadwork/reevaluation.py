"""Re-evaluation: a sealed bundle judged on new labelled photographs, by the engine that serves.

The bundle carries its exposure, so that it refuses its own training images in any later process.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from pydantic import ValidationError

from roadwork.bundle import ModelBundle
from roadwork.calibration.base import softmax
from roadwork.data.exposure import require_unexposed
from roadwork.data.manifest import Manifest, TestSet
from roadwork.data.storage import exists, is_folder, is_remote, join, local_path, read_bytes
from roadwork.data.thumbnails import thumbnail
from roadwork.data.views import tile_count
from roadwork.errors import BundleError, ConfigError
from roadwork.evaluation.evaluate import build_report, summarise_data
from roadwork.evaluation.record import THUMBNAIL_BYTES, EvaluationReport, ModelInfo
from roadwork.predictor import Predictor
from roadwork.progress import progress
from roadwork.settings import ImageFolderSource, Settings, parse_settings

__all__ = ["labelled_source", "made_settings", "model_info", "pictures", "reevaluate"]


def labelled_source(data: str) -> ImageFolderSource:
    """Where new labelled photographs are: a CSV, a folder with ``manifest.csv``, or class folders.

    Args:
        data: a path, or an address in an object store.

    Raises:
        ConfigError: there is no such file or folder.
    """
    where = data.rstrip("/") if is_remote(data) else str(local_path(data).resolve())
    if is_folder(where):
        named = exists(join(where, "manifest.csv"))
        return ImageFolderSource(root=where, csv="manifest.csv" if named else None)
    if exists(where):
        folder, _, name = where.rpartition("/")
        return ImageFolderSource(root=folder, csv=name)
    raise ConfigError(f"there is no folder or CSV {data} with labelled photographs")


def reevaluate(
    predictor: Predictor, manifest: Manifest, *, name: str, source: ImageFolderSource
) -> EvaluationReport:
    """Judge a bundle on every photograph of a manifest.

    Args:
        predictor: an opened bundle; its engine gives the answers, as in service.
        manifest: new labelled photographs.
        name: name of the report.
        source: where they come from.

    Raises:
        LeakageError: the bundle, or a part of it, was fitted on one of them, or on its group.
        DataError: there are no photographs.
        BundleError: the bundle's settings cannot be read by this version.
    """
    bundle = predictor.bundle
    test = TestSet(manifest.table)
    # A cached property is a property to everybody but the type checker.
    require_unexposed(bundle, test, "evaluate")  # pyright: ignore[reportArgumentType]
    with progress("Answering") as update:
        rows = []
        for done, uri in enumerate(test.uris, start=1):
            rows.append(predictor.logits([read_bytes(uri)]))
            update(done, len(test))
    logits = np.concatenate(rows).astype(np.float64)
    return build_report(
        settings=_settings(bundle, name, source),
        test=test,
        probabilities=predictor.probabilities(logits.astype(np.float32)),
        uncalibrated=softmax(logits),
        conformal=bundle.conformal,
        exposure=bundle.exposure,
        data=summarise_data(manifest, [test]),
        model=model_info(bundle, predictor.engine.name),
        thumbnails=lambda chosen: pictures(test.uris, chosen),
    )


def made_settings(bundle: ModelBundle, without: Collection[str] = ()) -> Settings:
    """The settings that a bundle was made with; the keys ``without`` are not read, but defaults.

    Raises:
        BundleError: this version cannot read them.
    """
    try:
        tree = {key: value for key, value in bundle.settings.items() if key not in without}
        return parse_settings(tree)
    except ConfigError as error:
        raise BundleError(
            f"the settings in the {bundle.title} are those of another version of roadwork: {error}"
        ) from None


def _settings(bundle: ModelBundle, name: str, source: ImageFolderSource) -> Settings:
    """The settings that the bundle was made with, on other data."""
    made = made_settings(bundle)
    data = made.data.model_copy(update={"sources": (source,)})
    return made.model_copy(update={"name": name, "data": data})


def model_info(bundle: ModelBundle, engine: str) -> ModelInfo:
    """What a bundle says that it is, and which engine answers for it."""
    config = bundle.config
    try:
        known = ModelInfo.model_validate(bundle.metrics.get("model"))
    except ValidationError:
        known = ModelInfo(
            title=config.name,
            description="",
            backbone=config.backbone,
            weights="see the bundle",
            adapter=config.adapter,
            calibrator=type(bundle.calibrator).__name__,
            input=f"{config.image_size} px, one global view and {tile_count(config.tiles)} tiles",
        )
    words = f"{known.description} Answers of the sealed {bundle.title} through {engine}.".strip()
    return known.model_copy(update={"description": words})


def pictures(uris: Sequence[str], rows: list[int]) -> list[bytes | None]:
    """Small pictures of chosen rows, for a report."""
    return [thumbnail(uris[row], THUMBNAIL_BYTES) for row in rows]
