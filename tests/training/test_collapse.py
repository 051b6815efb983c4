"""Monitors of collapse: each way to collapse shows, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from roadwork.training.collapse import collapse_figures, collapse_warning

HEALTHY = {"entropy": 0.9, "divergence": 0.4, "spread": 0.5, "neighbour": 0.8}
FEATURES = torch.eye(4)[None].expand(2, 4, 4)


def figures(targets: torch.Tensor, features: torch.Tensor = FEATURES) -> dict[str, float]:
    return {name: float(value) for name, value in collapse_figures(targets, features).items()}


def test_entropy_and_divergence_by_hand() -> None:
    """Targets (1, 0) and (1/2, 1/2): the mean is (3/4, 1/4)."""
    found = figures(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    mean = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    divergence = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2 / math.log(2)
    assert found["entropy"] == pytest.approx(mean, abs=1e-6)
    assert found["divergence"] == pytest.approx(divergence, abs=1e-6)


def test_both_kinds_of_collapse_have_no_divergence() -> None:
    one = figures(torch.eye(4)[:1].expand(6, 4))
    assert one["entropy"] == one["divergence"] == 0.0
    alike = figures(torch.full((6, 4), 0.25))
    assert alike["entropy"] == pytest.approx(1.0)
    assert alike["divergence"] == pytest.approx(0.0, abs=1e-6)
    apart = figures(torch.eye(4))
    assert apart["entropy"] == pytest.approx(1.0)
    assert apart["divergence"] == pytest.approx(1.0)


def test_spread_and_neighbours_by_hand() -> None:
    targets = torch.full((8, 4), 0.25)
    found = figures(targets)
    # Four orthogonal unit vectors: |x - mean|² = (3/4)² + 3 / 16 = 3/4.
    assert found["spread"] == pytest.approx(math.sqrt(0.75))
    assert found["neighbour"] == 1.0
    same = figures(targets, torch.ones(2, 4, 4))
    assert same["spread"] == pytest.approx(0.0, abs=1e-6)
    # The second crop of each picture is the first of the next one: no neighbour is right.
    crossed = torch.stack([torch.eye(4), torch.eye(4).roll(1, dims=0)])
    assert figures(targets, crossed)["neighbour"] == 0.0
    # Lengths do not matter.
    assert figures(targets, FEATURES * 7.0)["spread"] == pytest.approx(found["spread"])


def test_warnings_say_what_happened_and_what_to_do() -> None:
    assert collapse_warning(HEALTHY, HEALTHY) is None
    one = collapse_warning({**HEALTHY, "entropy": 0.01, "divergence": 0.0}, HEALTHY)
    assert one is not None and "nearly the same few prototypes" in one
    assert "lower pretrain.learning_rate" in one
    alike = collapse_warning({**HEALTHY, "entropy": 1.0, "divergence": 0.0}, HEALTHY)
    assert alike is not None and "all prototypes alike" in alike
    narrow = collapse_warning({**HEALTHY, "spread": 0.04}, HEALTHY)
    assert narrow is not None and "fell from 0.500 to 0.040" in narrow
    # A backbone that came with a small spread and keeps it does not collapse.
    assert collapse_warning({**HEALTHY, "spread": 0.04}, {**HEALTHY, "spread": 0.05}) is None
