"""The cascade's network: one pass for both stages, stage 1 alone, and the rest from a glance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from roadwork.cascade.losses import cascade_losses
from roadwork.cascade.stages import Cascade, CascadeNetwork, CascadeSpec
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import TrainSet
from roadwork.errors import ConfigError
from roadwork.models.classifier import ClassifierSpec, attach_head
from roadwork.settings import CascadeSettings, ViewSettings
from tests.data import made
from tests.training.made_photos import NAME, SIZE, small_backbone


def cascade_of(**views: object) -> CascadeNetwork:
    chosen = ViewSettings.model_validate({"tiles": 9, **views})
    network = CascadeNetwork(attach_head(small_backbone(), chosen)).eval()
    torch.manual_seed(1)
    for head in (network.network.head, network.first_head):
        torch.nn.init.normal_(head.weight, std=0.3)
        torch.nn.init.normal_(head.bias, std=0.3)
    return network


def views_of(count: int) -> torch.Tensor:
    shape = (count, 10, SIZE, SIZE, 3)
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8))


def fitted() -> Cascade:
    network = cascade_of()
    spec = ClassifierSpec(
        title="model",
        backbone=NAME,
        image_size=SIZE,
        views=network.network.views,
        adapter="none",
        origin="random weights",
    )
    train = TrainSet(made.table([made.row(number) for number in range(4)]))
    whole = CascadeSpec(title="cascade", classifier=spec, objective="ce", trains="first")
    return Cascade(whole, network, Exposure.of(Use.TRAIN, train))


VARIANTS = [{}, {"flip": True}, {"aggregator": "attention", "flip": True}]


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_stage_2_is_the_classifier(variant: dict[str, object]) -> None:
    cascade, views = cascade_of(**variant), views_of(3)
    _, second = cascade(views)
    assert float((second[0] - second[1]).abs().max()) > 1e-4
    torch.testing.assert_close(second, cascade.network(views), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_stage_1_sees_the_global_view_alone(variant: dict[str, object]) -> None:
    cascade, views = cascade_of(**variant), views_of(3)
    first, _ = cascade(views)
    assert float((first[0] - first[1]).abs().max()) > 1e-4
    torch.testing.assert_close(cascade.first(views[:, :1]).logits, first, atol=1e-5, rtol=1e-5)
    changed = views.clone()
    changed[:, 1:] = 255 - changed[:, 1:]
    torch.testing.assert_close(cascade(changed)[0], first, atol=1e-5, rtol=1e-5)
    assert float((cascade(changed)[1] - cascade(views)[1]).abs().max()) > 1e-3


@torch.no_grad()
def test_stage_1_by_hand() -> None:
    cascade, views = cascade_of(), views_of(1)
    network = cascade.network
    pixels = views[:, 0].permute(0, 3, 1, 2).float() / 255
    feature = network.backbone((pixels - network.mean) / network.std)
    expected = feature @ cascade.first_head.weight.T + cascade.first_head.bias
    torch.testing.assert_close(cascade.first(views[:, :1]).logits, expected)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_what_is_passed_on_goes_on_from_the_glance(variant: dict[str, object]) -> None:
    cascade, views = cascade_of(**variant), views_of(4)
    glance = cascade.first(views[:, :1])
    passed = torch.tensor([True, False, True, True])
    found = cascade.second(glance.take(passed), views[passed, 1:])
    torch.testing.assert_close(found, cascade(views)[1][passed], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("flip", "sides"), [(False, 1), (True, 2)])
@torch.no_grad()
def test_every_view_passes_the_backbone_once(flip: bool, sides: int) -> None:
    cascade, views, seen = cascade_of(flip=flip), views_of(2), []
    cascade.network.backbone.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    cascade(views)
    glance = cascade.first(views[:, :1])
    cascade.second(glance, views[:, 1:])
    assert seen == [20 * sides, 2 * sides, 18 * sides]


def test_a_new_first_head_says_nothing() -> None:
    network = CascadeNetwork(attach_head(small_backbone(), ViewSettings(tiles=9)))
    assert not network.first_head.weight.any() and not network.first_head.bias.any()


def test_a_step_of_training_moves_both_heads() -> None:
    cascade, views = cascade_of(), views_of(4)
    labels = torch.tensor([0, 1, 0, 1])
    first, second = cascade(views)
    cascade_losses(first, second, labels, CascadeSettings(objective="two_sided")).backward()
    for head in (cascade.first_head, cascade.network.head):
        assert head.weight.grad is not None and float(head.weight.grad.abs().max()) > 1e-6


def test_without_tiles_there_is_no_cascade() -> None:
    with pytest.raises(ConfigError, match=r"views\.tiles is 0"):
        CascadeNetwork(attach_head(small_backbone(), ViewSettings(tiles=0)))


@torch.no_grad()
def test_saving_and_loading_keeps_every_bit(tmp_path: Path) -> None:
    cascade = fitted()
    cascade.save(tmp_path)
    again = Cascade.load(tmp_path)
    assert again.content_hash == cascade.content_hash
    assert again.spec == cascade.spec
    views = views_of(2)
    for found, expected in zip(again.network(views), cascade.network(views), strict=True):
        assert torch.equal(found, expected)


def test_the_hash_changes_with_a_weight_the_form_and_the_exposure() -> None:
    cascade = fitted()
    other = cascade.spec.model_copy(update={"objective": "lcron"})
    hashes = {
        cascade.content_hash,
        Cascade(other, cascade.network, cascade.exposure).content_hash,
        Cascade(cascade.spec, cascade.network, Exposure()).content_hash,
    }
    with torch.no_grad():
        cascade.network.first_head.bias[1] += 1e-3
    hashes.add(cascade.content_hash)
    assert len(hashes) == 4


def test_mirror_images_are_views_too() -> None:
    spec = fitted().spec
    assert spec.stage_views == (1, 10)
    views = spec.classifier.views.model_copy(update={"flip": True})
    classifier = spec.classifier.model_copy(update={"views": views})
    assert spec.model_copy(update={"classifier": classifier}).stage_views == (2, 20)
