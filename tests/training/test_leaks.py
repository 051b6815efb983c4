"""No door of training or evaluation lets data in that something beneath has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from roadwork.calibration.fitted import FittedCalibrator, fit_calibrator
from roadwork.conformal.fitted import FittedConformal, fit_conformal
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import CalibrationSet, ConformalSet, SelectSet, TestSet
from roadwork.data.splits import Splits
from roadwork.errors import LeakageError
from roadwork.evaluation.final import evaluate
from roadwork.evaluation.record import DataSummary
from roadwork.models.classifier import Classifier
from roadwork.models.inference import predict_logits
from roadwork.risk_control import DeferPromise
from roadwork.risk_control.fitted import fit_defer_threshold
from roadwork.training.finetune import finetune
from roadwork.training.pretrain import pretrain
from tests.training.made_photos import small_backbone, small_settings

SPLIT = {"method": "lac", "alpha": 0.4}
SETTINGS = small_settings(finetune={"epochs": 1}, pretrain={"epochs": 1}, conformal=SPLIT)
NOTHING = DataSummary(roles={}, sources={}, quarantine={}, exact_copies=0)
Fitted = tuple[Classifier, Classifier, FittedCalibrator, FittedConformal]


@pytest.fixture(scope="module")
def fitted(sets: Splits, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The whole chain, fitted in order."""
    folder = tmp_path_factory.mktemp("chain")
    backbone = pretrain(small_backbone(SETTINGS), sets.train, SETTINGS, folder).backbone
    tuned = finetune(backbone, sets.train, sets.select, SETTINGS, folder)
    classifier = tuned.classifier
    logits = predict_logits(classifier, sets.calibrate, SETTINGS.data)
    calibrator = fit_calibrator(classifier, sets.calibrate, logits, "temperature")
    logits = predict_logits(classifier, sets.conformal, SETTINGS.data)
    conformal = fit_conformal(
        classifier,
        calibrator,
        sets.conformal,
        calibrator.model.transform(logits),
        SETTINGS.conformal,
    )
    return classifier, tuned.baseline, calibrator, conformal


def test_the_chain_remembers_every_use(fitted: Fitted) -> None:
    counts = fitted[3].exposure.counts()
    assert {use: count["samples"] for use, count in counts.items()} == {
        "pretrain": 20,
        "train": 20,
        "select": 12,
        "calibrate": 12,
        "conformalise": 12,
    }


def test_models_are_not_chosen_on_the_groups_they_were_fitted_on(
    sets: Splits, checkpoints: Path
) -> None:
    shared = sets.train.table.slice(0, 1)
    select = SelectSet(pa.concat_tables([sets.select.table, shared]))
    with pytest.raises(LeakageError, match=r"share 1 images \(0\.png\) and 1 groups \(drive-0\)"):
        finetune(small_backbone(), sets.train, select, SETTINGS, checkpoints)
    regrouped = sets.select.table.to_pylist()
    regrouped[0]["group_id"] = "drive-3"
    select = SelectSet(pa.Table.from_pylist(regrouped, schema=sets.select.table.schema))
    with pytest.raises(LeakageError, match=r"share 0 images and 1 groups \(drive-3\)"):
        finetune(small_backbone(), sets.train, select, SETTINGS, checkpoints)
    assert not checkpoints.exists()


def test_models_are_not_chosen_on_images_of_pretraining(sets: Splits, checkpoints: Path) -> None:
    backbone = replace(small_backbone(), exposure=Exposure.of(Use.PRETRAIN, sets.select))
    with pytest.raises(
        LeakageError, match=r"select a model on the backbone.*\(pretrain\): 12 samp"
    ):
        finetune(backbone, sets.train, sets.select, SETTINGS, checkpoints)


def test_roles_cannot_be_exchanged(sets: Splits, checkpoints: Path) -> None:
    with pytest.raises(LeakageError, match="choose between models"):
        finetune(small_backbone(), sets.train, sets.test, SETTINGS, checkpoints)  # pyright: ignore
    with pytest.raises(LeakageError, match="fit a model"):
        finetune(small_backbone(), sets.select, sets.select, SETTINGS, checkpoints)  # pyright: ignore


