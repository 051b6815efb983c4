"""Evidence: everything that the promotion gate looks at, as one strict record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from roadwork.evaluation.bootstrap import PairedDifference
from roadwork.evaluation.metrics import Metric
from roadwork.evaluation.record import EvaluationReport

__all__ = [
    "ALL_CLASSES",
    "Accepted",
    "Champion",
    "ClassCoverage",
    "Evidence",
    "Parity",
    "Record",
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


class Champion(Record):
    """The model to beat.

    ``difference`` is the paired difference of MCC (candidate less champion); None goes with the
    ``reason`` why the two cannot be compared on the same images.
    """

    version: str
    bundle_hash: str
    difference: PairedDifference | None
    reason: str | None = None


class Evidence(Record):
    """Everything that the gate looks at.

    ``bundle_hash`` is that of the bundle as it lies in the registry now, ``registered_hash`` the
    one written down when it was registered. ``figures_hash`` is that of the report's figures,
    ``bundle_figures_hash`` that of the figures sealed into the bundle.
    """

    schema_version: Literal[1] = 1
    version: str
    bundle_hash: str
    registered_hash: str
    figures_hash: str
    bundle_figures_hash: str
    synthetic: bool
    auroc: Metric
    accuracy: Metric
    accepted: Accepted
    coverage: dict[str, ClassCoverage]
    parity: Parity
    champion: Champion | None

    @classmethod
    def from_report(
        cls,
        report: EvaluationReport,
        *,
        version: str,
        bundle_hash: str,
        registered_hash: str,
        figures_hash: str,
        bundle_figures_hash: str,
        parity: Parity,
        thresholds: Mapping[str, tuple[int, int | None]],
        champion: Champion | None,
    ) -> Self:
        """Take the figures of the calibrated model from its report.

        Args:
            report: the candidate's evaluation.
            version: model version in the registry.
            bundle_hash: of the bundle as it is now.
            registered_hash: of the bundle as it was registered.
            figures_hash: of the report's figures.
            bundle_figures_hash: of the figures in the bundle.
            parity: outcome of the parity check of the exported engines.
            thresholds: points and rank of the conformal threshold of every class; or, where the
                promise is made for all classes together, of :data:`ALL_CLASSES`.
            champion: the present champion; None when there is none.
        """
        conformal = report.conformal
        promised = conformal.classes if conformal.per_class else {ALL_CLASSES: conformal.marginal}
        absent = Metric(value=None, reason="the report has no such metric", n=report.test.n)
        return cls(
            version=version,
            bundle_hash=bundle_hash,
            registered_hash=registered_hash,
            figures_hash=figures_hash,
            bundle_figures_hash=bundle_figures_hash,
            synthetic=report.synthetic,
            auroc=report.metric("auroc") or absent,
            accuracy=report.metric("accuracy") or absent,
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
            champion=champion,
        )
