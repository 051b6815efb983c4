"""The doors: sets of the wrong role, shared images, groups and looks are refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from roadwork.data.contract import (
    require_disjoint,
    require_distinct_looks,
    require_role,
    validate_final_eval,
    validate_model_selection,
    validate_policy_fitting,
)
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import CalibrationSet, ConformalSet, SelectSet, TestSet, TrainSet
from roadwork.errors import LeakageError
from tests.data import made


@dataclass(frozen=True)
class Fitted:
    exposure: Exposure
    title: str = "classifier"


def fitted() -> Fitted:
    """Trained on rows 0-7, selected on rows 8-15."""
    parts = made.splits(made.good_parts())
    return Fitted(Exposure.of(Use.TRAIN, parts.train).union(Exposure.of(Use.SELECT, parts.select)))


SPLITS = made.splits(made.good_parts())


def test_the_right_sets_pass() -> None:
    validate_model_selection(SPLITS.train, SPLITS.select)
    validate_policy_fitting([fitted()], SPLITS.calibrate)
    validate_policy_fitting([fitted()], SPLITS.conformal)
    validate_final_eval([fitted()], SPLITS.test)


@pytest.mark.parametrize("given", [SPLITS.train, SPLITS.select, SPLITS.test])
def test_calibration_wants_its_own_set(given: CalibrationSet) -> None:
    with pytest.raises(LeakageError, match=r"CalibrationSet.*not exchangeable") as caught:
        validate_policy_fitting([], given)
    assert f"the {given.role} set ({type(given).__name__}) was given" in str(caught.value)


def test_evaluation_wants_the_test_set() -> None:
    with pytest.raises(LeakageError, match=r"takes the test set \(TestSet\), but the conformal"):
        validate_final_eval([], SPLITS.conformal)  # pyright: ignore[reportArgumentType]


def test_selection_wants_train_and_select_in_order() -> None:
    with pytest.raises(LeakageError, match="fit a model takes the train set"):
        validate_model_selection(SPLITS.select, SPLITS.train)  # pyright: ignore[reportArgumentType]


def test_what_is_no_data_set_is_refused_too() -> None:
    with pytest.raises(LeakageError, match=r"something else \(list\)"):
        require_role([], "evaluate", TestSet)  # pyright: ignore[reportArgumentType]


def test_evaluating_on_training_images_in_the_role_of_test_is_refused() -> None:
    disguised = TestSet(SPLITS.train.table)
    with pytest.raises(LeakageError, match=r"evaluate the classifier.*0\.jpg.*drive-0"):
        validate_final_eval([fitted()], disguised)


def test_any_of_several_artifacts_refuses() -> None:
    innocent = Fitted(Exposure(), "calibrator")
    with pytest.raises(LeakageError, match="the classifier"):
        validate_policy_fitting([innocent, fitted()], CalibrationSet(SPLITS.select.table))


def test_conformalising_on_the_calibrators_points_is_refused() -> None:
    calibrator = Fitted(Exposure.of(Use.CALIBRATE, SPLITS.calibrate), "calibrator")
    with pytest.raises(LeakageError, match=r"cannot conformalise the calibrator.*\(calibrate\)"):
        validate_policy_fitting([calibrator], ConformalSet(SPLITS.calibrate.table))


def test_a_new_image_of_a_known_group_is_refused() -> None:
    new = TestSet(made.table([made.row(99, group="drive-0")]))
    with pytest.raises(LeakageError, match=r"0 samples and 1 groups \(drive-0\)"):
        validate_final_eval([fitted()], new)


def test_a_shared_group_is_named() -> None:
    select = SelectSet(made.table([made.row(50, group="drive-1"), made.row(51)]))
    with pytest.raises(LeakageError, match=r"share 0 images and 1 groups \(drive-1\)"):
        require_disjoint(SPLITS.train, select)


def test_a_shared_image_is_named_under_its_new_name() -> None:
    select = SelectSet(made.table([made.row(3, group="other", file="renamed.jpg")]))
    with pytest.raises(LeakageError, match=r"share 1 images \(renamed\.jpg\) and 0 groups"):
        validate_model_selection(SPLITS.train, select)


@pytest.mark.parametrize(("bits", "refused"), [(0, True), (0b1111, True), (0b11111, False)])
def test_looks(bits: int, refused: bool) -> None:
    look = made.row(2)["phash"] ^ bits
    other = TestSet(made.table([made.row(60), made.row(61, phash=look)]))
    if refused:
        with pytest.raises(LeakageError, match=r"1 pairs.*\(2\.jpg and 61\.jpg\)"):
            require_distinct_looks(SPLITS.train, other, 4)
    else:
        require_distinct_looks(SPLITS.train, other, 4)


def test_looks_within_one_set_do_not_matter() -> None:
    twins = TrainSet(made.table([made.row(1), made.row(2, phash=made.row(1)["phash"])]))
    require_distinct_looks(twins, SPLITS.test, 4)


def test_many_names_are_cut_short() -> None:
    select = SelectSet(SPLITS.train.table)
    with pytest.raises(LeakageError, match=r"8 images \(0\.jpg, .*4\.jpg, …\)"):
        require_disjoint(SPLITS.train, select)
