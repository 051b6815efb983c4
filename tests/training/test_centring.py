"""Centring: by hand, and Sinkhorn-Knopp against plain loops in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from roadwork.training.centring import CENTRINGS, MeanCentring, SinkhornCentring


def cosines(rows: int, prototypes: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, prototypes, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def double_normalisation(
    scores: NDArray[np.float64], temperature: float, iterations: int
) -> NDArray[np.float64]:
    """Prototypes in rows, samples in columns, as the formula is written."""
    q = np.exp(scores / temperature).T
    q /= q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        for k in range(prototypes):
            q[k] /= q[k].sum() * prototypes
        for n in range(samples):
            q[:, n] /= q[:, n].sum() * samples
    return (q * samples).T


@pytest.mark.parametrize(("rows", "prototypes"), [(1, 3), (7, 4), (16, 16), (5, 40)])
@pytest.mark.parametrize("temperature", [0.02, 0.04, 0.07, 1.0])
def test_sinkhorn_is_the_double_normalisation(
    rows: int, prototypes: int, temperature: float
) -> None:
    scores = cosines(rows, prototypes)
    found = SinkhornCentring(prototypes)(scores, temperature)
    expected = double_normalisation(scores.double().numpy(), temperature, 3)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=1e-7)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(rows))


def test_sinkhorn_by_hand() -> None:
    """Scores of ln 3 and 0: [[3, 1], [1, 1]]; one iteration.

    Columns (prototypes) over twice their sums 4 and 2: [[3/8, 1/4], [1/8, 1/4]]; rows over their
    sums 5/8 and 3/8: [[3/5, 2/5], [1/3, 2/3]].
    """
    scores = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    found = SinkhornCentring(2, iterations=1)(scores, 1.0)
    torch.testing.assert_close(found, torch.tensor([[3 / 5, 2 / 5], [1 / 3, 2 / 3]]))


def test_sinkhorn_shares_the_batch_equally_whatever_the_teacher_prefers() -> None:
    scores = cosines(64, 8)
    scores[:, 0] += 1.0  # everybody's favourite
    softmax = (scores / 0.1).softmax(dim=1).mean(dim=0)
    shares = SinkhornCentring(8, iterations=50)(scores, 0.1).mean(dim=0)
    assert float(softmax[0]) > 0.5
    torch.testing.assert_close(shares, torch.full((8,), 1 / 8), atol=1e-3, rtol=0)


def test_the_mean_centre_enters_by_hand_and_moves_by_a_tenth_afterwards() -> None:
    centring = MeanCentring(2)
    centring.centre.copy_(torch.tensor([0.2, 0.0]))
    found = centring(torch.tensor([[0.45, 0.0], [0.2, 0.0]]), 0.25)
    # (0.45 - 0.2, 0) / 0.25 = (1, 0), and (0, 0)
    e = math.e
    torch.testing.assert_close(found, torch.tensor([[e / (e + 1), 1 / (e + 1)], [0.5, 0.5]]))
    # The mean of the batch is (0.325, 0).
    torch.testing.assert_close(centring.centre, torch.tensor([0.9 * 0.2 + 0.1 * 0.325, 0.0]))
    assert "centre" in centring.state_dict()


@pytest.mark.parametrize("name", sorted(CENTRINGS))
def test_targets_are_distributions_without_gradient_in_32_bits(name: str) -> None:
    centring = CENTRINGS[name].build(5)
    scores = cosines(6, 5).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = centring(scores, 0.04)
    assert found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("name", sorted(CENTRINGS))
def test_a_batch_without_rows_gives_none_and_changes_nothing(name: str) -> None:
    """No patch of a batch may be hidden."""
    centring = CENTRINGS[name].build(5)
    for value in centring.state_dict().values():
        value.fill_(0.25)
    assert centring(torch.empty(0, 5), 0.04).shape == (0, 5)
    assert all(bool((value == 0.25).all()) for value in centring.state_dict().values())
