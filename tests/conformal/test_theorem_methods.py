"""The theorems behind every method, on many draws, and planted faults that the checks find.

Each test holds a check of a promise and, beside it, the same check on something broken: a rank off
by one, a score that differs between calibration and use, a calibrator fitted on the conformal
points, a matrix the wrong way round. A check that the broken one passes would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta, kstest
from sklearn.linear_model import LogisticRegression

from roadwork.calibration.base import softmax
from roadwork.conformal import (
    ConformalPredictor,
    CrcpConformal,
    MondrianConformal,
    Rc3pConformal,
    Rows,
    Score,
    ScrcConformal,
    SplitConformal,
)
from roadwork.conformal.ranks import required_rank
from tests.conformal.law import LEVEL, at_least, follows, keeps

pytestmark = pytest.mark.slow

ALPHA = 0.1
Data = tuple[np.ndarray, np.ndarray, Rows]


def draw(rng: np.random.Generator, n: int, k: int = 4) -> Data:
    """Continuous probabilities of an overconfident model of k classes, labels and identities."""
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.2
    ids = rng.integers(2**62, size=n).astype(np.uint64)
    return softmax(2.0 * logits), labels, Rows(ids=ids)


def hits_of(
    fit: Callable[[Data], ConformalPredictor], splits: int, n: int, m: int, seed: int, k: int = 4
) -> np.ndarray:
    """Hits (splits,) among m new points of predictors fitted on n."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        fitted = fit(draw(rng, n, k))
        p, labels, rows = draw(rng, m, k)
        found.append(fitted.predict_set(p, rows)[np.arange(m), labels].sum())
    return np.array(found)


SCORES = {
    "lac": Score(),
    "aps": Score(name="aps"),
    "aps, randomised": Score(name="aps", seed=3),
    "raps": Score(name="raps", penalty=0.1, k_reg=2),
    "raps, randomised": Score(name="raps", penalty=0.1, k_reg=2, seed=3),
    "saps": Score(name="saps", weight=0.15),
    "saps, randomised": Score(name="saps", weight=0.15, seed=3),
    "rank": Score(name="rank"),
}


@pytest.mark.parametrize("name", SCORES)
def test_every_score_has_the_law_and_no_other_rank_has(name: str) -> None:
    n, m, rank = 100, 500, 91

    def fit(data: Data) -> SplitConformal:
        fitted = SplitConformal.fit(*data[:2], ALPHA, rows=data[2], score=SCORES[name])
        assert fitted.rank == rank
        return fitted

    hits = hits_of(fit, 400, n, m, seed=11)
    assert follows(hits, np.full(400, m), n, rank)
    for wrong in (rank - 1, rank + 1):
        assert not follows(hits, np.full(400, m), n, wrong)


@pytest.mark.parametrize(
    ("fitted_with", "used_with"),
    [("aps, randomised", "aps"), ("aps", "aps, randomised"), ("lac", "aps"), ("saps", "raps")],
)
def test_another_score_in_use_than_in_calibration_is_found_out(
    fitted_with: str, used_with: str
) -> None:
    """The first two are what libraries do that randomise in one place and not in the other."""

    def fit(data: Data) -> SplitConformal:
        fitted = SplitConformal.fit(*data[:2], ALPHA, rows=data[2], score=SCORES[fitted_with])
        return fitted.model_copy(update={"score": SCORES[used_with]})

    assert not follows(hits_of(fit, 200, 100, 500, seed=12), np.full(200, 500), 100, 91)


