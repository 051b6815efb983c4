"""Backbones: exact conversion of published weights, and refusals of wrong ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import TrainSet
from roadwork.errors import ConfigError
from roadwork.export.golden import golden_pictures, views_of
from roadwork.models import backbone as module
from roadwork.models.backbone import (
    BACKBONES,
    Backbone,
    build_network,
    contiguous,
    load_backbone,
    split_qkv,
    state_hash,
)
from roadwork.settings import BackboneSettings, parse_settings
from tests.data import made
from tests.training.made_photos import INFO, NAME, SIZE, small_backbone

LITE0 = "tf_efficientnet_lite0"


def fused_network() -> torch.nn.Module:
    """timm's own form of the small backbone, with one layer for query, key and value."""
    torch.manual_seed(11)
    arguments: dict[str, Any] = {**INFO.arguments, "init_values": 1.0}
    network = timm.create_model(
        INFO.timm_name, num_classes=0, global_pool="token", img_size=SIZE, **arguments
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def pictures(count: int = 2, size: int = SIZE) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def local(path: Path, sha256: str | None = None, name: str = NAME) -> Backbone:
    settings = BackboneSettings(
        name=name, weights="local", weights_path=path, weights_sha256=sha256, image_size=SIZE
    )
    return load_backbone(settings, seed=0)


def test_splitting_query_key_and_value_is_exact() -> None:
    fused = fused_network()
    assert any(".qkv." in name for name in fused.state_dict())
    network = build_network(NAME, SIZE).eval()
    network.load_state_dict(split_qkv(fused.state_dict()), strict=True)
    with torch.no_grad():
        expected, found = fused(pictures()), network(pictures())
    assert expected.std() > 0.01
    assert float((expected - found).abs().max()) == 0.0


def test_a_local_file_is_loaded_and_named_without_its_folder(tmp_path: Path) -> None:
    fused = fused_network()
    path = tmp_path / "weights.safetensors"
    # A file may hold more than the backbone needs, such as a mask token.
    save_file({**contiguous(fused.state_dict()), "mask_token": torch.zeros(1, 1, 48)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    backbone = local(path, digest)
    with torch.no_grad():
        assert torch.equal(backbone.network(pictures()), fused(pictures()))
    assert backbone.learned
    assert not backbone.exposure.uses
    assert backbone.origin == f"local file weights.safetensors (sha256 {digest[:12]})"


def test_a_local_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(contiguous(fused_network().state_dict()), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match=rf"weights_sha256.*{digest}, not 0+: fetch the file"):
        local(path, "0" * 64)


def test_wrong_local_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*absent\.safetensors: give the path"):
        local(tmp_path / "absent.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("not tensors at all")
    with pytest.raises(ConfigError, match="no safetensors file"):
        local(text)
    other = tmp_path / "other.safetensors"
    save_file(contiguous(build_network(LITE0, SIZE).state_dict()), other)
    with pytest.raises(ConfigError, match="another architecture"):
        local(other)
    wide = tmp_path / "wide.safetensors"
    save_file(contiguous(build_network("vit_pico_patch16_dinov3", SIZE).state_dict()), wide)
    with pytest.raises(ConfigError, match=r"another architecture"):
        local(wide)


def test_the_hub_is_not_asked_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        assert not kwargs.get("pretrained"), "the hub was asked"
        return original(*args, **kwargs)

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", refuse)
    settings = BackboneSettings(name=NAME, weights="hub", image_size=SIZE)
    with pytest.raises(ConfigError, match="ROADWORK_OFFLINE"):
        load_backbone(settings, seed=0)


def test_the_hub_has_no_convolutional_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADWORK_OFFLINE", "false")
    settings = BackboneSettings(name=LITE0, weights="hub", image_size=SIZE)
    with pytest.raises(ConfigError, match="use package"):
        load_backbone(settings, seed=0)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no backbone 'resnet50'.*vit_base_patch16_dinov3"):
        build_network("resnet50", SIZE)


def test_models_that_bypass_adapters_are_refused_by_the_settings() -> None:
    tree = {"backbone": {"name": "vit_small_patch16_dinov3_qkvb"}}
    with pytest.raises(ConfigError, match=r"backbone: .*without a word: use \w+_dinov3$"):
        parse_settings(tree)
    assert not any("_qkvb" in info.timm_name for info in BACKBONES.values())


def test_no_transformer_has_a_query_bias() -> None:
    """timm computes attention with such a bias past the layers that adapters replace."""
    for name, info in BACKBONES.items():
        if info.transformer and "large" not in name and "base" not in name:
            names = [key for key, _ in build_network(name, SIZE).named_parameters()]
            assert any(key.endswith("q_proj.weight") for key in names)
            assert not any("q_bias" in key or "q_proj.bias" in key for key in names), name


def test_the_packaged_weights_are_learned_ones() -> None:
    settings = BackboneSettings(name=LITE0, weights="package", image_size=64)
    learned = load_backbone(settings, seed=0)
    torch.manual_seed(0)
    random = build_network(LITE0, 64).eval()
    assert learned.learned
    # Running statistics of a network that never saw a picture are exactly 0 and 1.
    statistics = {
        name: tensor
        for name, tensor in learned.network.state_dict().items()
        if name.endswith("running_var")
    }
    assert len(statistics) == 49
    assert all(not torch.equal(t, torch.ones_like(t)) for t in statistics.values())
    # To learned features a mirrored scene is much nearer than another scene; to random ones not.
    scenes = views_of(golden_pictures(4), 64, 0)[:, 0]
    pixels = torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 127.5 - 1
    ratios = []
    for network in (learned.network, random):
        with torch.no_grad():
            features, mirrored = network(pixels), network(pixels.flip(3))
        assert features.shape == (4, 1280)
        ratios.append(
            float(torch.pdist(features).mean() / (features - mirrored).norm(dim=1).mean())
        )
    assert ratios[0] > 1.8
    assert ratios[1] < 1.4


def test_packaged_weights_that_were_changed_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LITE0_SHA256", "0" * 12)
    settings = BackboneSettings(name=LITE0, weights="package", image_size=64)
    with pytest.raises(ConfigError, match="is not the file"):
        load_backbone(settings, seed=0)


def test_random_weights_depend_on_the_seed_alone() -> None:
    settings = BackboneSettings(name=NAME, weights="random", image_size=SIZE)
    first, again = load_backbone(settings, seed=5), load_backbone(settings, seed=5)
    assert first.content_hash == again.content_hash
    assert first.content_hash != load_backbone(settings, seed=6).content_hash
    assert not first.learned
    # Layer scale starts at 1: with 1e-5 the untrained blocks would do nothing.
    assert torch.equal(first.network.state_dict()["blocks.0.gamma_1"], torch.ones(48))


@pytest.mark.parametrize("name", [NAME, LITE0])
def test_saving_and_loading_keeps_every_bit(name: str, tmp_path: Path) -> None:
    settings = BackboneSettings(name=name, weights="random", image_size=64)
    start = load_backbone(settings, seed=2)
    train = TrainSet(made.table([made.row(number) for number in range(4)]))
    backbone = Backbone(
        name, 64, start.network, start.origin, True, Exposure.of(Use.PRETRAIN, train)
    )
    backbone.save(tmp_path)
    again = Backbone.load(tmp_path)
    assert again.content_hash == backbone.content_hash
    assert again.exposure.counts() == {"pretrain": {"samples": 4, "groups": 1}}
    assert not again.network.training
    before, after = backbone.network.state_dict(), again.network.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    with torch.no_grad():
        assert torch.equal(backbone.network(pictures(2, 64)), again.network(pictures(2, 64)))


def test_the_hash_changes_with_one_weight_and_with_the_exposure() -> None:
    backbone = small_backbone()
    before = backbone.content_hash
    train = TrainSet(made.table([made.row(0)]))
    touched = Backbone(
        backbone.name,
        backbone.image_size,
        backbone.network,
        backbone.origin,
        backbone.learned,
        Exposure.of(Use.PRETRAIN, train),
    )
    assert touched.content_hash != before
    with torch.no_grad():
        weight = backbone.network.get_parameter("blocks.1.mlp.fc2.weight")
        weight[3, 7] = torch.nextafter(weight[3, 7], torch.tensor(1e9))
    assert backbone.content_hash != before


def test_the_state_hash_sees_names_types_and_shapes() -> None:
    base = {"a": torch.arange(4, dtype=torch.int32)}
    others = [
        {"b": base["a"]},
        {"a": base["a"].reshape(2, 2)},
        {"a": base["a"].view(torch.float32)},
    ]
    hashes = {state_hash(state) for state in [base, *others]}
    assert len(hashes) == 4
    # Strides are no content.
    wide = torch.arange(6).reshape(2, 3)
    assert state_hash({"a": wide.T}) == state_hash({"a": wide.T.contiguous()})
