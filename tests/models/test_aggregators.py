"""Aggregators, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from roadwork.models.aggregators import (
    AGGREGATORS,
    GatedAttention,
    aggregate,
    aggregate_width,
    build_aggregator,
)
from roadwork.settings import ViewSettings

# One photograph, the global view and nine tiles, two features.
FEATURES = torch.tensor(
    [[[10.0, 20.0], *[[float(t), -float(t)] for t in (3, 1, 4, 1, 5, 9, 2, 6, 5)]]]
)


def views_of(name: str, top_k: int = 3, tiles: int = 9) -> ViewSettings:
    return ViewSettings.model_validate({"tiles": tiles, "aggregator": name, "top_k": top_k})


def random_attention(features: int, seed: int = 5) -> GatedAttention:
    module = GatedAttention(features)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize(
    ("name", "top_k", "expected"),
    [
        ("max", 3, [9.0, -1.0]),
        ("mean", 3, [4.0, -4.0]),
        ("topk_mean", 2, [7.5, -1.0]),
        ("topk_mean", 3, [20 / 3, -4 / 3]),
        ("topk_mean", 5, [29 / 5, -11 / 5]),
        ("attention", 3, [4.0, -4.0]),  # at its start
    ],
)
def test_tiles_are_pooled_beside_the_global_view(
    name: str, top_k: int, expected: list[float]
) -> None:
    views = views_of(name, top_k)
    found = aggregate(FEATURES, build_aggregator(2, views))
    assert found.shape == (1, aggregate_width(2, views)) == (1, 4)
    torch.testing.assert_close(found, torch.tensor([[10.0, 20.0, *expected]]))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_without_tiles_the_global_view_is_all(name: str) -> None:
    views = views_of(name, tiles=0)
    assert aggregate_width(2, views) == 2
    assert build_aggregator(2, views) is None
    assert aggregate(FEATURES[:, :1], None).tolist() == [[10.0, 20.0]]


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_order_of_tiles_does_not_matter(name: str) -> None:
    module = random_attention(2) if name == "attention" else build_aggregator(2, views_of(name))
    assert module is not None
    order = [4, 1, 8, 0, 2, 7, 6, 5, 3]
    tiles = FEATURES[:, 1:]
    torch.testing.assert_close(module(tiles[:, order]), module(tiles))
    if name != "max":  # whose ties go to the first tile
        weights = module.tile_weights(tiles)
        torch.testing.assert_close(module.tile_weights(tiles[:, order]), weights[:, order])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Feature 0 has its largest value in tile 5; feature 1 in tiles 1 and 3, the first counts.
        ("max", [0, 1 / 2, 0, 0, 0, 1 / 2, 0, 0, 0]),
        ("mean", [1 / 9] * 9),
        # Of feature 0 tiles 5 and 7, of feature 1 tiles 1 and 3.
        ("topk_mean", [0, 1 / 4, 0, 1 / 4, 0, 1 / 4, 0, 1 / 4, 0]),
        ("attention", [1 / 9] * 9),
    ],
)
def test_weights_of_the_tiles_by_hand(name: str, expected: list[float]) -> None:
    module = build_aggregator(2, views_of(name, top_k=2))
    assert module is not None
    torch.testing.assert_close(module.tile_weights(FEATURES[:, 1:]), torch.tensor([expected]))


def test_gated_attention_by_hand() -> None:
    """Two tiles, one feature, and one hidden unit that counts."""
    module = GatedAttention(1)
    with torch.no_grad():
        for layer in (module.value, module.gate, module.score):
            layer.weight.zero_()
        module.value.weight[0, 0], module.gate.weight[0, 0] = 2.0, -1.0
        module.score.weight[0, 0] = 3.0
    scores = [3 * math.tanh(2 * h) / (1 + math.exp(h)) for h in (0.5, -1.5)]
    total = sum(math.exp(score) for score in scores)
    weights = [math.exp(score) / total for score in scores]
    tiles = torch.tensor([[[0.5], [-1.5]]])
    torch.testing.assert_close(module.tile_weights(tiles), torch.tensor([weights]))
    pooled = 0.5 * weights[0] - 1.5 * weights[1]
    torch.testing.assert_close(module(tiles), torch.tensor([[pooled]]))


def test_attention_learns_from_its_start() -> None:
    """The scores have a gradient at once, the hidden layers as soon as the scores differ."""
    generator = torch.Generator().manual_seed(0)
    module, tiles = GatedAttention(6), torch.randn(4, 9, 6, generator=generator)
    target = tiles[:, 2]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        loss = (module(tiles) - target).square().mean()
        loss.backward()
        gradients = [p.grad for p in (module.score.weight, module.value.weight, module.gate.weight)]
        assert all(gradient is not None for gradient in gradients)
        largest = [float(gradient.abs().max()) for gradient in gradients if gradient is not None]
        assert largest[0] > 1e-4
        assert (largest[1] > 0) == (largest[2] > 0) == (step > 0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_the_start_of_attention_depends_on_nothing_outside() -> None:
    torch.manual_seed(1)
    first = GatedAttention(5).state_dict()
    torch.manual_seed(2)
    second = GatedAttention(5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert float(first["value.weight"].std()) == pytest.approx(5**-0.5, rel=0.15)
    assert not torch.equal(first["value.weight"], first["gate.weight"])
