"""The defer threshold: by hand, its door, its words, and how often its promise is broken."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from roadwork.calibration.base import softmax
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import CalibrationSet, ConformalSet
from roadwork.errors import ConfigError, DataError, LeakageError
from roadwork.risk_control import DeferPromise, DeferThreshold, fit_sgr, levels_from
from roadwork.risk_control.defer import groups_needed
from roadwork.risk_control.fitted import FittedDeferThreshold, fit_defer_threshold
from roadwork.risk_control.sgr import upper_bound
from tests.conformal.law import keeps
from tests.data import made

SPLITS = made.splits(made.good_parts(40))
LOOSE = DeferPromise(max_error=0.5, delta=0.4)


def table(positive: object) -> np.ndarray:
    p = np.asarray(positive, dtype=np.float64)
    return np.stack([1.0 - p, p], axis=1)


def test_the_threshold_by_hand() -> None:
    """At .9 four right: .5^4 = .0625 <= .1; at .8 one of six wrong: 7/64 > .1: the way ends."""
    p = table([0.95, 0.05, 0.92, 0.97, 0.85, 0.85])
    labels = [1, 0, 1, 1, 0, 1]
    promise = DeferPromise(max_error=0.5, delta=0.1)
    fitted = DeferThreshold.fit(p, labels, [0.9, 0.8], promise=promise)
    assert (fitted.threshold, fitted.votes, fitted.groups) == (0.9, 4, 6)
    assert fitted.accepted == pytest.approx(4 / 6)
    assert fitted.accepts(table([0.95, 0.5, 0.05, 0.9])).tolist() == [True, False, True, True]
    lenient = DeferPromise(max_error=0.5, delta=7 / 64 + 1e-9)
    assert DeferThreshold.fit(p, labels, [0.9, 0.8], promise=lenient).threshold == 0.8


def test_a_stricter_level_that_fails_ends_the_way() -> None:
    """Fixed sequence: what comes after the first failure is not tried, however good it looks."""
    p = table([0.99] + [0.8] * 20)
    promise = DeferPromise(max_error=0.3, delta=0.1)
    found = DeferThreshold.fit(p, [0] + [1] * 20, [0.9, 0.7], promise=promise)
    assert not found.feasible
    assert DeferThreshold.fit(p, [0] + [1] * 20, [0.7], promise=promise).feasible


def test_missed_roadwork_is_bounded_by_itself() -> None:
    """2 of 100 wrong is fine on the whole; that they are 2 of 10 with roadwork is not."""
    p = table([0.02] * 92 + [0.98] * 8)
    labels = [0] * 90 + [1] * 10
    whole = DeferPromise(max_error=0.1, delta=0.1)
    assert DeferThreshold.fit(p, labels, [0.9], promise=whole).feasible
    both = DeferPromise(max_error=0.1, max_missed=0.1, delta=0.1)
    found = DeferThreshold.fit(p, labels, [0.9], promise=both)
    assert not found.feasible and found.needed is None
    assert "more groups would not help" in found.guarantee
    assert "of those of roadwork at most 10 % are missed" in found.guarantee


def test_groups_vote_once() -> None:
    """Ten drives of five images are ten votes: .8^10 > .1, though .8^50 is next to nothing."""
    p, labels = table([0.9] * 50), [1] * 50
    promise = DeferPromise(max_error=0.2, delta=0.1)
    assert DeferThreshold.fit(p, labels, [0.8], promise=promise).feasible
    found = DeferThreshold.fit(p, labels, [0.8], np.arange(50) // 5, promise=promise)
    assert not found.feasible and found.groups == 10
    assert found.needed == promise.votes_needed[0] == 11
    assert "About 11 groups would do" in found.guarantee
    assert not found.accepts(table([1.0, 0.0])).any()


def test_groups_needed_is_the_point_where_the_test_rejects() -> None:
    assert groups_needed(0.0, 0.05, 0.1) == 45  # .95^45 = .0994
    needed = groups_needed(0.02, 0.05, 0.1)
    assert needed is not None and binom.cdf(int(0.02 * needed), needed, 0.05) <= 0.1
    assert groups_needed(0.05, 0.05, 0.1) is None


def test_levels_begin_where_the_test_is_clearest_and_fall() -> None:
    p = softmax(np.random.default_rng(0).normal(size=(500, 2)) * 3)
    labels = p.argmax(axis=1)
    promise = DeferPromise(max_error=0.05, delta=0.1)
    levels = levels_from(p, labels, 200, promise)
    assert levels[-1] == p.max(axis=1).min()
    assert levels.tolist() == [levels[-1]]  # no answer is wrong: the clearest is to accept all
    # The less confident half is wrong as often as right: the way begins where that half begins.
    half = np.median(p.max(axis=1))
    labels = np.where((p.max(axis=1) < half) & (np.arange(500) % 2 == 0), 1 - labels, labels)
    levels = levels_from(p, labels, 200, promise)
    assert (np.diff(levels) < 0).all() and len(levels) == 100
    assert half * 0.97 < levels[0] < half * 1.01
    assert levels[-1] == p.max(axis=1).min()
    hopeless = levels_from(p, 1 - p.argmax(axis=1), 200, promise)
    assert hopeless.tolist() == [p.max(axis=1).min()]


@pytest.mark.parametrize("levels", [[], [0.8, 0.9], [0.9, 0.9], [[0.9]]])
def test_levels_that_do_not_fall_are_refused(levels: object) -> None:
    with pytest.raises(DataError, match="fall from the strictest"):
        DeferThreshold.fit(table([0.9]), [1], levels, promise=LOOSE)  # pyright: ignore


# --- SGR ---


def test_the_bound_of_clopper_and_pearson_and_whole_errors() -> None:
    assert upper_bound(0, 20, 0.1) == pytest.approx(1 - 0.1 ** (1 / 20))
    for errors, n in ((3, 50), (1, 7)):
        assert binom.cdf(errors, n, upper_bound(errors, n, 0.05)) == pytest.approx(0.05)
    assert upper_bound(0, 0, 0.1) == upper_bound(5, 5, 0.1) == 1.0


def test_sgr_finds_a_threshold_and_says_when_there_is_none() -> None:
    rng = np.random.default_rng(1)
    confidence = np.sort(rng.uniform(0.5, 1.0, 800))[::-1]
    labels = (rng.random(800) < confidence**0.3).astype(int)
    p = table(confidence)
    found = fit_sgr(p, labels, promise=DeferPromise(max_error=0.08, delta=0.1))
    assert found.method == "sgr" and found.feasible
    accepted = found.accepts(p)
    assert accepted.sum() == found.votes
    risk = upper_bound(int((labels[accepted] == 0).sum()), found.votes, 0.1 / 10)
    assert risk <= 0.08
    none = fit_sgr(p, labels, promise=DeferPromise(max_error=0.001, delta=0.1))
    assert not none.feasible and none.votes == 0
    with pytest.raises(DataError, match="one image of each group"):
        fit_sgr(p, labels, np.zeros(800), promise=LOOSE)
    with pytest.raises(ConfigError, match="error alone"):
        fit_sgr(p, labels, promise=DeferPromise(max_error=0.1, max_missed=0.1))


# --- the door ---


@dataclass(frozen=True)
class Part:
    exposure: Exposure
    title: str


MODEL = Part(Exposure.of(Use.TRAIN, SPLITS.train), "fine-tuned model")
CALIBRATOR = Part(MODEL.exposure.union(Exposure.of(Use.CALIBRATE, SPLITS.calibrate)), "calibrator")
GIVEN = softmax(np.random.default_rng(2).normal(size=(40, 2)))


def test_the_door_remembers_and_reads_back(tmp_path: Path) -> None:
    found = fit_defer_threshold(
        MODEL, CALIBRATOR, SPLITS.calibrate, GIVEN, SPLITS.conformal, GIVEN, LOOSE
    )
    assert set(found.exposure.counts()) == {"train", "calibrate", "conformalise"}
    found.save(tmp_path)
    assert FittedDeferThreshold.load(tmp_path).content_hash == found.content_hash
    assert DeferThreshold.model_validate(json.loads(found.model.model_dump_json())) == found.model
    with pytest.raises(DataError, match="stored defer threshold is not valid"):
        FittedDeferThreshold.parse({"threshold": 2.0})


def test_no_set_that_was_seen_comes_through_the_door() -> None:
    seen = ConformalSet(SPLITS.train.table)
    with pytest.raises(LeakageError, match=r"\(train\)"):
        fit_defer_threshold(
            MODEL, CALIBRATOR, SPLITS.calibrate, GIVEN, seen, GIVEN[: len(seen)], LOOSE
        )
    with pytest.raises(LeakageError, match="the conformal set"):
        fit_defer_threshold(
            MODEL,
            CALIBRATOR,
            SPLITS.calibrate,
            GIVEN,
            SPLITS.test,
            GIVEN,
            LOOSE,  # pyright: ignore
        )
    same = CalibrationSet(SPLITS.conformal.table)
    with pytest.raises(LeakageError, match="share 40 images"):
        fit_defer_threshold(MODEL, MODEL, same, GIVEN, SPLITS.conformal, GIVEN, LOOSE)
    with pytest.raises(DataError, match="39, 2"):
        fit_defer_threshold(
            MODEL, CALIBRATOR, SPLITS.calibrate, GIVEN, SPLITS.conformal, GIVEN[1:], LOOSE
        )


# --- the theorem ---


def answers(
    rng: np.random.Generator, n: int, drives: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences uniform on [.5, 1], whose error is .3 (1 - c) / .5 exactly; images or drives.

    Images of a drive have one confidence and one outcome, so that the drive counts as one image.
    """
    groups = np.repeat(np.arange(n), rng.integers(1, 17, n)) if drives else np.arange(n)
    confidence = rng.uniform(0.5, 1.0, n)
    right = rng.random(n) >= 0.6 * (1.0 - confidence)
    return table(confidence[groups]), right[groups].astype(np.int64), groups


