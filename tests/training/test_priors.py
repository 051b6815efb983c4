"""Prior correction: offsets by hand, and that they recover what all sources share."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from roadwork.training.priors import PRIOR_CORRECTIONS, source_offsets
from roadwork.training.strata import Strata, plan_draws
from tests.training.test_samplers import train_set


def test_offsets_by_hand() -> None:
    strata = Strata.of(train_set({("a", 0): 1, ("a", 1): 7, ("b", 0): 5, ("b", 1): 3}))
    offsets = source_offsets(strata, plan_draws(strata, "none", {}))
    common = np.log([7 / 18, 11 / 18])  # 6 and 10 of 16, one more of each
    np.testing.assert_allclose(offsets[0], np.log([2 / 10, 8 / 10]) - common)
    np.testing.assert_allclose(offsets[1], np.log([6 / 10, 4 / 10]) - common)


def test_a_balanced_sampler_is_accounted_for() -> None:
    """What is drawn half and half is led back to the prior of the rows as they are."""
    strata = Strata.of(train_set({("a", 0): 2, ("a", 1): 6, ("b", 0): 6, ("b", 1): 2}))
    offsets = source_offsets(strata, plan_draws(strata, "source_and_class", {}))
    np.testing.assert_allclose(offsets, 0.0, atol=1e-12)
    strata = Strata.of(train_set({("a", 0): 2, ("a", 1): 14}))
    offsets = source_offsets(strata, plan_draws(strata, "class", {}))
    np.testing.assert_allclose(offsets[0], np.log([9 / 18, 9 / 18]) - np.log([3 / 18, 15 / 18]))


def test_one_source_needs_no_correction() -> None:
    strata = Strata.of(train_set({("a", 0): 3, ("a", 1): 9}))
    np.testing.assert_allclose(
        source_offsets(strata, plan_draws(strata, "none", {})), 0.0, atol=1e-15
    )
    assert PRIOR_CORRECTIONS["none"](strata, plan_draws(strata, "none", {})) is None


def test_a_source_of_one_label_is_named(caplog: pytest.LogCaptureFixture) -> None:
    strata = Strata.of(train_set({("a", 1): 9, ("b", 0): 5, ("b", 1): 5}))
    with caplog.at_level(logging.WARNING, "roadwork"):
        offsets = source_offsets(strata, plan_draws(strata, "none", {}))
    assert np.isfinite(offsets).all()
    assert "all 9 training images of a are roadwork" in caplog.text


def test_the_shared_log_odds_are_recovered_from_sources_of_other_priors() -> None:
    """Two sources, equal class-conditional features, priors 0.85 and 0.3.

    The log odds of N(1, 1) against N(-1, 1) are 2 x plus the log odds of the prior. A linear model
    fitted with the offsets gets slope 2 and the pooled prior, for either source; without them its
    answer is biased as soon as the source can be read off the input.
    """
    rng = np.random.default_rng(0)
    sources = np.repeat([0, 1], 20000)
    labels = (rng.random(40000) < np.where(sources == 0, 0.85, 0.3)).astype(np.int64)
    x = rng.normal(2.0 * labels - 1.0)
    inputs = torch.from_numpy(np.stack([x, sources - 0.5], axis=1))
    counts = np.stack([np.bincount(labels[sources == s], minlength=2) for s in (0, 1)])
    strata = Strata(("a", "b"), sources, labels, counts)
    offsets = torch.from_numpy(source_offsets(strata, plan_draws(strata, "none", {})))

    def fit(add: torch.Tensor) -> list[float]:
        model = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([model], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            margin = inputs @ model[:2] + model[2]
            logits = torch.stack([torch.zeros_like(margin), margin], dim=1) + add[sources]
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
            loss.backward()
            return loss

        optimizer.step(closure)
        return model.tolist()

    slope, reads_source, constant = fit(offsets)
    pooled = labels.mean()
    assert slope == pytest.approx(2.0, abs=0.05)
    assert reads_source == pytest.approx(0.0, abs=0.1)
    assert constant == pytest.approx(np.log(pooled / (1 - pooled)), abs=0.05)
    assert fit(torch.zeros_like(offsets))[1] < -2.0  # log odds of 0.3 less those of 0.85 is -2.58
