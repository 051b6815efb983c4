"""Parity: the proof that an exported engine answers like the model that was evaluated.

An engine is compared on real views: the direction of its logits, the calibrated probabilities, the
decisions, the prediction sets, and whether an image has the same answer alone and in a batch. A
network that says (nearly) the same of every image would pass all of it, so a reference without
spread is refused as vacuous. Needs numpy and pydantic only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from roadwork.bundle_files import Policy
from roadwork.conformal.rows import Rows
from roadwork.errors import DataError, ParityError

if TYPE_CHECKING:
    from roadwork.calibration import Calibrator
    from roadwork.conformal import ConformalPredictor
    from roadwork.engines.base import Logits, Views
    from roadwork.settings import ExportSettings

__all__ = ["EngineParity", "ParityReport", "check_parity"]

TIE = 1e-6
"""Probabilities this close to a threshold may fall on either side of it in float32."""

BATCH_DIFFERENCE = 1e-4
"""Largest difference of a probability between an image alone and the same image in a batch."""

SPREAD = 20.0
"""The reference's probabilities must span this many times the tolerated difference."""

MARGIN_SPREAD = 1e-3
"""The reference's margins must vary this much, or float32 rounding is all that is compared."""

_ALONE = 32

FloatArray = NDArray[np.float64]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Measured(_Record):
    cosine: float | None = None
    max_probability_difference: float | None = None
    decision_agreement: float | None = None
    set_agreement: float | None = None
    ties: int = 0
    batch_difference: float | None = None


class EngineParity(_Measured):
    """How one engine compares with the reference; None stands for what could not be measured.

    Attributes:
        engine: name of the engine.
        accepted: whether it may answer.
        reasons: why not, one sentence each; empty when accepted.
        images: how many images were compared.
        vacuous: the reference has too little spread for the comparison to mean anything.
        spread: largest minus smallest reference probability of a class, the largest over classes.
        cosine: of the margins (logits less their row mean), both centred by the reference's mean.
        max_probability_difference: largest absolute difference of a calibrated probability.
        decision_agreement: share of images with the same decision, ties left out.
        set_agreement: share of images with the same prediction set, ties left out.
        ties: images whose decision or set lies within ``TIE`` of flipping in the reference.
        batch_difference: largest difference of a probability between alone and in a batch.
    """

    engine: str
    accepted: bool
    reasons: tuple[str, ...]
    images: int
    vacuous: bool
    spread: float


class ParityReport(_Record):
    """``parity.json``: the verdict on every exported engine.

    ``reference`` is the engine whose answers were evaluated; it agrees with itself.
    """

    reference: str = "torch"
    engines: dict[str, EngineParity] = Field(default_factory=dict)

    @property
    def accepted(self) -> tuple[str, ...]:
        """Exported engines that may answer."""
        return tuple(name for name, parity in self.engines.items() if parity.accepted)

    def obstacle(self, engine: str) -> str | None:
        """Why an engine may not answer, or None when it may."""
        parity = self.engines.get(engine)
        if parity is None:
            return None if engine == self.reference else "parity was not checked when it was made"
        return None if parity.accepted else f"parity refused it: {'; '.join(parity.reasons)}"

    def require(self) -> None:
        """Refuse to go on when no bundle may be made of this export.

        Raises:
            ParityError: ONNX Runtime, which executes the exported graph as it stands, was refused
                or not checked. Another engine that is refused is passed over in serving.
        """
        graph = self.obstacle("onnxruntime")
        if graph is not None:
            raise ParityError(
                f"the exported graph does not answer like the evaluated model: onnxruntime: {graph}"
            )


def check_parity(
    engine_name: str,
    reference_logits: ArrayLike,
    engine_run: Callable[[Views], Logits],
    views: Views,
    calibrator: Calibrator,
    conformal: ConformalPredictor,
    settings: ExportSettings,
    policy: Policy | None = None,
    positive: int = 1,
) -> EngineParity:
    """Compare an engine with the logits of the evaluated model on the same views.

    Args:
        engine_name: name in the registry of engines.
        reference_logits: (N, K) of the evaluated model.
        engine_run: the engine's ``run``.
        views: uint8 (N, V, S, S, 3), of images whose answers differ.
        calibrator: fitted; turns logits into probabilities.
        conformal: fitted; turns probabilities into sets.
        settings: tolerances.
        policy: decision rule; the default threshold when None.
        positive: index of the positive class.

    Raises:
        DataError: there are no views, or not one row of reference logits for each.
    """
    reference = np.asarray(reference_logits, dtype=np.float64)
    if reference.ndim != 2 or len(reference) != len(views) or not len(views):
        raise DataError(
            f"parity needs one row of reference logits for each of the views, but there are "
            f"{reference.shape} logits for {len(views)} views"
        )
    expected = calibrator.transform(reference)
    spread = float(np.ptp(expected, axis=0).max())
    needed = SPREAD * settings.max_probability_difference
    deviation = float(np.std(_margins(reference), axis=0).max())
    vacuous = spread < needed or deviation < MARGIN_SPREAD
    reasons: list[str] = []
    if vacuous:
        reasons.append(
            f"the comparison is vacuous: the reference probabilities span {spread:.2g} (at least "
            f"{needed:.2g} is needed) and its margins deviate by {deviation:.2g} (at least "
            f"{MARGIN_SPREAD:g}): train further, or compare on images whose answers differ"
        )
    outputs = _outputs(engine_run, views, reference.shape)
    if isinstance(outputs, str):
        reasons.append(outputs)
        measured = _Measured()
    else:
        measured = _compare(reference, outputs, calibrator, conformal, policy or Policy(), positive)
        reasons += _faults(measured, settings)
    return EngineParity(
        engine=engine_name,
        accepted=not reasons,
        reasons=tuple(reasons),
        images=len(views),
        vacuous=vacuous,
        spread=spread,
        **measured.model_dump(),
    )