def true_risk(threshold: float) -> float:
    """Mean error of confidences in [threshold, 1]."""
    return 0.6 * (1.0 - threshold) / 2


def broken(fit: str, reps: int, drives: bool = False) -> int:
    """How often the certified threshold has a risk above 5 %."""
    rng = np.random.default_rng(3)
    promise = DeferPromise(max_error=0.05, delta=0.9 if fit == "wrong_delta" else 0.1)
    violations = 0
    for _ in range(reps):
        p, labels, groups = answers(rng, 300, drives)
        levels = levels_from(*answers(rng, 300)[:2], 300, promise, count=25)
        if fit == "sgr":
            found = fit_sgr(p, labels, promise=promise)
        elif fit == "by_images":
            found = DeferThreshold.fit(p, labels, levels, promise=promise)
        else:
            found = DeferThreshold.fit(p, labels, levels, groups, promise=promise)
        threshold = found.threshold
        if fit == "untested":
            wrong = p.argmax(axis=1) != labels
            seen = [level for level in levels if wrong[p.max(axis=1) >= level].mean() <= 0.05]
            threshold = min(seen, default=None)
        violations += threshold is not None and true_risk(float(threshold)) > 0.05
    return violations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fit", "drives"), [("learn_then_test", False), ("learn_then_test", True), ("sgr", False)]
)
def test_the_promise_is_broken_as_rarely_as_it_says(fit: str, drives: bool) -> None:
    assert keeps(broken(fit, 300, drives), 300, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fit", "drives"), [("untested", False), ("wrong_delta", False), ("by_images", True)]
)
def test_what_only_looks_like_the_test_breaks_the_promise(fit: str, drives: bool) -> None:
    """The level that did well enough, a confidence mistaken for its rest, images for drives."""
    assert not keeps(broken(fit, 300, drives), 300, 0.1)
