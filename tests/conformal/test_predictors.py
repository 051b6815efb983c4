"""Split and Mondrian predictors: hand-made cases, ties, JSON, wording, broken inputs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadwork.conformal import (
    CONFORMAL,
    ConformalPredictor,
    MondrianConformal,
    Rows,
    SplitConformal,
    conformal_rank,
    fit_predictor,
    parse_conformal,
)
from roadwork.errors import ConfigError, DataError
from roadwork.settings.conformal import USED_KEYS
from tests.conformal.methods import METHODS, asked


def table(positive: object) -> np.ndarray:
    p = np.asarray(positive, dtype=np.float64)
    return np.stack([1.0 - p, p], axis=1)


def random_table(seed: int, n: int, k: int, digits: int | None = None) -> np.ndarray:
    raw = np.random.default_rng(seed).dirichlet(np.ones(k), size=n)
    return raw if digits is None else np.round(raw, digits) / np.round(raw, digits).sum(1)[:, None]


def test_split_by_hand() -> None:
    # True labels' scores 1 - p: .5 .25 .125 .75; alpha .4 of n = 4: rank ceil(5 * .6) = 3.
    probabilities = table([0.5, 0.75, 0.125, 0.75])
    fitted = SplitConformal.fit(probabilities, [1, 1, 0, 0], 0.4)
    assert (fitted.threshold, fitted.rank, fitted.n) == (0.5, 3, 4)
    sets = fitted.predict_set(table([0.5, 0.51, 0.49, 1.0]))
    assert sets.tolist() == [[True, True], [False, True], [True, False], [False, True]]


def test_mondrian_by_hand() -> None:
    probabilities = table([0.9, 0.8, 0.3, 0.1, 0.2, 0.4])
    fitted = MondrianConformal.fit(probabilities, [1, 1, 1, 0, 0, 0], 0.5)
    # Ranks ceil(4 * .5) = 2 of (.1 .2 .7) and of (.1 .2 .4), up to rounding in 1 - p.
    assert fitted.ranks == (2, 2) and fitted.n == (3, 3)
    assert fitted.thresholds == pytest.approx((0.2, 0.2))
    assert fitted.predict_set(table([0.5])).tolist() == [[False, False]]
    assert fitted.predict_set(table([0.85, 0.15])).tolist() == [[False, True], [True, False]]


def test_a_class_with_too_few_points_is_always_included() -> None:
    probabilities = random_table(1, 60, 2)
    labels = np.array([1] * 8 + [0] * 52)
    fitted = MondrianConformal.fit(probabilities, labels, 0.1)
    assert fitted.thresholds[1] is None and fitted.ranks[1] is None
    assert fitted.thresholds[0] is not None
    assert fitted.predict_set(table([0.0, 0.5, 1.0]))[:, 1].all()
    assert "'roadwork' has only 8 conformal images (9 are needed)" in fitted.guarantee
    assert "always included" in fitted.guarantee
    assert "'none' holds from 52 conformal images" in fitted.guarantee


def test_an_absent_class_is_always_included() -> None:
    fitted = MondrianConformal.fit(random_table(2, 50, 3), [0, 2] * 25, 0.1)
    assert fitted.n == (25, 0, 25)
    assert fitted.predict_set(random_table(3, 10, 3))[:, 1].all()
    assert "'1' has only 0" in fitted.guarantee


def test_split_with_too_few_points_includes_everything_and_says_so() -> None:
    fitted = SplitConformal.fit(random_table(2, 8, 2), [0, 1] * 4, 0.1)
    assert fitted.threshold is None
    assert fitted.predict_set(table([0.0, 1.0])).all()
    assert "too few for 90 % coverage" in fitted.guarantee
    assert "at least 9" in fitted.guarantee


def test_guarantee_names_the_points_the_coverage_and_the_groups() -> None:
    probabilities, labels = random_table(4, 40, 2), [0, 1] * 20
    alone = SplitConformal.fit(probabilities, labels, 0.05, groups=np.arange(40))
    assert "40 conformal images" in alone.guarantee and "at least 95 %" in alone.guarantee
    assert "groups" not in alone.guarantee
    grouped = SplitConformal.fit(probabilities, labels, 0.05, groups=np.arange(40) // 4)
    assert grouped.n_groups == 10 and "10 groups" in grouped.guarantee
    mondrian = MondrianConformal.fit(probabilities, labels, 0.1, classes=("no", "yes"))
    assert "'yes' holds from 20" in mondrian.guarantee and mondrian.n_groups is None


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 80),
    k=st.integers(2, 5),
    alpha=st.sampled_from([0.05, 0.1, 0.2, 0.41, 0.44]),
    digits=st.sampled_from([None, 1, 2]),
)
def test_hits_on_the_conformal_points_themselves_are_the_rank(
    seed: int, n: int, k: int, alpha: float, digits: int | None
) -> None:
    """Exact with distinct scores; ties can only add hits. A wrong ``<`` loses one."""
    probabilities = random_table(seed, n, k, digits)
    labels = np.random.default_rng(seed + 1).integers(k, size=n)
    rows = np.arange(n)
    split = SplitConformal.fit(probabilities, labels, alpha)
    restored = parse_conformal(json.loads(split.model_dump_json()))
    hits = int(restored.predict_set(probabilities)[rows, labels].sum())
    expected = conformal_rank(n, alpha) or n
    assert hits == expected if digits is None else hits >= expected
    mondrian = MondrianConformal.fit(probabilities, labels, alpha)
    inside = mondrian.predict_set(probabilities)[rows, labels]
    for c in range(k):
        n_c = int((labels == c).sum())
        wanted = conformal_rank(n_c, alpha) or n_c
        found = int(inside[labels == c].sum())
        assert found == wanted if digits is None else found >= wanted


def rows_of(n: int) -> Rows:
    return Rows(ids=np.arange(n, dtype=np.uint64), slices=["rain", None] * (n // 2))


def test_the_registry_and_the_settings_know_the_same_methods() -> None:
    assert set(CONFORMAL) == set(METHODS) == set(USED_KEYS)
    assert all(CONFORMAL[name].name == name for name in CONFORMAL)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("groups", ["images", "drawn"])
def test_every_method_is_exact_through_json_and_nested(name: str, groups: str) -> None:
    info = CONFORMAL[name]
    probabilities = random_table(9, 300, 2)
    labels = np.random.default_rng(9).integers(2, size=300)
    wanted = asked(name, groups=groups)
    for points in (300, 12):
        fitted = fit_predictor(
            wanted,
            probabilities[:points],
            labels[:points],
            groups=np.arange(points) // 2,
            rows=rows_of(points),
        )
        assert isinstance(fitted, info.model)
        assert parse_conformal(json.loads(fitted.model_dump_json())) == fitted
        assert parse_conformal(fitted.model_dump()) == fitted
        assert fitted.predict_set(np.empty((0, 2))).shape == (0, 2)
        assert fitted.guarantee.endswith(".") and not fitted.guarantee[0].islower()
        assert fitted.judged(probabilities).shape == (300,)


@pytest.mark.parametrize("name", METHODS)
def test_broken_inputs_are_refused(name: str) -> None:
    def fit(
        probabilities: object, labels: object, alpha: float, groups: object = None
    ) -> ConformalPredictor:
        wanted = asked(name).model_copy(update={"alpha": alpha})
        return fit_predictor(wanted, probabilities, labels, groups=groups, rows=rows_of(2))  # pyright: ignore

    good, labels = table([0.2, 0.7]), [0, 1]
    with pytest.raises(DataError, match="not finite"):
        fit(table([np.nan, 0.7]), labels, 0.1)
    with pytest.raises(DataError, match="no distribution"):
        fit([[0.2, 0.2], [0.5, 0.5]], labels, 0.1)
    with pytest.raises(DataError, match="no distribution"):
        fit([[-0.2, 1.2], [0.5, 0.5]], labels, 0.1)
    with pytest.raises(DataError, match="no rows"):
        fit_predictor(asked(name), np.empty((0, 2)), np.empty(0, dtype=int), rows=rows_of(0))
    with pytest.raises(DataError, match=r"0\.\.1"):
        fit(good, [0, 2], 0.1)
    with pytest.raises(DataError, match="groups"):
        fit(good, labels, 0.1, groups=["a"])
    with pytest.raises(ConfigError, match="alpha"):
        fit(good, labels, 1.0)
    with pytest.raises(DataError):
        fit(good, labels, 0.1).predict_set(table([np.nan]))


def test_another_number_of_classes_is_refused() -> None:
    fitted = MondrianConformal.fit(table([0.2, 0.7]), [0, 1], 0.1)
    with pytest.raises(DataError, match="2 classes"):
        fitted.predict_set([[0.2, 0.3, 0.5]])
    with pytest.raises(DataError, match="2 names"):
        MondrianConformal.fit(table([0.2, 0.7]), [0, 1], 0.1, classes=("a",))


@pytest.mark.parametrize(
    "data",
    [
        {"method": "guess"},
        {"method": "lac", "alpha": 0.1, "threshold": 0.5, "n": 20, "rank": 18},
        {"method": "lac", "alpha": 0.1, "threshold": None, "n": 20, "rank": 19},
        {"method": "lac", "alpha": 0.1, "threshold": 0.5, "n": 20},
        {
            "method": "mondrian",
            "alpha": 0.1,
            "classes": ["a", "b"],
            "thresholds": [0.5],
            "n": [20, 20],
            "ranks": [19, 19],
        },
        {
            "method": "mondrian",
            "alpha": 0.1,
            "classes": ["a", "b"],
            "thresholds": [0.5, None],
            "n": [20, 20],
            "ranks": [19, 19],
        },
        {
            "method": "mondrian",
            "alpha": 0.1,
            "classes": ["a", "b"],
            "thresholds": [0.5, 0.5],
            "n": [20, 20],
            "ranks": [19, 18],
        },
    ],
)
def test_an_inconsistent_record_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(DataError):
        parse_conformal(data)
