"""The coverage theorem, tried on many independent splits, and proof that the trial has power.

Given the calibration set, coverage is Beta(k, n + 1 - k), so that hits among m test points are
BetaBinomial(m, k, n + 1 - k). Three exact checks: how many splits leave an 80 % band, whether the
hits follow the law (Kolmogorov-Smirnov on the randomised probability transform, which is exactly
uniform for a discrete law), and their mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import betabinom, binom, kstest

from roadwork.calibration.base import softmax
from roadwork.conformal import (
    MondrianConformal,
    SplitConformal,
    conformal_rank,
    coverage_band,
)

ALPHA = 0.1
SPLITS = 400
LEVEL = 1e-4


def draw(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Continuous probabilities of a biased, overconfident model, given the labels."""
    signal = rng.normal(size=len(labels)) + 1.2 * (2 * labels - 1)
    skewed = 2.5 * signal + 0.8 + 0.3 * signal**2
    return softmax(np.stack([np.zeros(len(labels)), skewed], axis=1))


def conforms(hits: np.ndarray, n: int, m: int) -> bool:
    """Whether ``hits`` of independent splits follow the law that the theorem gives."""
    rank = conformal_rank(n, ALPHA)
    assert rank is not None
    law = betabinom(m, rank, n + 1 - rank)
    low, high = coverage_band(n, m, ALPHA, 0.2)
    outside = float(law.cdf(low - 1) + law.sf(high))
    violations = int(((hits < low) | (hits > high)).sum())
    few, many = binom.ppf([LEVEL / 2, 1 - LEVEL / 2], len(hits), outside)
    uniform = np.random.default_rng(0).random(len(hits))
    transform = (1 - uniform) * law.cdf(hits - 1) + uniform * law.cdf(hits)
    z = (hits.mean() - law.mean()) / (law.std() / np.sqrt(len(hits)))
    return bool(
        few <= violations <= many and kstest(transform, "uniform").pvalue > LEVEL and abs(z) < 4
    )


def hits_of_rank(shift: int, n: int, m: int, seed: int) -> np.ndarray:
    """Hits of a predictor whose rank is off by ``shift``; 0 uses the fitted one as it is."""
    rng = np.random.default_rng(seed)
    hits: list[int] = []
    for _ in range(SPLITS):
        labels = (rng.random(n + m) < 0.35).astype(np.int64)
        probabilities = draw(rng, labels)
        fitted = SplitConformal.fit(probabilities[:n], labels[:n], ALPHA)
        if shift:
            assert fitted.rank is not None
            scores = np.sort(1.0 - probabilities[np.arange(n), labels[:n]])
            wrong = float(scores[fitted.rank - 1 + shift])
            fitted = fitted.model_copy(update={"threshold": wrong})
        hits.append(int(fitted.predict_set(probabilities[n:])[np.arange(m), labels[n:]].sum()))
    return np.array(hits)


@pytest.mark.parametrize("n", [100, 500])
def test_marginal_coverage_follows_its_law(n: int) -> None:
    assert conforms(hits_of_rank(0, n, 1000, seed=n), n, 1000)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_rank_that_is_off_by_one_is_found_out(shift: int) -> None:
    assert not conforms(hits_of_rank(shift, 100, 1000, seed=100), 100, 1000)


def mondrian_hits(
    fit: Callable[..., SplitConformal | MondrianConformal],
) -> tuple[np.ndarray, np.ndarray]:
    """Hits (SPLITS,) of class 0 (300 points) and of class 1 (100 points), 500 tests of each."""
    rng = np.random.default_rng(42)
    labels = np.repeat([0, 1], [300, 100])
    tests = np.repeat([0, 1], 500)
    hits: list[list[int]] = []
    for _ in range(SPLITS):
        fitted = fit(draw(rng, labels), labels, ALPHA)
        inside = fitted.predict_set(draw(rng, tests))[np.arange(1000), tests]
        hits.append([int(inside[:500].sum()), int(inside[500:].sum())])
    table = np.array(hits)
    return table[:, 0], table[:, 1]


def test_class_coverage_follows_its_law() -> None:
    negative, positive = mondrian_hits(MondrianConformal.fit)
    assert conforms(negative, 300, 500)
    assert conforms(positive, 100, 500)


def test_marginal_sets_do_not_promise_class_coverage() -> None:
    """The reason for the Mondrian method, and another proof of power."""
    negative, positive = mondrian_hits(SplitConformal.fit)
    assert not conforms(negative, 300, 500)
    assert not conforms(positive, 100, 500)


def test_ties_can_only_raise_coverage() -> None:
    rng = np.random.default_rng(8)
    n, m, coverage = 99, 400, []
    for _ in range(SPLITS):
        labels = (rng.random(n + m) < 0.35).astype(np.int64)
        probabilities = np.round(draw(rng, labels), 1)
        fitted = SplitConformal.fit(probabilities[:n], labels[:n], ALPHA)
        coverage.append(fitted.predict_set(probabilities[n:])[np.arange(m), labels[n:]].mean())
    standard_error = np.std(coverage) / np.sqrt(SPLITS)
    assert np.mean(coverage) > 1 - ALPHA - 4 * standard_error
    assert np.mean(coverage) > 1 - ALPHA + 1 / (n + 1)
