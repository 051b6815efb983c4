"""Fitting conformal thresholds: on data that neither model nor calibrator has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from roadwork.calibration.base import softmax
from roadwork.conformal import Rows, fit_predictor
from roadwork.conformal.fitted import FittedConformal, fit_conformal
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import ConformalSet, SampleSet
from roadwork.errors import ConfigError, DataError, LeakageError
from tests.conformal.methods import METHODS, asked
from tests.data import made

SPLITS = made.splits(made.good_parts(40))
PROBABILITIES = softmax(np.random.default_rng(2).normal(size=(40, 2)))


@dataclass(frozen=True)
class Part:
    """A classifier or a calibrator, as far as thresholds are concerned."""

    exposure: Exposure
    title: str


MODEL = Part(Exposure.of(Use.TRAIN, SPLITS.train), "fine-tuned model")
CALIBRATOR = Part(MODEL.exposure.union(Exposure.of(Use.CALIBRATE, SPLITS.calibrate)), "calibrator")


def fitted(method: str = "mondrian", alpha: float = 0.2) -> FittedConformal:
    return fit_conformal(MODEL, CALIBRATOR, SPLITS.conformal, PROBABILITIES, asked(method, alpha))


@pytest.mark.parametrize("method", METHODS)
def test_it_is_fitted_on_the_labels_and_remembers_all_data(method: str) -> None:
    found = fitted(method)
    dataset = SPLITS.conformal
    rows = Rows(ids=dataset.sample_ids, slices=dataset.column("weather"))
    assert found.model == fit_predictor(
        asked(method, 0.2), PROBABILITIES, dataset.labels, groups=dataset.groups, rows=rows
    )
    assert set(found.exposure.counts()) == {"train", "calibrate", "conformalise"}
    assert found.exposure.counts()["conformalise"] == {"samples": 40, "groups": 10}


@pytest.mark.parametrize("role", ["train", "select", "calibrate", "test"])
def test_another_role_is_refused(role: str) -> None:
    dataset: SampleSet = getattr(SPLITS, role)
    with pytest.raises(LeakageError, match=rf"the conformal set .*but the {role} set"):
        fit_conformal(MODEL, CALIBRATOR, dataset, PROBABILITIES, asked("lac", 0.2))  # pyright: ignore


def test_the_calibrators_rows_are_refused() -> None:
    """Thresholds from data on which the calibrator was fitted would be too small."""
    dataset = ConformalSet(SPLITS.calibrate.table)
    with pytest.raises(
        LeakageError, match=r"cannot conformalise the calibrator: .*\(calibrate\): 40 samples"
    ):
        fit_conformal(MODEL, CALIBRATOR, dataset, PROBABILITIES, asked("lac", 0.2))


def test_the_classifiers_rows_are_refused() -> None:
    dataset = ConformalSet(SPLITS.train.table)
    with pytest.raises(LeakageError, match=r"conformalise the fine-tuned model: .*\(train\)"):
        fit_conformal(MODEL, CALIBRATOR, dataset, PROBABILITIES, asked("lac", 0.2))


def test_one_shared_photograph_is_enough() -> None:
    seen = made.row(80, group="renamed-1")  # the calibrator's first, under another group
    assert int(seen["sample_id"], 16) in SPLITS.calibrate.sample_ids.tolist()
    dataset = ConformalSet(made.table([seen, made.row(901, "renamed-2")]))
    with pytest.raises(LeakageError, match=r"1 samples \(80\.jpg\) and 0 groups overlap"):
        fit_conformal(MODEL, CALIBRATOR, dataset, PROBABILITIES[:2], asked("lac", 0.4))


def test_probabilities_of_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match="40 rows"):
        fit_conformal(MODEL, CALIBRATOR, SPLITS.conformal, PROBABILITIES[1:], asked("lac", 0.2))


@pytest.mark.parametrize("method", METHODS)
def test_saving_and_loading_is_exact(method: str, tmp_path: Path) -> None:
    found = fitted(method)
    found.save(tmp_path)
    again = FittedConformal.load(tmp_path)
    assert again.content_hash == found.content_hash
    assert again.model == found.model
    sets = found.model.predict_set(PROBABILITIES)
    assert (again.model.predict_set(PROBABILITIES) == sets).all()


def test_the_hash_changes_with_the_thresholds_and_the_exposure() -> None:
    other = fit_conformal(
        Part(Exposure(), "model"),
        CALIBRATOR,
        SPLITS.conformal,
        PROBABILITIES,
        asked("mondrian", 0.2),
    )
    assert other.exposure.counts() == fitted().exposure.counts()  # through the calibrator
    assert fitted().content_hash == other.content_hash
    bare = fit_conformal(MODEL, MODEL, SPLITS.conformal, PROBABILITIES, asked("mondrian", 0.2))
    hashes = {fitted().content_hash, fitted(alpha=0.3).content_hash, bare.content_hash}
    assert len(hashes) == 3


def test_an_unknown_column_of_slices_is_named() -> None:
    wanted = asked("mondrian_slice", 0.2, slice="moon")
    with pytest.raises(ConfigError, match=r"conformal\.slice: the manifest has no column moon"):
        fit_conformal(MODEL, CALIBRATOR, SPLITS.conformal, PROBABILITIES, wanted)


def test_lots_and_randomised_scores_come_from_the_seed_and_the_images() -> None:
    """Rows in another order give the same predictor: nothing depends on the place in the file."""
    wanted = asked("aps", 0.2, randomised=True, groups="drawn")
    dataset = SPLITS.conformal
    order = np.random.default_rng(1).permutation(len(dataset))
    turned = ConformalSet(dataset.table.take(order))
    first = fit_conformal(MODEL, CALIBRATOR, dataset, PROBABILITIES, wanted, 3).model
    again = fit_conformal(MODEL, CALIBRATOR, turned, PROBABILITIES[order], wanted, 3).model
    assert first == again
    assert first.promise(None) is not None and first.promise(None).points == 10  # pyright: ignore
    other = fit_conformal(MODEL, CALIBRATOR, dataset, PROBABILITIES, wanted, 4).model
    assert other.model_dump()["threshold"] != first.model_dump()["threshold"]
