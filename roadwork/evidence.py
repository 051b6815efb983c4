"""Evidence: everything that the promotion gate looks at, as one strict record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.record import EvaluationReport
from roadwork.evaluation.slice_tests import SliceTest
from roadwork.settings import PromoteSettings

__all__ = [
    "ALL_CLASSES",
    "Accepted",
    "Champion",
    "ClassCoverage",
    "Comparison",
    "Evidence",
    "Latency",
    "Opening",
    "Parity",
    "Record",
    "Seen",
]

ALL_CLASSES = "all classes"
"""Stands for a class where the promise of coverage is made for all classes together."""

Natural = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """Base of every part: frozen, strict, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ClassCoverage(Record):
    """How often the prediction sets held the true label, out of ``n`` test images of one class.

    The threshold of this class is the ``rank``-th smallest of ``points`` conformal scores. A rank
    of None: there were too few points, and the label is in every set. ``design_effect`` images
    count as one, because images of a group resemble each other.
    """

    covered: Natural
    n: Natural
    target: float
    points: Natural
    rank: int | None
    design_effect: Annotated[float, Field(ge=1)] = 1.0


class Parity(Record):
    """Which exported engines answer like the evaluated model, and what is wrong otherwise."""

    accepted: bool
    detail: str


class Accepted(Record):
    """Images whose set is the decided label alone: how many, and how many of them rightly."""

    n: Natural
    right: Natural


class Seen(Record):
    """Test images, and groups of them, that went into the candidate for one use."""

    use: str
    samples: Natural
    groups: Natural


class Latency(Record):
    """Median time of an answer, over so many, on the machine that judged."""

    milliseconds: float
    answers: Natural
    engine: str


class Opening(Record):
    """One comparison on a test set, and the level that it was given.

    ``place`` counts the comparisons on this test set that the log knows, this one included; see
    :mod:`roadwork.promotion.spending`.
    """

    test_hash: str
    candidate: str
    champion: str
    figure: str
    place: Annotated[int, Field(ge=1)]
    level: Annotated[float, Field(gt=0, le=0.5)]


class Comparison(Record):
    """One figure of the candidate beside that of the champion, on the same images.

    ``gain`` is their difference, positive when the candidate is better; ``low`` its one-sided lower
    bound at ``level`` over ``n_groups`` resampled groups, None for a ``reason``. ``p`` is how
    probable so large a gain is when the two are exchanged at random by group; None where only a
    loss within ``margin`` is asked about.
    """

    figure: str
    candidate: float | None
    champion: float | None
    gain: float | None
    low: float | None
    level: float
    margin: Annotated[float, Field(ge=0)]
    n_groups: Annotated[int, Field(ge=1)]
    resamples: Natural
    p: Annotated[float, Field(gt=0, le=1)] | None = None
    reason: str | None = None


class Champion(Record):
    """The model to beat.

    ``comparisons`` holds the figure that must be better first, then those that must not be worse;
    ``slices`` is the change in every slice. Without an ``opening`` nothing was compared, and
    ``reason`` says why the two cannot be compared on the same images.
    """

    version: str
    bundle_hash: str
    opening: Opening | None = None
    comparisons: tuple[Comparison, ...] = ()
    slices: tuple[SliceTest, ...] = ()
    reason: str | None = None


class Evidence(Record):
    """Everything that the gate looks at.

    ``bundle_hash`` is that of the bundle as it lies in the registry now, ``registered_hash`` the
    one written down when it was registered. ``figures_hash`` is that of the report's figures,
    ``bundle_figures_hash`` that of the figures sealed into the bundle. ``settings`` are the
    thresholds for which it was collected. ``scores_fault`` says why the answers on the test set
    cannot be relied on, ``seen`` what of the test set went into the candidate. ``judged`` counts
    the candidates that this test set has judged, this one included.
    """

    schema_version: Literal[2] = 2
    settings: PromoteSettings
    version: str
    bundle_hash: str
    registered_hash: str
    figures_hash: str
    bundle_figures_hash: str
    synthetic: bool
    auroc: Metric
    accuracy: Metric
    ece: Metric
    accepted: Accepted
    coverage: dict[str, ClassCoverage]
    parity: Parity
    megabytes: float
    latency: Latency | None
    test_hash: str
    scores_fault: str | None
    seen: tuple[Seen, ...]
    judged: Annotated[int, Field(ge=1)]
    champion: Champion | None

    @classmethod
    def from_report(
        cls,
        report: EvaluationReport,
        *,
        settings: PromoteSettings,
        version: str,
        bundle_hash: str,
        registered_hash: str,
        figures_hash: str,
        bundle_figures_hash: str,
        parity: Parity,
        thresholds: Mapping[str, tuple[int, int | None]],
        megabytes: float,
        latency: Latency | None,
        scores_fault: str | None,
        seen: tuple[Seen, ...],
        judged: int,
        champion: Champion | None,
    ) -> Self:
        """Take the figures of the calibrated model from its report.

        Args:
            report: the candidate's evaluation.
            settings: what the gate asks.
            version: model version in the registry.
            bundle_hash: of the bundle as it is now.
            registered_hash: of the bundle as it was registered.
            figures_hash: of the report's figures.
            bundle_figures_hash: of the figures in the bundle.
            parity: outcome of the parity check of the exported engines.
            thresholds: points and rank of the conformal threshold of every class; or, where the
                promise is made for all classes together, of :data:`ALL_CLASSES`.
            megabytes: size of the bundle.
            latency: of its answers; None when it was not measured.
            scores_fault: why the answers on the test set cannot be relied on.
            seen: what of the test set the bundle has seen.
            judged: candidates that this test set has judged, this one included.
            champion: the present champion; None when there is none.
        """
        conformal = report.conformal
        promised = conformal.classes if conformal.per_class else {ALL_CLASSES: conformal.marginal}
        absent = Metric(value=None, reason="the report has no such metric", n=report.test.n)
        return cls(
            settings=settings,
            version=version,
            bundle_hash=bundle_hash,
            registered_hash=registered_hash,
            figures_hash=figures_hash,
            bundle_figures_hash=bundle_figures_hash,
            synthetic=report.synthetic,
            auroc=report.metric("auroc") or absent,
            accuracy=report.metric("accuracy") or absent,
            ece=report.metric("ece_positive") or absent,
            accepted=Accepted(
                n=conformal.accepted_accuracy.n, right=conformal.accepted_accuracy.covered
            ),
            coverage={
                name: ClassCoverage(
                    covered=seen.covered,
                    n=seen.n,
                    target=conformal.target,
                    points=thresholds[name][0],
                    rank=thresholds[name][1],
                    design_effect=seen.design_effect,
                )
                for name, seen in promised.items()
            },
            parity=parity,
            megabytes=megabytes,
            latency=latency,
            test_hash=report.provenance.test_hash,
            scores_fault=scores_fault,
            seen=seen,
            judged=judged,
            champion=champion,
        )