def test_coverage_given_the_points_is_beta() -> None:
    """With uniform scores the coverage of a threshold is the threshold itself: no test points."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(3000):
        v = rng.random(100)
        fitted = SplitConformal.fit(np.stack([1 - v, v], axis=1), np.ones(100, np.int64), ALPHA)
        found.append(fitted.threshold)
    assert kstest(found, beta(91, 10).cdf).pvalue > LEVEL
    assert kstest(found, beta(90, 11).cdf).pvalue < LEVEL
    assert kstest(found, beta(92, 9).cdf).pvalue < LEVEL


def test_a_calibrator_fitted_on_the_conformal_points_is_found_out() -> None:
    """Twenty free parameters on 60 points: it knows them better than any new ones."""
    n, m, rank = 60, 500, 55

    def sets(own: bool, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        hits = []
        for _ in range(70):
            p, labels, _ = draw(rng, n, 5)
            other = draw(rng, n, 5)
            taught = (p, labels) if own else other[:2]
            model = LogisticRegression(C=100.0, max_iter=500).fit(np.log(taught[0]), taught[1])
            fitted = SplitConformal.fit(model.predict_proba(np.log(p)), labels, ALPHA)
            new, truth, _ = draw(rng, m, 5)
            inside = fitted.predict_set(model.predict_proba(np.log(new)))
            hits.append(inside[np.arange(m), truth].sum())
        return np.array(hits)

    assert follows(sets(own=False, seed=1), np.full(70, m), n, rank)
    assert not follows(sets(own=True, seed=1), np.full(70, m), n, rank)


def test_the_sure_promise_is_broken_as_rarely_as_it_says() -> None:
    """Uniform scores again; one rank less, or the rank of the average, breaks it more often."""
    delta, n, draws = 0.03, 100, 6000
    scores = np.sort(np.random.default_rng(6).random((draws, n)), axis=1)
    rank = required_rank(n, ALPHA, delta)
    assert rank is not None
    one = scores[0]
    fitted = SplitConformal.fit(
        np.stack([one, 1 - one], axis=1), np.ones(n, np.int64), ALPHA, delta=delta
    )
    assert fitted.threshold == pytest.approx(one[rank - 1])  # the predictor takes this rank

    def violations(wanted: int) -> int:
        return int((scores[:, wanted - 1] < 1 - ALPHA).sum())

    assert keeps(violations(rank), draws, delta)
    assert not keeps(violations(rank - 1), draws, delta)
    assert not keeps(violations(required_rank(n, ALPHA) or 0), draws, delta)


def selective(shift: int, everyone: bool) -> tuple[np.ndarray, np.ndarray, int, int, float]:
    """Hits and sizes among the accepted of new points; n and rank of the law; share accepted."""
    rng = np.random.default_rng(7)
    hits, sizes, n, rank = [], [], 0, 0
    for _ in range(500):
        p, labels, _ = draw(rng, 200)
        fitted = ScrcConformal.fit(p, labels, ALPHA, selection=0.7)
        n, rank = fitted.above.n, fitted.above.rank or 0
        if shift or everyone:
            own = 1.0 - p[np.arange(200), labels]
            accepted = np.ones(200, bool) if everyone else p.max(axis=1) > (fitted.cutoff or 0)
            scores = np.sort(own[accepted])
            at = required_rank(len(scores), ALPHA) or 0
            above = fitted.above.model_copy(update={"threshold": scores[at - 1 + shift]})
            fitted = fitted.model_copy(update={"above": above})
        new, truth, _ = draw(rng, 500)
        judged = fitted.judged(new)
        inside = fitted.predict_set(new)[np.arange(500), truth]
        assert inside[~judged].all()
        hits.append(int(inside[judged].sum()))
        sizes.append(int(judged.sum()))
    return np.array(hits), np.array(sizes), n, rank, float(np.mean(sizes) / 500)


def test_selective_coverage_has_its_law_and_the_share_is_as_promised() -> None:
    hits, sizes, n, rank, share = selective(0, False)
    assert (n, rank) == (140, 127)  # ceil(.7 * 201) - 1 points above the cutoff
    assert follows(hits, sizes, n, rank)
    assert share == pytest.approx(141 / 201, abs=0.006)
    for planted in ((1, False), (-1, False), (0, True)):
        hits, sizes, n, rank, _ = selective(*planted)
        assert not follows(hits, sizes, n, rank)


# Shares of true labels under each given one: much of the roadwork was labelled "none".
SHARES = np.array([[0.82, 0.18], [0.02, 0.98]])


def contaminated(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, given and true labels, exactly as the shares say (2/3 are given "none")."""
    given = (rng.random(n) < 1 / 3).astype(np.int64)
    truth = (rng.random(n) < SHARES[given, 1]).astype(np.int64)
    logits = rng.normal(size=(n, 2))
    logits[np.arange(n), truth] += 2.4
    return softmax(logits), given, truth


def true_coverage(fit: Callable[[np.ndarray, np.ndarray], ConformalPredictor]) -> np.ndarray:
    rng = np.random.default_rng(9)
    found = []
    for _ in range(120):
        p, given, _ = contaminated(rng, 2000)
        fitted = fit(p, given)
        new, _, truth = contaminated(rng, 3000)
        found.append(fitted.predict_set(new)[np.arange(3000), truth].mean())
    return np.array(found)


