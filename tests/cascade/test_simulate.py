"""The curve of a cascade against numbers by hand, and against counting every cut anew."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef, precision_recall_curve

from roadwork.cascade.simulate import (
    CascadeScores,
    cascade_curve,
    exit_table,
    fewest_views,
    recall_at_precision,
)
from roadwork.errors import DataError
from roadwork.evaluation.scored import ScoredSet

VIEWS = (1, 10)


def scored(p: object, labels: object) -> ScoredSet:
    positive = np.asarray(p, dtype=np.float64)
    return ScoredSet(np.stack([1 - positive, positive], axis=1), np.asarray(labels))


def scores(first: object, second: object, labels: object) -> CascadeScores:
    return CascadeScores(scored(first, labels), scored(second, labels))


# Stage 1 is right on rows 0 and 1, stage 2 on all but row 1.
HAND = scores([0.95, 0.1, 0.8, 0.4], [0.9, 0.6, 0.2, 0.7], [1, 0, 0, 1])


def made(n: int, seed: int, digits: int = 1) -> CascadeScores:
    """Ties everywhere: probabilities of one digit."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = [0, 1]
    p = [np.clip(0.5 + s * (labels - 0.5) + rng.normal(0, 0.3, n), 0, 1) for s in (0.3, 0.6)]
    return scores(np.round(p[0], digits), np.round(p[1], digits), labels)


def test_the_table_by_hand() -> None:
    table = exit_table(HAND, np.ones((1, 4)))
    assert table.cuts.tolist() == [math.inf, 0.95, 0.9, 0.8, 0.6]
    assert table.share[0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert table.accuracy[0].tolist() == [0.75, 0.75, 1.0, 0.75, 0.5]
    # Stage 2 alone: TP 2, FP 1, TN 1. All at stage 1: one of each.
    assert table.mcc[0, [0, 2, 4]].tolist() == pytest.approx([2 / math.sqrt(12), 1.0, 0.0])


def test_the_curve_by_hand() -> None:
    curve = cascade_curve(HAND, VIEWS)
    assert curve.cut == (None, 0.95, 0.9, 0.8, 0.6)
    assert curve.views == pytest.approx((10, 7.75, 5.5, 3.25, 1))
    # Final scores of the last point: 0.95 and 0.4 are roadwork, 0.8 lies between.
    assert curve.recall == (1.0, 1.0, 1.0, 0.5, 0.5)


def test_fewest_views_by_hand() -> None:
    views, cuts = fewest_views(HAND, np.ones((1, 4)), 0.0, VIEWS)
    assert (views.tolist(), cuts.tolist()) == ([3.25], [0.8])
    views, cuts = fewest_views(HAND, np.ones((1, 4)), 0.25, VIEWS)
    assert (views.tolist(), cuts.tolist()) == ([1.0], [0.6])


def test_a_first_stage_that_only_loses_answers_nothing() -> None:
    bad = scores([0.9, 0.8], [0.1, 0.1], [0, 0])
    views, cuts = fewest_views(bad, np.ones((1, 2)), 0.4, VIEWS)
    assert (views.tolist(), cuts.tolist()) == ([10.0], [math.inf])


@given(st.integers(2, 30), st.integers(0, 10**6))
def test_the_curve_is_what_counting_gives(n: int, seed: int) -> None:
    cascade = made(n, seed)
    curve = cascade_curve(cascade, VIEWS)
    labels = cascade.first.labels
    assert len(curve.cut) == len(np.unique(cascade.first.confidence)) + 1
    for number, cut in enumerate(curve.cut):
        at_once = cascade.first.confidence >= (math.inf if cut is None else cut)
        decided = np.where(at_once, cascade.first.predicted, cascade.second.predicted)
        final = np.where(
            at_once, cascade.first.probabilities[:, 1], cascade.second.probabilities[:, 1]
        )
        assert curve.share[number] == pytest.approx(at_once.mean())
        assert curve.views[number] == pytest.approx(10 - 9 * at_once.mean())
        assert curve.accuracy[number] == pytest.approx((decided == labels).mean())
        mcc = curve.mcc[number]
        if mcc is None:
            assert len(np.unique(decided)) == 1
        else:
            assert mcc == pytest.approx(matthews_corrcoef(labels, decided), abs=1e-9)
        precision, recall, _ = precision_recall_curve(labels, final)
        assert curve.recall[number] == pytest.approx(recall[precision >= 0.9].max())
        again = recall_at_precision(scored(final, labels), np.ones((1, n)))[0]
        assert again == curve.recall[number]


def repeat(cascade: CascadeScores, weights: np.ndarray) -> CascadeScores:
    """Every row as often as its whole weight, (1, N), says."""
    rows = np.repeat(np.arange(cascade.first.n), weights[0].astype(int))
    return CascadeScores(cascade.first.take(rows), cascade.second.take(rows))


def test_integer_weights_are_repeated_rows() -> None:
    cascade = made(40, seed=7)
    weights = np.random.default_rng(0).integers(0, 3, (1, 40)).astype(np.float64)
    repeated = repeat(cascade, weights)
    for loss in (0.0, 0.05, 0.2):
        found = fewest_views(cascade, weights, loss, VIEWS)
        again = fewest_views(repeated, np.ones((1, repeated.first.n)), loss, VIEWS)
        assert found[0] == pytest.approx(again[0])
    found = recall_at_precision(cascade.first, weights)
    assert found == pytest.approx(
        recall_at_precision(repeated.first, np.ones((1, repeated.first.n)))
    )


def test_recall_at_precision_by_hand() -> None:
    """Nine of the ten highest are positive: precision 0.9 exactly; one more positive is below."""
    p = np.arange(12, 0, -1) / 13
    labels = np.array([1] * 5 + [0] + [1] * 4 + [0, 1])
    assert recall_at_precision(scored(p, labels), np.ones((1, 12))).tolist() == [0.9]
    assert recall_at_precision(scored(p, labels), np.ones((1, 12)), 0.95).tolist() == [0.5]


def test_recall_where_nothing_is_precise_or_positive() -> None:
    assert recall_at_precision(scored([0.9, 0.1], [0, 1]), np.ones((1, 2))).tolist() == [0.0]
    assert np.isnan(recall_at_precision(scored([0.9, 0.1], [0, 0]), np.ones((1, 2)))).all()


def test_thinning_keeps_the_ends_and_the_values() -> None:
    cascade = made(300, seed=3, digits=6)
    whole, thin = (
        cascade_curve(cascade, VIEWS, max_points=10**6),
        cascade_curve(cascade, VIEWS, max_points=20),
    )
    assert len(thin.cut) == 20 < len(whole.cut)
    assert (thin.cut[0], thin.share[-1]) == (None, 1.0)
    points = set(zip(whole.cut, whole.accuracy, whole.recall, strict=True))
    assert set(zip(thin.cut, thin.accuracy, thin.recall, strict=True)) <= points


def test_blocks_do_not_change_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    from roadwork.cascade import simulate

    cascade = made(50, seed=4, digits=4)
    whole = cascade_curve(cascade, VIEWS)
    monkeypatch.setattr(simulate, "_BLOCK", 300)
    assert cascade_curve(cascade, VIEWS) == whole


def test_scores_of_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="same images"):
        CascadeScores(scored([0.1, 0.9], [0, 1]), scored([0.1, 0.9], [1, 1]))
    three = ScoredSet(np.full((2, 3), 1 / 3), np.array([0, 1]))
    with pytest.raises(DataError, match="two classes"):
        CascadeScores(three, three)