class _Outputs(NamedTuple):
    """Logits (N, K) of the batch, and (M, K) of the images ``rows`` (M,), each run alone."""

    batch: FloatArray
    alone: FloatArray
    rows: NDArray[np.int64]


def _outputs(
    run: Callable[[Views], Logits], views: Views, shape: tuple[int, ...]
) -> _Outputs | str:
    """Logits of the batch, of some images alone and which those are; or what went wrong."""
    rows = np.unique(np.linspace(0, len(views) - 1, min(_ALONE, len(views))).astype(np.int64))
    try:
        batch = np.asarray(run(views), dtype=np.float64)
        alone = np.concatenate([np.asarray(run(views[row : row + 1])) for row in rows])
    except Exception as error:  # engines raise errors of their own; each is a refusal
        return f"the engine failed: {type(error).__name__}: {error}"
    if batch.shape != shape or alone.shape != (len(rows), *shape[1:]):
        return f"the engine gives logits {batch.shape} instead of {shape}"
    if not (np.isfinite(batch).all() and np.isfinite(alone).all()):
        return "the engine gives logits that are not finite"
    return _Outputs(batch, alone.astype(np.float64), rows)


def _compare(
    reference: FloatArray,
    outputs: _Outputs,
    calibrator: Calibrator,
    conformal: ConformalPredictor,
    policy: Policy,
    positive: int,
) -> _Measured:
    expected, actual = calibrator.transform(reference), calibrator.transform(outputs.batch)
    alone = calibrator.transform(outputs.alone)
    decisions = policy.decide(expected, positive)
    rows = Rows(ids=np.arange(len(expected), dtype=np.uint64))
    sets = conformal.predict_set(expected, rows)
    # An answer that flips when every probability moves by TIE is a tie, not a disagreement.
    low, high = np.clip(expected - TIE, 0.0, 1.0), np.clip(expected + TIE, 0.0, 1.0)
    lowest, highest = conformal.predict_set(low, rows), conformal.predict_set(high, rows)
    tied_set = (lowest != highest).any(axis=1)
    tied = tied_set | (policy.decide(low, positive) != policy.decide(high, positive))
    steady = ~tied
    same = policy.decide(actual, positive) == decisions
    same_set = (conformal.predict_set(actual, rows) == sets).all(axis=1)
    return _Measured(
        cosine=_cosine(reference, outputs.batch),
        max_probability_difference=float(np.abs(actual - expected).max()),
        decision_agreement=float(same[steady].mean()) if steady.any() else None,
        set_agreement=float(same_set[steady].mean()) if steady.any() else None,
        ties=int(tied.sum()),
        batch_difference=float(np.abs(alone - actual[outputs.rows]).max()),
    )


def _faults(measured: _Measured, settings: ExportSettings) -> list[str]:
    faults: list[str] = []
    difference, limit = measured.max_probability_difference, settings.max_probability_difference
    if difference is not None and difference > limit:
        faults.append(f"a probability differs by {difference:.2g}, more than {limit:.2g}")
    if measured.cosine is None or measured.cosine < settings.min_cosine:
        shown = "not defined" if measured.cosine is None else f"{measured.cosine:.6f}"
        faults.append(f"the cosine of the margins is {shown}, not {settings.min_cosine:g} or more")
    shares = {"decision": measured.decision_agreement, "prediction set": measured.set_agreement}
    for what, share in shares.items():
        if share is None:
            faults.append(f"every {what} is a tie, so that none could be compared")
        elif share < 1.0:
            faults.append(f"the {what} differs in {100 * (1 - share):.3g} % of the images")
    batch = measured.batch_difference
    if batch is not None and batch > BATCH_DIFFERENCE:
        faults.append(f"the answer depends on the batch: a probability differs by {batch:.2g}")
    return faults


def _margins(logits: FloatArray) -> FloatArray:
    return logits - logits.mean(axis=1, keepdims=True)


def _cosine(reference: FloatArray, actual: FloatArray) -> float | None:
    """Centring by the reference's mean lets a constant offset of all logits count as an error."""
    expected = _margins(reference)
    centre = expected.mean(axis=0)
    a, b = (expected - centre).ravel(), (_margins(actual) - centre).ravel()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / norm, -1.0, 1.0)) if norm > 0 else None
