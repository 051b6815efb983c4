"""Heads: which tokens describe a view, by hand and against timm's own pooling."""

from __future__ import annotations

import pytest
import timm
import torch

from roadwork.errors import ConfigError
from roadwork.models.backbone import build_network
from roadwork.models.classifier import attach_head
from roadwork.models.heads import HEADS
from roadwork.settings import ViewSettings, parse_settings, resolve
from tests.training.made_photos import INFO, NAME, SIZE, small_backbone

# One view: a class token, two registers and three patches, two features.
TOKENS = torch.tensor(
    [[[1.0, 2.0], [90.0, 90.0], [-90.0, 7.0], [3.0, 0.0], [4.0, 1.0], [8.0, 5.0]]]
)


def pixels(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


def test_registers_are_left_out_of_the_mean() -> None:
    assert HEADS["mean"].read(TOKENS, 3).tolist() == [[5.0, 2.0]]
    assert HEADS["cls_mean"].read(TOKENS, 3).tolist() == [[1.0, 2.0, 5.0, 2.0]]
    assert HEADS["cls"].read(TOKENS[:, 0], 3).tolist() == [[1.0, 2.0]]


def test_the_heads_read_what_timm_pools() -> None:
    """timm's own average of the patches, with the norm before the pooling, is the oracle."""
    backbone = small_backbone()
    state = backbone.network.state_dict()
    oracle = timm.create_model(
        INFO.timm_name,
        num_classes=0,
        global_pool="avg",
        use_fc_norm=False,
        qkv_fused=False,
        img_size=SIZE,
        **INFO.arguments,
    ).eval()
    oracle.load_state_dict(state, strict=True)
    given = pixels()
    with torch.no_grad():
        mean, cls = oracle(given), backbone.network(given)
        found = {}
        for head in HEADS:
            network = attach_head(backbone, ViewSettings(tiles=0), head).eval()
            assert list(network.backbone.state_dict()) == list(state)
            normalised = given * network.std + network.mean
            found[head] = network.features_of(normalised, 1)
    assert float((mean - cls).abs().max()) > 1e-2
    torch.testing.assert_close(found["cls"], cls, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["mean"], mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["cls_mean"], torch.cat([cls, mean], 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("head", "width"), [("cls", 48), ("mean", 48), ("cls_mean", 96)])
def test_the_linear_layer_is_as_wide_as_the_features(head: str, width: int) -> None:
    backbone = small_backbone()
    assert attach_head(backbone, ViewSettings(tiles=0), head).head.in_features == width
    assert attach_head(backbone, ViewSettings(), head).head.in_features == 2 * width


def test_a_convolutional_network_has_no_tokens() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.head: mean .* convolutional"):
        build_network("tf_efficientnet_lite0", SIZE, head="mean")
    tree = {"backbone": {"name": "tf_efficientnet_lite0", "head": "cls_mean"}}
    with pytest.raises(ConfigError, match=r"head: cls_mean .* convolutional"):
        parse_settings(tree)
    # The dial's name is known when the settings are resolved.
    with pytest.raises(ConfigError, match=r"head: cls_mean .* convolutional"):
        resolve(parse_settings({"size": "tiny", "backbone": {"head": "cls_mean"}}))
    resolved = resolve(parse_settings({"backbone": {"name": NAME, "head": "cls_mean"}}))
    assert resolved.backbone.head == "cls_mean"


@pytest.mark.parametrize("written", ["off", False])
def test_off_is_a_word_even_in_yaml(written: object) -> None:
    settings = parse_settings({"compute": {"compile": written}})
    assert settings.compute.compile == "off"
    with pytest.raises(ConfigError, match="compile"):
        parse_settings({"compute": {"compile": True}})