@pytest.mark.parametrize("role", ["train", "select"])
def test_calibration_takes_no_data_of_the_classifier(
    role: str, sets: Splits, fitted: Fitted
) -> None:
    part = getattr(sets, role)
    zeros = np.zeros((len(part), 2))
    with pytest.raises(LeakageError, match=rf"but the {role} set"):
        fit_calibrator(fitted[0], part, zeros, "temperature")
    with pytest.raises(LeakageError, match=rf"fine-tuned model.*{len(part)} samples"):
        fit_calibrator(fitted[0], CalibrationSet(part.table), zeros, "temperature")


@pytest.mark.parametrize("role", ["train", "select", "calibrate"])
def test_conformal_takes_no_data_of_the_parts_beneath(
    role: str, sets: Splits, fitted: Fitted
) -> None:
    part = getattr(sets, role)
    half = np.full((len(part), 2), 0.5)
    with pytest.raises(LeakageError, match=rf"{len(part)} samples"):
        fit_conformal(fitted[0], fitted[2], ConformalSet(part.table), half, SETTINGS.conformal)


@pytest.mark.parametrize("role", ["train", "select", "calibrate", "conformal"])
def test_the_final_evaluation_takes_no_data_of_any_part(
    role: str, sets: Splits, fitted: Fitted
) -> None:
    part = getattr(sets, role)
    with pytest.raises(LeakageError, match=rf"cannot evaluate .* {len(part)} samples"):
        evaluate(*fitted, TestSet(part.table), NOTHING, SETTINGS)
    with pytest.raises(LeakageError, match=rf"but the {role} set"):
        evaluate(*fitted, part, NOTHING, SETTINGS)


@pytest.mark.parametrize("index", range(4))
def test_every_part_is_asked(index: int, sets: Splits, fitted: Fitted) -> None:
    """One shared group with one of the four is enough, whichever it is."""
    seen = Exposure.of(Use.TRAIN, TestSet(sets.test.table.slice(0, 1)))
    classifier, baseline, calibrator, conformal = (
        replace(part, exposure=seen if number == index else Exposure())
        for number, part in enumerate(fitted)
    )
    with pytest.raises(LeakageError, match=r"1 samples .* and 1 groups \(drive-14\)"):
        evaluate(classifier, baseline, calibrator, conformal, sets.test, NOTHING, SETTINGS)  # pyright: ignore


def test_the_untouched_test_set_is_evaluated(sets: Splits, fitted: Fitted) -> None:
    classifier, _, calibrator, _ = fitted
    report, scores = evaluate(*fitted, sets.test, NOTHING, SETTINGS)
    logits = predict_logits(classifier, sets.test, SETTINGS.data)
    expected = calibrator.model.transform(logits)[:, 1]
    np.testing.assert_array_equal(scores.probabilities, expected)
    assert scores.labels.tolist() == sets.test.labels.tolist()
    assert report.exposure["conformalise"] == {"samples": 12, "groups": 3}


def test_a_defer_threshold_is_judged_where_nothing_has_seen_the_test_set(
    sets: Splits, fitted: Fitted
) -> None:
    classifier, _, calibrator, _ = fitted
    reference, tested = (
        calibrator.model.transform(predict_logits(classifier, part, SETTINGS.data))
        for part in (sets.calibrate, sets.conformal)
    )
    threshold = fit_defer_threshold(
        classifier,
        calibrator,
        sets.calibrate,
        reference,
        sets.conformal,
        tested,
        DeferPromise(max_error=0.1),
    )
    report, _ = evaluate(*fitted, sets.test, NOTHING, SETTINGS, defer=threshold)
    assert report.defer is not None
    assert report.defer.guarantee == threshold.model.guarantee
    # Three groups certify nothing.
    assert (report.defer.threshold, report.defer.accepted) == (None, 0.0)
    seen = Exposure.of(Use.CONFORMALISE, TestSet(sets.test.table.slice(0, 1)))
    exposed = replace(threshold, exposure=seen)
    with pytest.raises(LeakageError, match=r"defer threshold.* 1 samples .*drive-14"):
        evaluate(*fitted, sets.test, NOTHING, SETTINGS, defer=exposed)
