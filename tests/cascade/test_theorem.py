"""The promise of the exits, tried on many draws, and proof that the trial has power.

A population with known harm: stage 2 is always right; stage 1 says "none" with log odds -u, u
uniform on (0, 8), and is wrong with a probability of twice the bound, whatever u is. Exits at log
odds z then harm (8 - z) / 8 of that, and the path reaches the bound at z = 4. The p-values rise
along the path, so that a draw breaks the promise exactly if the first exit that is too wide is
rejected; for independent images the probability of that is a binomial tail.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from roadwork.cascade import learn_then_test
from roadwork.cascade import policy as policies
from roadwork.cascade.exit_paths import EXIT_PATHS, ExitPath
from roadwork.cascade.policy import ExitPolicy, ExitPromise

DELTA = 0.1
LEVEL = 1e-4


def harm(low: float | None, slope: float) -> float:
    """True risk of an exit."""
    return 0.0 if low is None else slope * max(0.0, 8 + np.log(low / (1 - low))) / 8


def broken(
    draws: int, drives: int, bound: float, most: int, grouped: bool = True, seed: int = 0
) -> int:
    """How many of ``draws`` fits on so many drives of 1 to ``most`` like images break the bound."""
    rng = np.random.default_rng(seed)
    promise = ExitPromise(max_accuracy_loss=bound, max_recall_loss=None, delta=DELTA)
    count = 0
    for _ in range(draws):
        groups = np.repeat(np.arange(drives), rng.integers(1, most + 1, drives))
        p = 1 / (1 + np.exp(rng.uniform(0, 8, drives)))[groups]
        labels = (rng.random(drives) < 2 * bound)[groups].astype(np.int64)
        first = np.stack([1 - p, p], axis=1)
        second = np.stack([1.0 - labels, labels], axis=1)
        found = ExitPolicy.fit(
            first, second, labels, groups if grouped else None, promise=promise, path="none_only"
        )
        count += harm(found.low, 2 * bound) > bound * (1 + 1e-9)
    return count


def kept(count: int, draws: int) -> bool:
    """Whether so many broken promises are compatible with a probability of at most delta."""
    return bool(count <= binom.ppf(1 - LEVEL, draws, DELTA))


def test_single_images_break_the_promise_as_often_as_the_exact_law_says() -> None:
    """n = 400, bound 0.02: rejected with at most 4 harms, which has probability 0.097."""
    draws, n, bound = 1200, 400, 0.02
    risks = np.array([harm(low, 2 * bound) for low in EXIT_PATHS["none_only"].low])
    too_wide = risks[risks > bound * (1 + 1e-9)].min()
    most = int(binom.ppf(DELTA, n, bound)) - 1
    assert binom.cdf(most, n, bound) <= DELTA < binom.cdf(most + 1, n, bound)
    law = binom(draws, binom.cdf(most, n, too_wide))
    count = broken(draws, n, bound, most=1)
    assert law.ppf(LEVEL / 2) <= count <= law.ppf(1 - LEVEL / 2)
    assert kept(count, draws)


def test_a_harm_that_is_not_counted_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = learn_then_test.binomial_p_value

    def one_less(events: np.ndarray, n: int, bound: float) -> np.ndarray:
        return exact(np.maximum(events - 1, 0), n, bound)

    monkeypatch.setattr(learn_then_test, "binomial_p_value", one_less)
    assert not kept(broken(1200, 400, 0.02, most=1), 1200)


def planted(shift: int) -> Callable[..., int]:
    """The fixed sequence, off by so many hypotheses."""
    honest = learn_then_test.fixed_sequence

    def off(p_values: np.ndarray, delta: float) -> int:
        count = honest(p_values, delta)
        return min(len(p_values), count + shift) if count else 0

    return off


@pytest.mark.parametrize("shift", [0, 1])
def test_a_step_too_far_is_found_out(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two exits: one harms 0.015 of the images, the next 0.03; the bound is 0.02."""
    low = 1 / (1 + np.exp(np.array([5.0, 2.0, 1.0])))
    coarse = ExitPath("coarse", low, np.full(3, np.inf))
    monkeypatch.setattr(policies, "EXIT_PATHS", {"none_only": coarse})
    monkeypatch.setattr(policies, "fixed_sequence", planted(shift))
    assert kept(broken(600, 400, 0.02, most=1), 600) == (shift == 0)


def test_drives_of_like_images_keep_the_promise() -> None:
    assert kept(broken(500, 150, 0.05, most=9), 500)


def test_images_of_a_drive_taken_for_independent_are_found_out() -> None:
    """The reason for one vote a group, and another proof of power."""
    assert not kept(broken(500, 150, 0.05, most=9, grouped=False), 500)
