"""Calibrators and exits on the right sets, the promise in words, and what is kept of it all."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roadwork.calibration.fitted import fit_calibrator
from roadwork.cascade.certified import CertifiedCascade, certify, predict_stages
from roadwork.cascade.policy import ExitPromise
from roadwork.cascade.train import TrainedCascade, train_cascade
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import CalibrationSet, ConformalSet
from roadwork.data.splits import Splits
from roadwork.errors import DataError, LeakageError
from roadwork.models.classifier import Classifier
from roadwork.models.inference import predict_logits
from tests.cascade.chain import cascade_settings

SETTINGS = cascade_settings()


@pytest.fixture(scope="module")
def trained(
    classifier: Classifier, sets: Splits, tmp_path_factory: pytest.TempPathFactory
) -> TrainedCascade:
    folder = tmp_path_factory.mktemp("trained")
    return train_cascade(classifier, sets.train, sets.select, SETTINGS, folder)


@pytest.fixture(scope="module")
def certified(trained: TrainedCascade, sets: Splits) -> CertifiedCascade:
    return certify(trained.cascade, sets.calibrate, sets.conformal, SETTINGS)


def test_stage_2_and_its_calibrator_are_those_of_the_classifier(
    certified: CertifiedCascade, classifier: Classifier, sets: Splits
) -> None:
    """So the classifier's prediction sets hold for stage 2 on every image, not on those alone that
    stage 1 passes on, which are the harder ones."""
    first, second = predict_stages(certified.cascade, sets.calibrate, SETTINGS.data)
    logits = predict_logits(classifier, sets.calibrate, SETTINGS.data)
    np.testing.assert_allclose(second, logits, atol=1e-6)
    own = fit_calibrator(classifier, sets.calibrate, logits, SETTINGS.calibrate.method)
    one, two = certified.calibrators
    np.testing.assert_allclose(two.model.transform(logits), own.model.transform(logits), atol=1e-6)
    expected = fit_calibrator(certified.cascade, sets.calibrate, first, "temperature").model
    assert one.model == expected != two.model


def test_both_stages_are_scored_as_the_network_answers(
    certified: CertifiedCascade, sets: Splits
) -> None:
    from roadwork.training.views import open_views

    first, second = predict_stages(certified.cascade, sets.test, SETTINGS.data)
    views = torch.from_numpy(open_views(SETTINGS)(sets.test).take([5]))
    with torch.no_grad():
        one, two = certified.cascade.network(views)
    np.testing.assert_allclose(first[5], one[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(second[5], two[0].numpy(), atol=1e-5)


def test_every_part_has_its_own_data(certified: CertifiedCascade) -> None:
    uses = {use: ids["samples"] for use, ids in certified.exposure.counts().items()}
    assert uses == {"train": 20, "select": 12, "calibrate": 12, "conformalise": 12}
    assert set(certified.calibrators[0].exposure.counts()) == {"train", "select", "calibrate"}
    assert certified.exits.model.votes == 3
    assert certified.exits.model.promise == ExitPromise(
        max_accuracy_loss=0.6, max_recall_loss=0.6, max_wrong=None, delta=0.1
    )


def test_its_answers_are_those_of_its_parts(certified: CertifiedCascade, sets: Splits) -> None:
    logits = predict_stages(certified.cascade, sets.test, SETTINGS.data)
    answers = certified.decide(*logits)
    one, two = certified.calibrators
    expected = certified.exits.model.decide(
        one.model.transform(logits[0]), two.model.transform(logits[1])
    )
    np.testing.assert_array_equal(answers.labels, expected.labels)
    np.testing.assert_array_equal(answers.stages, expected.stages)


def test_sets_of_another_role_or_seen_before_are_refused(
    trained: TrainedCascade, sets: Splits
) -> None:
    cascade = trained.cascade
    with pytest.raises(LeakageError, match="the conformal set"):
        certify(cascade, sets.conformal, sets.conformal, SETTINGS)  # pyright: ignore
    with pytest.raises(LeakageError, match=r"\(train\): 20 samples"):
        certify(cascade, CalibrationSet(sets.train.table), sets.conformal, SETTINGS)
    with pytest.raises(LeakageError, match=r"\(select\): 12 samples"):
        certify(cascade, sets.calibrate, ConformalSet(sets.select.table), SETTINGS)
    with pytest.raises(LeakageError, match=r"calibrator: .*\(calibrate\): 12 samples"):
        certify(cascade, sets.calibrate, ConformalSet(sets.calibrate.table), SETTINGS)
    seen = replace(cascade, exposure=Exposure.of(Use.PRETRAIN, sets.conformal))
    with pytest.raises(LeakageError, match=r"two-stage cascade: .*\(pretrain\)"):
        certify(seen, sets.calibrate, sets.conformal, SETTINGS)


def test_too_few_groups_are_an_answer_that_says_what_it_takes(
    trained: TrainedCascade, sets: Splits, caplog: pytest.LogCaptureFixture
) -> None:
    settings = cascade_settings(max_accuracy_loss=0.005, max_recall_loss=0.01)
    with caplog.at_level(logging.WARNING, "roadwork"):
        found = certify(trained.cascade, sets.calibrate, sets.conformal, settings)
    policy = found.exits.model
    assert not policy.feasible
    # 0.9 = 1 - 0.1: log(0.1) / log(0.995) = 459.4, log(0.1) / log(0.99) = 229.1.
    words = "this promise would take 460 groups, 230 of them with roadwork"
    assert words in policy.guarantee and words in caplog.text
    assert "12 images in 3 groups" in policy.guarantee
    assert (found.decide(np.zeros((2, 2)), np.zeros((2, 2))).stages == 2).all()


def test_enough_groups_with_harm_are_told_apart_from_too_few() -> None:
    from roadwork.cascade.policy import ExitPolicy

    labels = np.tile([0, 1], 30)
    second = np.stack([1.0 - labels, labels], axis=1) * 0.9 + 0.05
    first = np.where(second > 0.5, 1e-4, 1 - 1e-4)  # sure, and wrong
    promise = ExitPromise(max_accuracy_loss=0.1, max_recall_loss=0.1)
    assert promise.votes_needed == (22, 22)
    policy = ExitPolicy.fit(first, second, labels, promise=promise)
    assert not policy.feasible
    assert "the safest exits did too much harm" in policy.guarantee


@pytest.mark.parametrize(("bound", "delta", "votes"), [(0.005, 0.1, 460), (0.5, 0.25, 2)])
def test_the_fewest_votes_just_reject(bound: float, delta: float, votes: int) -> None:
    from roadwork.cascade.learn_then_test import (
        binomial_p_value,
        hoeffding_bentkus_p_value,
        votes_needed,
    )

    assert votes_needed(bound, delta) == votes
    for test in (binomial_p_value, hoeffding_bentkus_p_value):
        assert test([0.0], votes, bound)[0] <= delta * (1 + 1e-12)
        assert test([0.0], votes - 1, bound)[0] > delta


def test_it_travels_in_one_folder_and_notices_exchanged_parts(
    certified: CertifiedCascade, trained: TrainedCascade, sets: Splits, tmp_path: Path
) -> None:
    folder = tmp_path / "certified"
    folder.mkdir()
    certified.save(folder)
    again = CertifiedCascade.load(folder)
    assert again.content_hash == certified.content_hash
    assert again.exposure.counts() == certified.exposure.counts()
    logits = np.array([[1.0, -1.0], [-3.0, 3.0]])
    np.testing.assert_array_equal(
        again.decide(logits, logits).probabilities, certified.decide(logits, logits).probabilities
    )
    assert not [path for path in folder.rglob("*") if path.suffix in {".ckpt", ".pt"}]
    # Exits of another promise, put in the place of these.
    other = certify(
        trained.cascade, sets.calibrate, sets.conformal, cascade_settings(max_accuracy_loss=0.7)
    )
    other.exits.save(folder / "exits")
    with pytest.raises(DataError, match="its parts were not written together"):
        CertifiedCascade.load(folder)


def test_a_shifted_prior_is_said_to_leave_the_promise_on_accuracy_behind(
    trained: TrainedCascade, sets: Splits, caplog: pytest.LogCaptureFixture
) -> None:
    tree = SETTINGS.model_copy(
        update={"calibrate": SETTINGS.calibrate.model_copy(update={"deployment_prior": 0.05})}
    )
    with caplog.at_level(logging.WARNING, "roadwork"):
        certify(trained.cascade, sets.calibrate, sets.conformal, tree)
    assert "only the promise on images of roadwork can carry over" in caplog.text
