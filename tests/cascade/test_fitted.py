"""Fitting exits: on data that neither the network nor a calibrator has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from roadwork.cascade.fitted import FittedExitPolicy, fit_exit_policy
from roadwork.cascade.policy import ExitPolicy, ExitPromise
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import CalibrationSet, ConformalSet, SampleSet
from roadwork.errors import DataError, LeakageError
from tests.data import made

SPLITS = made.splits(made.good_parts(40))
LABELS = SPLITS.conformal.labels
SECOND = np.stack([1.0 - LABELS, LABELS], axis=1) * 0.9 + 0.05
FIRST = SECOND * 0.8 + 0.1
# Ten groups: 0.7^10 = 0.028 without harm.
PROMISE = ExitPromise(max_accuracy_loss=0.3, max_recall_loss=0.3, delta=0.1)


@dataclass(frozen=True)
class Part:
    """A network or a calibrator, as far as exits are concerned."""

    exposure: Exposure
    title: str


MODEL = Part(Exposure.of(Use.TRAIN, SPLITS.train), "cascade")
CALIBRATOR = Part(MODEL.exposure.union(Exposure.of(Use.CALIBRATE, SPLITS.calibrate)), "calibrator")


def fitted() -> FittedExitPolicy:
    return fit_exit_policy([MODEL, CALIBRATOR], SPLITS.conformal, FIRST, SECOND, PROMISE)


def test_it_is_fitted_on_labels_and_groups_and_remembers_all_data() -> None:
    found = fitted()
    dataset = SPLITS.conformal
    assert found.model == ExitPolicy.fit(FIRST, SECOND, LABELS, dataset.groups, promise=PROMISE)
    assert found.model.feasible and found.model.votes == 10
    assert set(found.exposure.counts()) == {"train", "calibrate", "conformalise"}
    assert found.exposure.counts()["conformalise"] == {"samples": 40, "groups": 10}


def test_the_calibration_set_will_do_where_no_calibrator_saw_it() -> None:
    labels = SPLITS.calibrate.labels
    second = np.stack([1.0 - labels, labels], axis=1)
    found = fit_exit_policy([MODEL], SPLITS.calibrate, second, second, PROMISE)
    assert set(found.exposure.counts()) == {"train", "calibrate"}


@pytest.mark.parametrize("role", ["train", "select", "test"])
def test_another_role_is_refused(role: str) -> None:
    dataset: SampleSet = getattr(SPLITS, role)
    with pytest.raises(LeakageError, match=rf"but the {role} set"):
        fit_exit_policy([], dataset, FIRST, SECOND, PROMISE)  # pyright: ignore


def test_data_that_a_part_has_seen_is_refused() -> None:
    with pytest.raises(LeakageError, match=r"calibrator: .*\(calibrate\): 40 samples"):
        fit_exit_policy([MODEL, CALIBRATOR], SPLITS.calibrate, FIRST, SECOND, PROMISE)
    with pytest.raises(LeakageError, match=r"cascade: .*\(train\): 40 samples"):
        fit_exit_policy([MODEL], CalibrationSet(SPLITS.train.table), FIRST, SECOND, PROMISE)
    with pytest.raises(LeakageError, match=r"\(calibrate\)"):
        fit_exit_policy([CALIBRATOR], ConformalSet(SPLITS.calibrate.table), FIRST, SECOND, PROMISE)


def test_probabilities_of_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match="stage 1 for 40 rows"):
        fit_exit_policy([MODEL], SPLITS.conformal, FIRST[1:], SECOND, PROMISE)
    with pytest.raises(DataError, match="stage 2 for 40 rows"):
        fit_exit_policy([MODEL], SPLITS.conformal, FIRST, SECOND[1:], PROMISE)


def test_saving_and_loading_is_exact(tmp_path: Path) -> None:
    found = fitted()
    found.save(tmp_path)
    again = FittedExitPolicy.load(tmp_path)
    assert again.content_hash == found.content_hash
    assert again.model == found.model
