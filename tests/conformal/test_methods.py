"""The methods beyond plain split sets: by hand, against their definitions, and their words."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from roadwork.conformal import (
    ConformalPredictor,
    CrcpConformal,
    MondrianConformal,
    Rc3pConformal,
    Rows,
    Score,
    ScrcConformal,
    SliceConformal,
    SplitConformal,
)
from roadwork.conformal.ranks import conformal_rank, minimum_points, required_rank
from roadwork.deferral import answered
from roadwork.errors import ConfigError, DataError


def table(positive: object) -> np.ndarray:
    p = np.asarray(positive, dtype=np.float64)
    return np.stack([1.0 - p, p], axis=1)


def case(seed: int, n: int, k: int, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.5), size=n)
    labels = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    if digits is not None:
        p = np.round(p, digits) + 1e-9
        p /= p.sum(axis=1, keepdims=True)
    return p, labels


# --- a promise of the one set at hand ---


@pytest.mark.parametrize("n", [29, 100, 1000])
@pytest.mark.parametrize(("alpha", "delta"), [(0.1, 0.05), (0.2, 0.5), (0.05, 0.3)])
def test_the_sure_rank_is_the_least_whose_law_keeps_the_promise(
    n: int, alpha: float, delta: float
) -> None:
    rank = required_rank(n, alpha, delta)
    average = conformal_rank(n, alpha)
    if rank is None:
        assert average is None or beta(n, 1).cdf(1 - alpha) > delta
        return
    assert average is not None and rank >= average
    assert beta(rank, n + 1 - rank).cdf(1 - alpha) <= delta
    if rank > average:
        assert beta(rank - 1, n + 2 - rank).cdf(1 - alpha) > delta


def test_sure_points_by_hand() -> None:
    # 0.9^n <= 0.05: n >= ln 0.05 / ln 0.9 = 28.4.
    assert minimum_points(0.1, 0.05) == 29
    assert required_rank(28, 0.1, 0.05) is None and required_rank(29, 0.1, 0.05) == 29
    assert minimum_points(0.1) == minimum_points(0.1, 0.9) == 9


# --- labels that may be wrong ---


def test_wrong_labels_lower_the_level_exactly() -> None:
    p, labels = case(1, 99, 2)
    fitted = SplitConformal.fit(p, labels, 0.1, label_noise=0.03)
    assert fitted.rank == math.ceil(100 * Fraction(93, 100)) == 93
    assert "up to 3 % wrong labels" in fitted.guarantee and "at least 90 %" in fitted.guarantee
    promise = fitted.promise(None)
    assert promise is not None and (promise.rank, promise.exact) == (90, False)
    with pytest.raises(ConfigError, match="must exceed label_noise"):
        SplitConformal.fit(p, labels, 0.1, label_noise=0.1)


def test_crcp_without_noise_is_plain_but_for_its_correction() -> None:
    p, labels = case(2, 3000, 3)
    fitted = CrcpConformal.fit(p, labels, 0.1, truth_given=np.eye(3))
    # The matrix is the identity: true labels are the given ones, nothing is gained or estimated.
    assert fitted.correction == pytest.approx(0.0, abs=1e-12)
    plain = SplitConformal.fit(p, labels, 0.1)
    assert (fitted.rank, fitted.threshold) == (plain.rank, plain.threshold)


def test_crcp_by_hand() -> None:
    """Four points, two classes; every quantity of the definition worked out on paper.

    Labels 1 1 0 0 with P(roadwork) .9 .4 .2 .7: scores of the given labels .1 .6 .2 .7. Shares
    [[.8, .2], [.1, .9]] are P^T, whose inverse is [[.9, -.2], [-.1, .8]] / .7. p_given = (.5, .5)
    and p = (.45, .55). Weights p_i P^-1[g, i]: (.45 * .9, .45 * -.2; .55 * -.1, .55 * .8) / .7.
    """
    p = table([0.9, 0.4, 0.2, 0.7])
    fitted = CrcpConformal.fit(p, [1, 1, 0, 0], 0.4, truth_given=[[0.8, 0.2], [0.1, 0.9]])
    w = np.array([[0.45 * 0.9, 0.45 * -0.2], [0.55 * -0.1, 0.55 * 0.8]]) / 0.7
    surplus = w - np.diag([0.5, 0.5])
    b = math.sqrt(math.pi / 2) + 0.5**4
    assert fitted.correction == pytest.approx(np.abs(surplus).sum() * b)
    assert fitted.threshold is None and "too often wrong" in fitted.guarantee
    assert fitted.predict_set(table([0.0, 1.0])).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 10**5))
def test_crcp_is_its_definition_point_by_point(seed: int) -> None:
    """An independent, slow implementation with explicit loops."""
    n, k, alpha = 120, 3, 0.2
    p, labels = case(seed, n, k)
    assume(len(np.unique(labels)) == k)
    shares = np.array([[0.96, 0.02, 0.02], [0.03, 0.97, 0.0], [0.0, 0.05, 0.95]])
    fitted = CrcpConformal.fit(p, labels, alpha, truth_given=shares)
    scores, matrix = 1.0 - p, shares.T
    inverse = np.linalg.inv(matrix)
    given_prior = np.array([(labels == g).mean() for g in range(k)])
    prior = matrix @ given_prior
    own = np.sort(scores[np.arange(n), labels])
    bound = [
        math.sqrt(math.pi / (n * given_prior[g])) + (1 - given_prior[g]) ** n for g in range(k)
    ]
    correction = 0.0
    for i in range(k):
        correction += abs(inverse[i, i] * prior[i] - given_prior[i]) * bound[i]
        correction += sum(abs(inverse[j, i] * prior[i]) * bound[j] for j in range(k) if j != i)
    assert fitted.correction == pytest.approx(correction)
    expected = None
    for rank, q in enumerate(own, start=1):
        ecdf = [[(scores[labels == j, i] <= q).mean() for j in range(k)] for i in range(k)]
        clean = sum(prior[i] * inverse[j, i] * ecdf[i][j] for i in range(k) for j in range(k))
        noisy = sum(given_prior[i] * ecdf[i][i] for i in range(k))
        if rank / (n + 1) >= 1 - alpha - (clean - noisy) + correction:
            expected = rank
            break
    assert fitted.rank == expected


@pytest.mark.parametrize(
    ("shares", "fault"),
    [
        (np.eye(3), "2 rows of 2"),
        ([[0.9, 0.2], [0.1, 0.9]], "sum to 1"),
        ([[1.2, -0.2], [0.1, 0.9]], "between 0 and 1"),
        ([[0.5, 0.5], [0.5, 0.5]], "hardly depend"),
    ],
)
def test_a_matrix_that_is_none_is_refused(shares: object, fault: str) -> None:
    p, labels = case(3, 50, 2)
    with pytest.raises(ConfigError, match=fault):
        CrcpConformal.fit(p, labels, 0.1, truth_given=shares)  # pyright: ignore


def test_crcp_needs_points_of_every_given_label() -> None:
    with pytest.raises(DataError, match="no conformal point has the label 1"):
        CrcpConformal.fit(case(3, 50, 2)[0], [0] * 50, 0.1, truth_given=np.eye(2))


# --- sets for the confident ---


def selective_by_definition(
    p: np.ndarray, labels: np.ndarray, new: np.ndarray, selection: float, alpha: float
) -> np.ndarray:
    """Sets of new rows, each by its own selection among n + 1: the transductive definition."""
    n = len(labels)
    m = math.ceil(Fraction(str(selection)) * (n + 1))
    confidence, own = p.max(axis=1), 1.0 - p[np.arange(n), labels]
    sets = []
    for row in new:
        least = np.sort(np.append(confidence, row.max()))[n + 1 - m]
        if row.max() < least:
            sets.append(np.ones(len(row), dtype=bool))
            continue
        kept = np.sort(own[confidence >= least])
        rank = conformal_rank(len(kept), alpha)
        sets.append((1.0 - row) <= (np.inf if rank is None else kept[rank - 1]))
    return np.array(sets)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    digits=st.sampled_from([None, 1, 2]),
    selection=st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.99]),
)
def test_scrc_is_its_transductive_definition(
    seed: int, n: int, digits: int | None, selection: float
) -> None:
    """Two thresholds give what a new selection for every image gives, ties included."""
    p, labels = case(seed, n, 3, digits)
    new = np.concatenate([case(seed + 1, 40, 3, digits)[0], p[:5]])
    fitted = ScrcConformal.fit(p, labels, 0.2, selection=selection)
    assert (
        fitted.predict_set(new) == selective_by_definition(p, labels, new, selection, 0.2)
    ).all()


def test_scrc_by_hand() -> None:
    # Confidences .9 .8 .7 .6, scores of the true labels .1 .8 .3 .6; m = ceil(.5 * 5) = 3.
    p = table([0.9, 0.8, 0.3, 0.4])
    fitted = ScrcConformal.fit(p, [1, 0, 0, 1], 0.34, selection=0.5)
    assert fitted.cutoff == pytest.approx(0.7)
    assert fitted.above.n == 2 and fitted.at.n == 3
    assert fitted.above.rank == 2 and fitted.above.threshold == pytest.approx(0.8)
    assert fitted.judged(table([0.95, 0.65, 0.1])).tolist() == [True, False, True]
    sets = fitted.predict_set(table([0.95, 0.65, 0.1]))
    assert sets.tolist() == [[False, True], [True, True], [True, False]]
    assert "highest 50 %" in fitted.guarantee and "2 most confident images" in fitted.guarantee


# --- class and slice ---


def test_rc3p_by_hand() -> None:
    # Class 0: ranks of the label 1 1 1 2, so that 1 of 4 is beyond rank 1: e = .25 < alpha = .4,
    # and the threshold is at .15: rank ceil(5 * .85) = 5 > 4: unbounded, always included.
    # Class 1 (9 points): all first: e = 0, rank ceil(10 * .6) = 6 of .01 .. .09.
    p = table([0.1, 0.2, 0.3, 0.9, *(1 - np.arange(1, 10) / 100)])
    fitted = Rc3pConformal.fit(p, [0] * 4 + [1] * 9, 0.4)
    assert fitted.top == (1, 1) and fitted.missed == (1, 0)
    assert fitted.ranks == (None, 6) and fitted.thresholds[1] == pytest.approx(0.06)
    sets = fitted.predict_set(table([0.95, 0.93, 0.3]))
    assert sets.tolist() == [[True, True], [True, False], [True, False]]


def test_rc3p_cuts_off_what_mondrian_keeps() -> None:
    p, labels = case(5, 4000, 6)
    new = case(6, 2000, 6)[0]
    cut = Rc3pConformal.fit(p, labels, 0.1)
    whole = MondrianConformal.fit(p, labels, 0.1)
    assert all(1 <= top <= 6 for top in cut.top) and any(missed for missed in cut.missed)
    ranks = (-new).argsort(axis=1).argsort(axis=1) + 1
    assert not (cut.predict_set(new) & (ranks > np.array(cut.top))).any()
    assert cut.classes == whole.classes and "about 90 %" in cut.guarantee


def test_every_slice_has_its_own_threshold_and_the_widest_serves_the_unknown() -> None:
    p, labels = case(7, 60, 2)
    slices = ["rain"] * 20 + ["sun"] * 20 + [None] * 20
    fitted = SliceConformal.fit(p, labels, 0.1, column="weather", slices=slices)
    assert fitted.slices == (None, "rain", "sun") and fitted.n == (20, 20, 20)
    for at, value in ((0, "rain"), (20, "sun"), (40, None)):
        part = slice(at, at + 20)
        alone = SplitConformal.fit(p[part], labels[part], 0.1)
        found = fitted.predict_set(p, Rows(slices=[value] * 60))
        assert (found == alone.predict_set(p)).all()
    unknown = fitted.predict_set(p)
    every = [fitted.predict_set(p, Rows(slices=[value] * 60)) for value in fitted.slices]
    assert (unknown == np.any(every, axis=0)).all()
    assert fitted.predict_set(p, Rows(slices=["snow"] * 60)).all()
    assert "'rain' holds from 20" in fitted.guarantee and "'weather'" in fitted.guarantee
    with pytest.raises(DataError, match="59 values of weather for 60"):
        fitted.predict_set(p, Rows(slices=["rain"] * 59))
    with pytest.raises(DataError, match="59 values of weather"):
        SliceConformal.fit(p, labels, 0.1, column="weather", slices=slices[1:])


# --- groups ---


def test_one_of_every_group_by_hand() -> None:
    # Three groups; the largest scores of the true labels are .5, .4 and .9.
    p = table([0.5, 0.8, 0.6, 0.9, 0.7, 0.1])
    groups, labels = ["a", "a", "b", "b", "b", "c"], [1] * 6
    largest = SplitConformal.fit(p, labels, 0.5, groups=groups, counting="largest")
    assert (largest.n, largest.rank, largest.n_groups) == (3, 2, 3)
    assert largest.threshold == pytest.approx(0.5)
    by_class = MondrianConformal.fit(p, [1, 0, 1, 0, 1, 1], 0.34, groups=groups, counting="largest")
    assert by_class.n == (2, 3)  # groups that show each class
    rows = Rows(ids=np.arange(6, dtype=np.uint64))
    drawn = SplitConformal.fit(p, labels, 0.34, groups=groups, counting="drawn", rows=rows)
    assert drawn.n == 3
    assert "drawn by lot from a new group" in drawn.guarantee
    assert "roughly" not in drawn.guarantee
    assert "all its images contain the true label, without exception" in largest.guarantee


def test_lots_are_fair() -> None:
    """Each image of a group is drawn equally often over seeds, whatever its score."""
    p = table([0.5, 0.8, 0.6, 0.9])
    counts = np.zeros(4)
    for seed in range(400):
        fitted = SplitConformal.fit(
            p,
            [1] * 4,
            0.6,
            groups=[0, 0, 0, 0],
            counting="drawn",
            rows=Rows(ids=np.arange(4, dtype=np.uint64)),
            seed=seed,
        )
        counts += np.isclose(1 - p[:, 1], fitted.threshold or -1.0)
    assert counts.sum() == 400 and counts.min() > 70 and counts.max() < 130


@pytest.mark.parametrize("counting", ["drawn", "largest"])
def test_counting_asks_for_what_it_needs(counting: str) -> None:
    p, labels = case(1, 20, 2)
    with pytest.raises(ConfigError, match="pass the groups"):
        SplitConformal.fit(p, labels, 0.1, counting=counting)  # pyright: ignore
    if counting == "drawn":
        with pytest.raises(ConfigError, match="by its identity"):
            SplitConformal.fit(p, labels, 0.1, counting="drawn", groups=np.arange(20))


# --- sets and answers ---


def test_an_empty_set_is_deferred() -> None:
    fitted = SplitConformal.fit(table([0.9] * 20), [1] * 20, 0.3)
    sets = fitted.predict_set(table([0.5, 0.95]))
    assert sets.tolist() == [[False, False], [False, True]]
    assert answered(sets, [0, 1]).tolist() == [False, True]


@pytest.mark.parametrize("name", ["aps", "raps", "saps"])
def test_randomised_predictors_say_what_they_need(name: str) -> None:
    given_parameters = {
        "aps": Score(name="aps", seed=1),
        "raps": Score(name="raps", seed=1, penalty=0.1, k_reg=1),
        "saps": Score(name="saps", seed=1, weight=0.1),
    }
    p, labels = case(1, 50, 4)
    rows = Rows(ids=np.arange(50, dtype=np.uint64))
    fits: list[ConformalPredictor] = [
        SplitConformal.fit(p, labels, 0.1, rows=rows, score=given_parameters[name]),
        MondrianConformal.fit(p, labels, 0.1, rows=rows, score=given_parameters[name]),
        ScrcConformal.fit(p, labels, 0.1, rows=rows, score=given_parameters[name], selection=0.5),
    ]
    for fitted in fits:
        assert fitted.needs_ids
        with pytest.raises(ConfigError, match="randomised score"):
            fitted.predict_set(p)
    assert not SplitConformal.fit(p, labels, 0.1, score=Score(name="aps")).needs_ids
