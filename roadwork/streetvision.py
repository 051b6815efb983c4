"""Sealed bundles as StreetVision miners: what they would earn on photographs they never saw."""

from __future__ import annotations

from collections.abc import Mapping

from roadwork.data.exposure import require_unexposed
from roadwork.data.ingest import ingest
from roadwork.data.manifest import SampleSet, TestSet
from roadwork.data.sources.image_folder import ImageFolder
from roadwork.errors import BundleError
from roadwork.evaluation.streetvision import (
    SYNTHETIC_SHARE,
    Predict,
    StreetVisionReport,
    simulate,
)
from roadwork.predictor import Predictor
from roadwork.progress import progress
from roadwork.reevaluation import labelled_source
from roadwork.settings import DataSettings

__all__ = ["as_miner", "labelled_photographs", "simulate_bundles"]


def labelled_photographs(data: str) -> TestSet:
    """Every photograph of a CSV or a folder, by path or by address.

    Raises:
        ConfigError: there is no such file or folder.
        DataError: there are no usable photographs, or too many unusable ones.
    """
    source = labelled_source(data)
    return TestSet(ingest([ImageFolder(source)], DataSettings(sources=(source,))).table)


def as_miner(predictor: Predictor) -> Predict:
    """What answers a query with P(roadwork), as a bundle calibrated it.

    Raises:
        BundleError: the bundle tells more than two classes apart.
    """
    if len(predictor.bundle.config.classes) != 2:
        raise BundleError(
            f"the {predictor.bundle.title} has the classes "
            f"{', '.join(predictor.bundle.config.classes)}, but StreetVision asks for roadwork or "
            "none: give a bundle of two classes"
        )
    positive = predictor.bundle.config.positive

    def predict(query: bytes) -> float:
        logits = predictor.logits([query])
        return float(predictor.probabilities(logits)[0, positive])

    return predict


def simulate_bundles(
    predictors: Mapping[str, Predictor],
    photographs: SampleSet,
    *,
    challenges: int = 500,
    seeds: int = 5,
    synthetic: SampleSet | None = None,
    synthetic_share: float = SYNTHETIC_SHARE,
) -> StreetVisionReport:
    """Rank bundles by what they would earn; see :func:`roadwork.evaluation.streetvision.simulate`.

    Raises:
        LeakageError: a bundle was fitted on one of the pictures, or on its group.
        BundleError: a bundle has other than two classes.
        ConfigError: no bundle, too few challenges or seeds.
        DataError: pictures of one label only, or one that cannot be read.
    """
    for predictor in predictors.values():
        for pictures in (photographs, synthetic):
            if pictures is not None:
                # A cached property is a property to everybody but the type checker.
                require_unexposed(
                    predictor.bundle,  # pyright: ignore[reportArgumentType]
                    pictures,
                    "challenge",
                )
    with progress("Challenges") as update:
        return simulate(
            {name: as_miner(predictor) for name, predictor in predictors.items()},
            photographs,
            challenges=challenges,
            seeds=seeds,
            synthetic=synthetic,
            synthetic_share=synthetic_share,
            update=update,
        )
