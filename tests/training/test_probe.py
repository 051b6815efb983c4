"""The probe: scikit-learn's logistic regression, folded into one linear layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from roadwork.calibration.base import softmax
from roadwork.data.manifest import TrainSet
from roadwork.data.splits import Splits
from roadwork.errors import DataError
from roadwork.models.classifier import attach_head
from roadwork.models.inference import extract_features, predict_logits
from roadwork.training import probe
from roadwork.training.probe import _folds, fit_probe, logistic_regression, set_linear_head
from tests.training.made_photos import small_backbone, small_settings


def blobs(rows: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    scales = np.array([1.0, 100.0, 1e-3, 5.0])
    features = (rng.normal(size=(rows, 4)) + labels[:, None] * [0.8, 0.0, 0.5, 0.0]) * scales + 7.0
    features = np.concatenate([features, np.full((rows, 1), 3.0)], axis=1)  # one that is constant
    return features, labels, np.array([f"g{row // 4}" for row in range(rows)])


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_the_fold_of_the_standardisation_is_exact(
    strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_STRENGTHS", (strength,))
    features, labels, groups = blobs()
    weight, bias = logistic_regression(features, labels, groups)
    scale = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(scale > 1e-8, scale, 1.0)
    oracle = LogisticRegression(C=strength, max_iter=2000, tol=1e-6).fit(standard, labels)
    expected = oracle.predict_proba(standard)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(softmax(features @ weight.T + bias), expected, atol=1e-9)
    assert weight[:, 4].tolist() == [0.0, 0.0]


def test_the_penalty_with_the_least_loss_on_other_groups_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Labels without any relation to the features: the strongest penalty wins."""
    rng = np.random.default_rng(3)
    features, groups = rng.normal(size=(80, 30)), np.repeat(np.arange(20), 4)
    noise = logistic_regression(features, np.tile([0, 1], 40), groups)[0]
    clear = features.copy()
    clear[:, 0] += 6.0 * np.tile([0, 1], 40)
    signal = logistic_regression(clear, np.tile([0, 1], 40), groups)[0]
    monkeypatch.setattr(probe, "_STRENGTHS", (1e-4,))
    assert (noise == logistic_regression(features, np.tile([0, 1], 40), groups)[0]).all()
    monkeypatch.setattr(probe, "_STRENGTHS", (1.0,))
    assert (signal == logistic_regression(clear, np.tile([0, 1], 40), groups)[0]).all()


def test_folds_keep_groups_together_and_both_classes_to_learn_from() -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    _, labels, groups = blobs()
    folds = _folds(StratifiedGroupKFold, labels, groups)
    assert len(folds) == 5
    for kept, left in folds:
        assert not set(groups[kept]) & set(groups[left])
        assert set(labels[kept]) == {0, 1}
    assert sorted(np.concatenate([left for _, left in folds])) == list(range(60))
    assert _folds(StratifiedGroupKFold, labels, np.zeros(60)) == []


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 0, 1], [0, 0, 0, 0, 0, 1]])
def test_very_few_rows_are_enough(labels: list[int]) -> None:
    rows = len(labels)
    features = np.random.default_rng(0).normal(size=(rows, 3))
    weight, _ = logistic_regression(features, np.array(labels), np.arange(rows))
    assert np.isfinite(weight).all() and np.abs(weight).max() > 0


def test_one_class_alone_is_refused(sets: Splits) -> None:
    train = TrainSet(sets.train.table.filter(sets.train.labels == 1))
    with pytest.raises(DataError, match="all 10 training images have the label roadwork"):
        fit_probe(small_backbone(), train, small_settings())


def test_a_head_takes_the_weights() -> None:
    head = nn.Linear(3, 2)
    set_linear_head(head, np.arange(6.0).reshape(2, 3), np.array([0.5, -0.5]))
    assert head(torch.tensor([[1.0, 0.0, 2.0]])).tolist() == [[4.5, 12.5]]


def test_the_fitted_classifier_answers_like_scikit_learn(sets: Splits) -> None:
    settings = small_settings()
    backbone = small_backbone(settings)
    found = fit_probe(backbone, sets.train, settings)
    features = extract_features(
        attach_head(backbone, settings.backbone.views), sets.train, settings
    )
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    probabilities = softmax(predict_logits(found, sets.train, settings.data))
    distances = [
        np.abs(
            LogisticRegression(C=strength, max_iter=2000, tol=1e-6)
            .fit(standard, sets.train.labels)
            .predict_proba(standard)
            - probabilities
        ).max()
        for strength in probe._STRENGTHS
    ]
    assert sorted(distances)[0] < 1e-5 < sorted(distances)[1]
    assert found.exposure.counts() == {"train": {"samples": 20, "groups": 5}}
    assert (found.spec.adapter, found.spec.origin) == ("none", "random weights")
    again = fit_probe(backbone, sets.train, settings)
    assert again.content_hash == found.content_hash