def test_true_labels_are_covered_under_known_noise() -> None:
    robust = true_coverage(lambda p, y: CrcpConformal.fit(p, y, ALPHA, truth_given=SHARES))
    assert at_least(robust, 1 - ALPHA)
    blind = true_coverage(lambda p, y: SplitConformal.fit(p, y, ALPHA))
    assert robust.mean() < blind.mean() - 0.02  # what wrong labels cost who does not know of them
    # A matrix that exaggerates the noise promises what is not so.
    exaggerated = np.array([[0.6, 0.4], [0.02, 0.98]])
    wrong = true_coverage(lambda p, y: CrcpConformal.fit(p, y, ALPHA, truth_given=exaggerated))
    assert not at_least(wrong, 1 - ALPHA)


def test_a_bound_of_wrong_labels_is_enough_even_against_the_worst() -> None:
    """Noise that picks the images where it harms: the lenient threshold is too low by its share."""
    rng = np.random.default_rng(10)
    plain, bounded = [], []
    for _ in range(100):
        p, truth, _ = draw(rng, 2000, 2)
        given = truth.copy()
        # The strangest 4 % get the other label, which fits them better.
        strangest = np.argsort(p[np.arange(2000), truth])[:80]
        given[strangest] = 1 - given[strangest]
        new, labels, _ = draw(rng, 2000, 2)
        for noise, found in ((None, plain), (0.04, bounded)):
            fitted = SplitConformal.fit(p, given, ALPHA, label_noise=noise)
            found.append(fitted.predict_set(new)[np.arange(2000), labels].mean())
    assert at_least(bounded, 1 - ALPHA)
    assert not at_least(plain, 1 - ALPHA)


def drives(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, Rows]:
    """P(true label) of images whose drive decides most, groups of 1 to 12 images, identities."""
    sizes = rng.integers(1, 13, size=groups)
    names = np.repeat(np.arange(groups), sizes)
    hard = rng.normal(size=groups) * (1 + sizes / 6) - sizes / 6  # long drives are harder
    v = 1 / (1 + np.exp(-1.5 - hard[names] - 0.3 * rng.normal(size=len(names))))
    ids = rng.integers(2**62, size=len(names)).astype(np.uint64)
    return np.stack([1 - v, v], axis=1), names, Rows(ids=ids)


def of_groups(counting: str) -> tuple[np.ndarray, np.ndarray]:
    """Hits among 300 new groups: of an image by lot from each, and of all its images."""
    rng = np.random.default_rng(14)
    by_lot, at_once = [], []
    for _ in range(300):
        p, names, rows = drives(rng, 100)
        ones = np.ones(len(p), dtype=np.int64)
        fitted = SplitConformal.fit(
            p,
            ones,
            ALPHA,
            groups=names,
            rows=rows,
            counting=counting,  # pyright: ignore[reportArgumentType]
        )
        new, of, _ = drives(rng, 300)
        inside = fitted.predict_set(new)[:, 1]
        starts = np.flatnonzero(np.diff(of, prepend=-1))
        lots = starts + rng.integers(np.bincount(of))
        by_lot.append(int(inside[lots].sum()))
        at_once.append(int(np.minimum.reduceat(inside, starts).sum()))
    return np.array(by_lot), np.array(at_once)


def test_one_score_of_every_group_makes_the_promise_exact() -> None:
    size = np.full(300, 300)
    assert follows(of_groups("drawn")[0], size, 100, 91)
    assert follows(of_groups("largest")[1], size, 100, 91)
    naive = of_groups("images")
    assert not follows(naive[0], size, 100, 91)
    assert not follows(naive[1], size, 100, 91)


def test_rc3p_covers_classes_about_as_promised() -> None:
    """No exact law: the means of classes lie within a hundredth and a half of Mondrian's."""
    rng = np.random.default_rng(15)
    found: dict[str, list[list[float]]] = {"rc3p": [], "mondrian": []}
    for _ in range(60):
        p, labels, _ = draw(rng, 1200)
        new, truth, _ = draw(rng, 2000)
        for name, fit in (("rc3p", Rc3pConformal.fit), ("mondrian", MondrianConformal.fit)):
            inside = fit(p, labels, ALPHA).predict_set(new)[np.arange(2000), truth]
            found[name].append([inside[truth == c].mean() for c in range(4)])
    rc3p, mondrian = (np.mean(found[name], axis=0) for name in ("rc3p", "mondrian"))
    assert (np.abs(mondrian - 0.9) < 0.01).all()
    assert (rc3p > 0.885).all()
