"""Parity refuses every way in which an engine can differ, and what proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from roadwork.conformal import SplitConformal
from roadwork.engines import Logits, OnnxRuntimeEngine, OpenVinoEngine, Views
from roadwork.errors import DataError, ParityError
from roadwork.export.parity import EngineParity, ParityReport, check_parity
from roadwork.settings import ExportSettings
from tests.bundle.make_bundle import CALIBRATOR, CONFORMAL, SIZE, accepted, onnx_model

SETTINGS = ExportSettings()
MARGINS = np.linspace(-4.0, 4.0, 24)
REFERENCE = np.stack([-MARGINS / 2, MARGINS / 2], axis=1)
# The pixel value says which row of the reference a view belongs to.
VIEWS = np.broadcast_to(
    np.arange(24, dtype=np.uint8)[:, None, None, None, None], (24, 1, 2, 2, 3)
).copy()


def exact(views: Views) -> Logits:
    return REFERENCE[views[:, 0, 0, 0, 0]].astype(np.float32)


def check(run: Callable[[Views], Logits], reference: np.ndarray = REFERENCE) -> EngineParity:
    return check_parity("engine", reference, run, VIEWS, CALIBRATOR, CONFORMAL, SETTINGS)


def test_an_engine_that_agrees_is_accepted() -> None:
    parity = check(exact)
    assert parity.accepted
    assert parity.reasons == ()
    assert parity.cosine == pytest.approx(1.0, abs=1e-6)
    assert parity.max_probability_difference == pytest.approx(0.0, abs=1e-6)
    assert (parity.decision_agreement, parity.set_agreement) == (1.0, 1.0)
    assert parity.batch_difference == 0.0
    # Temperature 1.5 on margins of ±4: P = 1 / (1 + exp(∓4 / 1.5)).
    low, high = 1 / (1 + np.exp(4 / 1.5)), 1 / (1 + np.exp(-4 / 1.5))
    assert parity.spread == pytest.approx(high - low)


@pytest.mark.parametrize("kind", [OnnxRuntimeEngine, OpenVinoEngine])
def test_real_engines_are_accepted(kind: type[OnnxRuntimeEngine | OpenVinoEngine]) -> None:
    from tests.bundle.make_bundle import expected_logits

    rng = np.random.default_rng(1)
    color = rng.integers(0, 256, (16, 1, 1, 1, 3))
    views = np.broadcast_to(color, (16, 10, SIZE, SIZE, 3)).astype(np.uint8)
    parity = check_parity(
        kind.name,
        expected_logits(views),
        kind(onnx_model(), threads=1).run,
        views,
        CALIBRATOR,
        CONFORMAL,
        SETTINGS,
    )
    assert parity.accepted, parity.reasons


def test_a_reference_without_spread_is_vacuous() -> None:
    parity = check(lambda views: exact(views) * 1e-5, REFERENCE * 1e-5)
    assert parity.vacuous
    assert not parity.accepted
    assert "vacuous" in parity.reasons[0]


def test_tiny_logits_behind_an_extreme_temperature_are_vacuous() -> None:
    sharp = CALIBRATOR.model_copy(update={"temperature": 1e-4})
    tiny = REFERENCE * 1e-4
    parity = check_parity("e", tiny, lambda v: exact(v) * 1e-4, VIEWS, sharp, CONFORMAL, SETTINGS)
    assert parity.spread > 0.9
    assert parity.vacuous


def test_a_constant_answer_is_vacuous() -> None:
    constant = np.tile([-3.0, 3.0], (24, 1))
    parity = check(lambda views: constant[: len(views)].astype(np.float32), constant)
    assert parity.vacuous
    assert parity.cosine is None
    assert not parity.accepted


def test_a_shift_of_one_margin_is_refused_by_its_probability() -> None:
    def shifted(views: Views) -> Logits:
        logits = exact(views)
        logits[views[:, 0, 0, 0, 0] == 12, 1] += 0.05
        return logits

    parity = check(shifted)
    p = 1 / (1 + np.exp(-MARGINS[12] / 1.5))
    q = 1 / (1 + np.exp(-(MARGINS[12] + 0.05) / 1.5))
    assert parity.max_probability_difference == pytest.approx(q - p, rel=1e-4)
    assert parity.decision_agreement == 1.0
    assert len(parity.reasons) == 1
    assert "a probability differs by 0.008" in parity.reasons[0]


def test_a_common_offset_of_both_logits_changes_nothing() -> None:
    assert check(lambda views: exact(views) + np.float32(1.0)).accepted


def test_a_constant_offset_of_the_margin_is_refused_though_directions_agree() -> None:
    offset = np.array([0.0, 2.0], dtype=np.float32)
    parity = check(lambda views: exact(views) + offset)
    assert parity.cosine is not None
    assert parity.cosine < 0.95
    assert not parity.accepted


def test_flipped_labels_are_refused() -> None:
    parity = check(lambda views: exact(views)[:, ::-1])
    assert parity.cosine == pytest.approx(-1.0, abs=1e-6)
    assert parity.decision_agreement == 0.0
    assert "the decision differs in 100 % of the images" in parity.reasons


def test_an_answer_that_depends_on_the_batch_is_refused() -> None:
    def dynamic(views: Views) -> Logits:
        return exact(views) * np.float32(1.0 if len(views) > 1 else 1.001)

    parity = check(dynamic)
    assert parity.max_probability_difference == pytest.approx(0.0, abs=1e-6)
    assert parity.batch_difference is not None
    assert parity.batch_difference > 1e-4
    assert len(parity.reasons) == 1
    assert "depends on the batch" in parity.reasons[0]


def test_the_point_on_the_threshold_is_a_tie_and_no_disagreement() -> None:
    probabilities = CALIBRATOR.transform(REFERENCE)
    # The threshold is exactly one image's score, as it is when that image was a conformal one.
    threshold = float(1.0 - probabilities[5, 0])
    lac = SplitConformal(alpha=0.25, threshold=threshold, n=10, rank=9)

    def nearly(views: Views) -> Logits:
        return (REFERENCE[views[:, 0, 0, 0, 0]] * (1 - 1e-7)).astype(np.float32)

    parity = check_parity("e", REFERENCE, nearly, VIEWS, CALIBRATOR, lac, SETTINGS)
    moved = lac.predict_set(CALIBRATOR.transform(nearly(VIEWS)))
    assert (moved != lac.predict_set(probabilities)).any(), "the case must be a hard one"
    assert parity.accepted, parity.reasons
    assert parity.ties >= 1


def test_an_engine_that_crashes_is_refused_with_its_error() -> None:
    def crash(views: Views) -> Logits:
        raise RuntimeError("illegal instruction")

    parity = check(crash)
    assert not parity.accepted
    assert parity.reasons == ("the engine failed: RuntimeError: illegal instruction",)
    assert parity.cosine is None


def test_logits_that_are_not_finite_or_of_another_shape_are_refused() -> None:
    assert "not finite" in check(lambda views: exact(views) * np.float32(np.nan)).reasons[0]
    assert "instead of (24, 2)" in check(lambda views: exact(views)[:, :1]).reasons[0]


def test_parity_without_images_is_an_error() -> None:
    with pytest.raises(DataError, match="one row of reference logits"):
        check_parity("e", REFERENCE[:0], exact, VIEWS[:0], CALIBRATOR, CONFORMAL, SETTINGS)
    with pytest.raises(DataError, match="one row of reference logits"):
        check_parity("e", REFERENCE[:3], exact, VIEWS, CALIBRATOR, CONFORMAL, SETTINGS)


def test_the_report_asks_for_the_graph_itself() -> None:
    refused = check(lambda views: exact(views)[:, ::-1])
    ParityReport(engines={"onnxruntime": accepted("onnxruntime"), "openvino": refused}).require()
    with pytest.raises(ParityError, match=r"onnxruntime: parity refused it: .*the decision"):
        ParityReport(engines={"onnxruntime": refused, "openvino": accepted("openvino")}).require()
    with pytest.raises(ParityError, match="parity was not checked"):
        ParityReport().require()


def test_the_report_round_trips_through_json() -> None:
    report = ParityReport(engines={"a": check(exact), "b": check(lambda views: exact(views) * 0)})
    assert ParityReport.model_validate_json(report.model_dump_json()) == report
    assert report.accepted == ("a",)
    assert report.obstacle("torch") is None
