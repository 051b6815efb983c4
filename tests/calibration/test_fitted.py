"""Fitting a calibrator: only through the door, only on unseen data of the right role."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from roadwork.calibration import CALIBRATORS
from roadwork.calibration.fitted import FittedCalibrator, fit_calibrator
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import CalibrationSet, SampleSet
from roadwork.errors import DataError, LeakageError
from tests.data import made

SPLITS = made.splits(made.good_parts(40))
LOGITS = np.random.default_rng(1).normal(size=(40, 2)) + np.eye(2)[SPLITS.calibrate.labels]


@dataclass(frozen=True)
class Model:
    """A classifier, as far as a calibrator is concerned."""

    exposure: Exposure = field(default_factory=Exposure)
    title: str = "fine-tuned model"


TRAINED = Model(Exposure.of(Use.TRAIN, SPLITS.train).union(Exposure.of(Use.SELECT, SPLITS.select)))


@pytest.mark.parametrize("method", CALIBRATORS)
def test_it_is_fitted_on_the_labels_and_remembers_all_data(method: str) -> None:
    fitted = fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS, method)
    assert fitted.model == CALIBRATORS[method].fit(LOGITS, SPLITS.calibrate.labels)
    assert fitted.exposure.counts() == {
        "train": {"samples": 40, "groups": 10},
        "select": {"samples": 40, "groups": 10},
        "calibrate": {"samples": 40, "groups": 10},
    }


@pytest.mark.parametrize("role", ["train", "select", "conformal", "test"])
def test_another_role_is_refused(role: str) -> None:
    dataset: SampleSet = getattr(SPLITS, role)
    with pytest.raises(LeakageError, match=rf"the calibrate set .*but the {role} set"):
        fit_calibrator(Model(), dataset, LOGITS, "temperature")  # pyright: ignore


@pytest.mark.parametrize("use", ["train", "select"])
def test_rows_that_the_classifier_saw_are_refused_under_any_name(use: str) -> None:
    rows: SampleSet = getattr(SPLITS, use)
    with pytest.raises(
        LeakageError,
        match=rf"cannot calibrate the fine-tuned model: .*\({use}\): 40 samples .* and 10 groups",
    ):
        fit_calibrator(TRAINED, CalibrationSet(rows.table), LOGITS, "temperature")


def test_a_shared_group_is_enough() -> None:
    group = SPLITS.train.groups[0]
    dataset = CalibrationSet(made.table([made.row(900, group=group), made.row(901, "other")]))
    with pytest.raises(LeakageError, match=rf"0 samples and 1 groups \({group}\) overlap"):
        fit_calibrator(TRAINED, dataset, LOGITS[:2], "temperature")


def test_logits_of_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match="40 rows"):
        fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS[:39], "temperature")


@pytest.mark.parametrize("prior", [None, 0.02])
@pytest.mark.parametrize("method", CALIBRATORS)
def test_saving_and_loading_is_exact(method: str, prior: float | None, tmp_path: Path) -> None:
    fitted = fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS, method, prior)
    assert fitted.model.deployment_prior == prior
    fitted.save(tmp_path)
    again = FittedCalibrator.load(tmp_path)
    assert again.content_hash == fitted.content_hash
    assert again.model == fitted.model
    assert (again.model.transform(LOGITS) == fitted.model.transform(LOGITS)).all()


def test_the_hash_changes_with_the_parameters_and_the_exposure() -> None:
    fitted = fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS, "temperature")
    same = fit_calibrator(TRAINED, SPLITS.calibrate, LOGITS, "temperature")
    other = fit_calibrator(TRAINED, SPLITS.calibrate, 2 * LOGITS, "temperature")
    fresh = fit_calibrator(Model(), SPLITS.calibrate, LOGITS, "temperature")
    assert same.content_hash == fitted.content_hash
    assert len({fitted.content_hash, other.content_hash, fresh.content_hash}) == 3
