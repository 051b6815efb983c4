"""Mirrored views, attention and the weights of tiles, in the whole network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roadwork.data.exposure import Exposure
from roadwork.errors import ConfigError
from roadwork.models.aggregators import GatedAttention
from roadwork.models.classifier import Classifier, ClassifierSpec, RoadworkNetwork, attach_head
from roadwork.settings import ViewSettings
from tests.training.made_photos import NAME, SIZE, small_backbone


def network_of(head: str = "cls", **views: Any) -> RoadworkNetwork:
    network = attach_head(small_backbone(), ViewSettings.model_validate(views), head).eval()
    torch.manual_seed(1)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    return network


def pictures(count: int = 2, tiles: int = 9) -> torch.Tensor:
    shape = (count, 1 + tiles, SIZE, SIZE, 3)
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8))


def tilt(network: RoadworkNetwork) -> GatedAttention:
    """Attention that has learned something."""
    aggregator = network.aggregator
    assert isinstance(aggregator, GatedAttention)
    torch.manual_seed(3)
    torch.nn.init.normal_(aggregator.score.weight, std=0.8)
    return aggregator


@pytest.mark.parametrize("tiles", [0, 9])
def test_with_flip_the_logits_are_those_of_both_sides_averaged(tiles: int) -> None:
    plain, both = network_of(tiles=tiles), network_of(tiles=tiles, flip=True)
    views = pictures(3, tiles)
    mirrored = torch.from_numpy(views.numpy()[:, :, :, ::-1].copy())
    with torch.no_grad():
        one, other, found = plain(views), plain(mirrored), both(views)
        assert float((one - other).abs().max()) > 1e-3
        torch.testing.assert_close(found, (one + other) / 2, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(both(mirrored), found, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(both.head(both.features(views)), found)


def test_attention_starts_as_the_mean() -> None:
    views = pictures()
    with torch.no_grad():
        mean = network_of(aggregator="mean")(views)
        found = network_of(aggregator="attention")(views)
    torch.testing.assert_close(found, mean, atol=1e-6, rtol=1e-5)


def test_learned_attention_weighs_the_tiles() -> None:
    network = network_of(aggregator="attention")
    aggregator = tilt(network)
    views = pictures()
    with torch.no_grad():
        weights = network.tile_weights(views)
        features = network.view_features(network.pixels(views), 10)
        pooled = torch.einsum("nt,ntd->nd", weights, features[:, 1:])
        assert weights.shape == (2, 9)
        torch.testing.assert_close(weights.sum(1), torch.ones(2))
        assert float(weights.std()) > 1e-3
        torch.testing.assert_close(aggregator(features[:, 1:]), pooled)
        torch.testing.assert_close(network.features(views)[:, 48:], pooled)


def test_the_weights_of_both_sides_are_averaged() -> None:
    plain, both = network_of(aggregator="attention"), network_of(aggregator="attention", flip=True)
    tilt(plain), tilt(both)
    views = pictures()
    with torch.no_grad():
        expected = (plain.tile_weights(views) + plain.tile_weights(views.flip(3))) / 2
        torch.testing.assert_close(both.tile_weights(views), expected)


def test_without_tiles_nothing_can_be_weighed() -> None:
    with pytest.raises(ConfigError, match="no tiles to weigh"):
        network_of(tiles=0).tile_weights(pictures(1, 0))


def test_names_of_weights_are_the_old_ones_unless_attention_adds_its_own() -> None:
    old = {f"backbone.{key}" for key in small_backbone().network.state_dict()}
    old |= {"head.weight", "head.bias"}
    for aggregator in ("max", "mean", "topk_mean"):
        assert set(network_of(aggregator=aggregator, flip=True).state_dict()) == old
    added = {f"aggregator.{layer}.weight" for layer in ("value", "gate", "score")}
    assert set(network_of(aggregator="attention").state_dict()) == old | added


def test_the_form_is_saved_with_the_weights(tmp_path: Path) -> None:
    network = network_of("cls_mean", tiles="aspect", aggregator="attention", flip=True)
    tilt(network)
    spec = ClassifierSpec(
        title="model",
        backbone=NAME,
        image_size=SIZE,
        head="cls_mean",
        views=network.views,
        adapter="none",
        origin="random weights",
    )
    classifier = Classifier(spec, network, Exposure())
    classifier.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.content_hash == classifier.content_hash
    with torch.no_grad():
        assert torch.equal(again.network(pictures()), network(pictures()))


def test_a_classifier_from_before_there_were_heads_is_read(tmp_path: Path) -> None:
    network = network_of()
    spec = ClassifierSpec(
        title="model",
        backbone=NAME,
        image_size=SIZE,
        views=network.views,
        adapter="none",
        origin="random weights",
    )
    Classifier(spec, network, Exposure()).save(tmp_path)
    path = tmp_path / "classifier.json"
    record = json.loads(path.read_text())
    del record["head"], record["views"]["flip"]
    path.write_text(json.dumps(record))
    again = Classifier.load(tmp_path)
    assert again.spec == spec
    with torch.no_grad():
        assert torch.equal(again.network(pictures()), network(pictures()))
