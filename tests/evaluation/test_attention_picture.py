"""Attention pictures: colour where the weight is, grey elsewhere."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from roadwork.data.exposure import Exposure
from roadwork.data.views import tile_boxes
from roadwork.errors import ConfigError
from roadwork.evaluation.attention_picture import attention_picture, draw_tile_weights
from roadwork.models.backbone import load_backbone
from roadwork.models.classifier import Classifier, ClassifierSpec, attach_head
from roadwork.settings import BackboneSettings, ViewSettings

GREY = Image.new("RGB", (300, 300), (120, 120, 120))
PICO = "vit_pico_patch16_dinov3"


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_colour_stands_where_the_weight_is() -> None:
    boxes = [(0, 0, 150, 300), (150, 0, 300, 300)]
    found = pixels(draw_tile_weights(GREY, boxes, [0.0, 1.0]))
    assert found.shape == (300, 300, 3)
    assert found[20, 20].tolist() == [120, 120, 120]
    # 0.35 of the grey and 0.65 of the colour (255, 96, 0)
    assert found[20, 200].tolist() == [208, 104, 42]
    assert found[20, 150].tolist() == [255, 255, 255]  # an edge


def test_pixels_of_several_tiles_have_their_mean() -> None:
    boxes = [(0, 0, 200, 300), (100, 0, 300, 300)]
    found = pixels(draw_tile_weights(GREY, boxes, [1.0, 0.5]))
    opacity = 0.65 * np.array([1.0, 0.75, 0.5])
    expected = np.rint((1 - opacity) * 120 + opacity * 255)
    assert found[20, [50, 130, 250], 0].tolist() == expected.tolist()


def test_the_share_is_written_at_the_centre() -> None:
    boxes = [(0, 0, 150, 300), (150, 0, 300, 300)]
    even, odd = (pixels(draw_tile_weights(GREY, boxes, w)) for w in ([0.5, 0.5], [0.25, 0.25]))
    changed = np.argwhere((even != odd).any(axis=2))
    # Scaled by the largest, the colours are the same, and only the words differ.
    assert len(changed) > 20
    assert (np.abs(changed[:, 0] - 150) < 12).all()


def test_large_photographs_are_made_smaller_and_nothing_is_divided_by_zero() -> None:
    large = Image.new("RGB", (1920, 1080), (10, 10, 10))
    found = pixels(draw_tile_weights(large, tile_boxes(1920, 1080, "aspect"), np.zeros(9)))
    assert found.shape == (540, 960, 3)
    assert found[3, 5].tolist() == [10, 10, 10]


@pytest.mark.parametrize("weights", [[1.0], [0.5, -0.5], [0.5, float("nan")], [[0.5, 0.5]]])
def test_weights_that_make_no_sense_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="2 boxes need as many weights"):
        draw_tile_weights(GREY, [(0, 0, 9, 9), (9, 9, 20, 20)], weights)


def classifier_of(tiles: int | str) -> Classifier:
    backbone = load_backbone(BackboneSettings(name=PICO, weights="random", image_size=32), seed=0)
    views = ViewSettings.model_validate({"tiles": tiles, "aggregator": "max"})
    network = attach_head(backbone, views).eval()
    spec = ClassifierSpec(
        title="model",
        backbone=PICO,
        image_size=32,
        views=views,
        adapter="none",
        origin=backbone.origin,
    )
    return Classifier(spec, network, Exposure())


@pytest.mark.parametrize("tiles", [9, "aspect"])
def test_the_picture_shows_the_network_s_own_weights(tiles: int | str) -> None:
    classifier = classifier_of(tiles)
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (90, 160, 3), dtype=np.uint8))
    weights: list[torch.Tensor] = []
    original = classifier.network.tile_weights

    def kept(views: torch.Tensor) -> torch.Tensor:
        assert views.shape == (1, 10, 32, 32, 3)
        weights.append(original(views))
        return weights[-1]

    classifier.network.tile_weights = kept
    data = attention_picture(classifier, photo)
    boxes = tile_boxes(160, 90, classifier.spec.views.tiles)
    assert data == draw_tile_weights(photo, boxes, weights[0][0].numpy())
    assert float(weights[0].std()) > 0
    assert data == attention_picture(classifier, photo)


def test_without_tiles_there_is_no_picture() -> None:
    with pytest.raises(ConfigError, match="no tiles to weigh"):
        attention_picture(classifier_of(0), GREY)
