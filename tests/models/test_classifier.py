"""The classifier: normalisation inside, features in order, the same answer in any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from roadwork.data.exposure import Exposure, Use
from roadwork.data.loading import ViewReader
from roadwork.data.manifest import TrainSet
from roadwork.models.backbone import Backbone, load_backbone
from roadwork.models.classifier import (
    Classifier,
    ClassifierSpec,
    RoadworkNetwork,
    attach_head,
)
from roadwork.models.inference import extract_features, predict_logits, run_network
from roadwork.settings import BackboneSettings, DataSettings, ViewSettings
from tests.data import made
from tests.training.made_photos import (
    NAME,
    SIZE,
    photo_rows,
    small_backbone,
    small_settings,
)


def network_of(backbone: Backbone, tiles: int) -> RoadworkNetwork:
    network = attach_head(backbone, ViewSettings.model_validate({"tiles": tiles})).eval()
    torch.manual_seed(1)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    torch.nn.init.normal_(network.head.bias, std=0.3)
    return network


def views_of(count: int, tiles: int, size: int = SIZE) -> np.ndarray:
    shape = (count, 1 + tiles, size, size, 3)
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def classifier_of(tiles: int = 0) -> Classifier:
    network = network_of(small_backbone(), tiles)
    spec = ClassifierSpec(
        title="model",
        backbone=NAME,
        image_size=SIZE,
        views=network.views,
        adapter="none",
        origin="random weights",
    )
    train = TrainSet(made.table([made.row(number) for number in range(4)]))
    return Classifier(spec, network, Exposure.of(Use.TRAIN, train))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        (NAME, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_normalisation_is_inside_and_every_view_has_its_place(
    name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    backbone = load_backbone(BackboneSettings(name=name, weights="random", image_size=SIZE), 0)
    network = network_of(backbone, 9)
    views = views_of(2, 9)
    with torch.no_grad():
        found = network(torch.from_numpy(views))
        by_hand = []
        for photograph in views:
            features = []
            for view in photograph:
                channels = np.stack(
                    [(view[:, :, c] / 255 - mean[c]) / std[c] for c in range(3)]
                ).astype(np.float32)
                features.append(network.backbone(torch.from_numpy(channels)[None])[0])
            pooled = torch.cat([features[0], torch.stack(features[1:]).amax(dim=0)])
            by_hand.append(network.head.weight @ pooled + network.head.bias)
    assert found.shape == (2, 2)
    torch.testing.assert_close(found, torch.stack(by_hand), atol=2e-5, rtol=2e-5)
    assert float((found[0] - found[1]).abs().max()) > 1e-6


def test_the_answer_does_not_depend_on_the_batch() -> None:
    network = network_of(small_backbone(), 9)
    views = torch.from_numpy(views_of(5, 9))
    with torch.no_grad():
        together = network(views)
        alone = torch.cat([network(view[None]) for view in views])
        backwards = network(views.flip(0)).flip(0)
    assert float(together.std()) > 1e-3
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, backwards, atol=1e-5, rtol=1e-5)


def test_a_new_head_says_nothing() -> None:
    network = attach_head(small_backbone(), ViewSettings(tiles=0)).eval()
    with torch.no_grad():
        assert torch.equal(network(torch.from_numpy(views_of(3, 0))), torch.zeros(3, 2))


def test_attaching_a_head_leaves_the_backbone_alone() -> None:
    backbone = small_backbone()
    before = backbone.content_hash
    network = attach_head(backbone, ViewSettings(tiles=0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert backbone.content_hash == before


def test_inference_gives_one_row_a_photograph_in_order(tmp_path: Path) -> None:
    dataset = TrainSet(made.table(photo_rows(tmp_path, range(7))))
    classifier = classifier_of()
    logits = predict_logits(classifier, dataset, DataSettings(workers=2))
    reader = ViewReader(dataset, SIZE, 0, 1)
    views = np.stack([reader(row) for row in range(7)])
    assert logits.dtype == np.float64
    assert len(np.unique(logits[:, 0])) == 7
    np.testing.assert_allclose(logits, run_network(classifier.network, views), atol=1e-5)
    features = extract_features(classifier.network, dataset, small_settings())
    head = classifier.network.head
    weight, bias = head.weight.detach().double().numpy(), head.bias.detach().double().numpy()
    np.testing.assert_allclose(features @ weight.T + bias, logits, atol=1e-5)


def test_more_photographs_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from roadwork.models import inference

    dataset = TrainSet(made.table(photo_rows(tmp_path, range(7))))
    classifier = classifier_of()
    whole = predict_logits(classifier, dataset, DataSettings(workers=1))
    monkeypatch.setattr(inference, "_VIEWS_PER_BATCH", 3)
    parts = predict_logits(classifier, dataset, DataSettings(workers=2))
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_saving_and_loading_keeps_every_bit(tmp_path: Path) -> None:
    classifier = classifier_of(tiles=9)
    classifier.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.content_hash == classifier.content_hash
    assert again.spec == classifier.spec
    views = views_of(2, 9)
    assert (run_network(again.network, views) == run_network(classifier.network, views)).all()


def test_the_hash_changes_with_a_weight_the_form_and_the_exposure() -> None:
    classifier = classifier_of()
    renamed = classifier.spec.model_copy(update={"adapter": "LoRA"})
    hashes = {
        classifier.content_hash,
        Classifier(renamed, classifier.network, classifier.exposure).content_hash,
        Classifier(classifier.spec, classifier.network, Exposure()).content_hash,
    }
    with torch.no_grad():
        classifier.network.head.bias[1] += 1e-3
    hashes.add(classifier.content_hash)
    assert len(hashes) == 4
