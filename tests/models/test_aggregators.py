"""Aggregators, by hand."""

from __future__ import annotations

import pytest
import torch

from roadwork.models.aggregators import AGGREGATORS, aggregate, aggregate_width
from roadwork.settings import ViewSettings

# One photograph, the global view and nine tiles, two features.
FEATURES = torch.tensor(
    [[[10.0, 20.0], *[[float(t), -float(t)] for t in (3, 1, 4, 1, 5, 9, 2, 6, 5)]]]
)


@pytest.mark.parametrize(
    ("name", "top_k", "expected"),
    [
        ("max", 3, [9.0, -1.0]),
        ("mean", 3, [4.0, -4.0]),
        ("topk_mean", 2, [7.5, -1.0]),
        ("topk_mean", 3, [20 / 3, -4 / 3]),
        ("topk_mean", 5, [29 / 5, -11 / 5]),
    ],
)
def test_tiles_are_pooled_beside_the_global_view(
    name: str, top_k: int, expected: list[float]
) -> None:
    views = ViewSettings.model_validate({"tiles": 9, "aggregator": name, "top_k": top_k})
    found = aggregate(FEATURES, views)
    assert found.shape == (1, aggregate_width(2, views)) == (1, 4)
    torch.testing.assert_close(found, torch.tensor([[10.0, 20.0, *expected]]))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_without_tiles_the_global_view_is_all(name: str) -> None:
    views = ViewSettings.model_validate({"tiles": 0, "aggregator": name})
    assert aggregate_width(2, views) == 2
    assert aggregate(FEATURES[:, :1], views).tolist() == [[10.0, 20.0]]


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_order_of_tiles_does_not_matter(name: str) -> None:
    views = ViewSettings.model_validate({"tiles": 9, "aggregator": name})
    order = [0, 5, 2, 9, 1, 3, 8, 7, 6, 4]
    torch.testing.assert_close(aggregate(FEATURES[:, order], views), aggregate(FEATURES, views))
