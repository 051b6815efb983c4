"""Training of the heads: better than the start, the same after any interruption, no leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from roadwork.cascade import module
from roadwork.cascade.certified import predict_stages
from roadwork.cascade.features import Scale
from roadwork.cascade.selection import selection_loss
from roadwork.cascade.train import TrainedCascade, hold_back, train_cascade
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.data.splits import Splits
from roadwork.errors import ConfigError, DataError, LeakageError
from roadwork.models.classifier import Classifier
from roadwork.settings import CascadeSettings
from tests.cascade.chain import cascade_settings
from tests.training.made_photos import small_backbone, small_settings

# Not of LCRON: its gradient is not that of its value (roadwork.training.objectives.lcron).
DESCENDING = ("ce", "gatekeeper", "two_sided")
STEPS = 12  # 3 passes of 4 batches


class Killed(BaseException):
    """Stands for the end of the process."""


def run(classifier: Classifier, sets: Splits, checkpoints: Path, **changes: Any) -> TrainedCascade:
    settings = cascade_settings(**changes)
    return train_cascade(classifier, sets.train, sets.select, settings, checkpoints)


@pytest.fixture(scope="module")
def whole(
    classifier: Classifier, sets: Splits, tmp_path_factory: pytest.TempPathFactory
) -> TrainedCascade:
    return run(classifier, sets, tmp_path_factory.mktemp("whole"), trains="heads")


def without_times(history: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in every run."""
    curves = {k: v for k, v in history["curves"].items() if k != "seconds"}
    return {**history, "curves": curves}


def same_head(found: TrainedCascade, classifier: Classifier) -> bool:
    head = found.cascade.network.network.head.state_dict()
    expected = classifier.network.head.state_dict()
    return all(torch.equal(head[name], expected[name]) for name in expected)


@pytest.mark.parametrize("objective", DESCENDING)
def test_every_objective_improves_on_its_start_on_what_it_trains(
    objective: str, classifier: Classifier, sets: Splits, tmp_path: Path, monkeypatch: Any
) -> None:
    """Measured on the training set itself: VAL_SELECT decides on passes, not whether it learns."""
    losses: list[float] = []
    original = module.CascadeHeads.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = original(self, batch, batch_idx)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(module.CascadeHeads, "training_step", training_step)
    changes = {"epochs": 12, "batch_size": 20, "learning_rate": 0.002}
    found = run(classifier, sets, tmp_path, objective=objective, trains="heads", **changes)
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert len(found.history["select_nll"]) == 13


def test_the_chosen_pass_is_what_was_judged(whole: TrainedCascade, sets: Splits) -> None:
    losses, best = whole.history["select_nll"], whole.history["best_epoch"]
    assert len(losses) == 4 and losses.index(min(losses)) == best
    assert best > 0, "the test needs a run that improves on its start"
    assert whole.cascade.spec.objective == "two_sided"
    curves = whole.history["curves"]
    logged = [
        value
        for name, value in zip(curves["name"], curves["value"], strict=True)
        if name == "cascade/select_nll"
    ]
    assert logged == pytest.approx(losses, abs=1e-6)
    rows = zip(curves["name"], curves["step"], strict=True)
    assert [step for name, step in rows if name == "cascade/loss"] == list(range(1, STEPS + 1))
    logits = predict_stages(whole.cascade, sets.select, cascade_settings().data)
    found = selection_loss(*logits, sets.select.labels)
    assert found.cascade == pytest.approx(losses[best], abs=1e-4)
    assert found.first == pytest.approx(whole.history["select_first_nll"][best], abs=1e-4)


def test_stage_2_keeps_every_bit_unless_both_heads_train(
    whole: TrainedCascade, classifier: Classifier, sets: Splits, tmp_path: Path
) -> None:
    before = classifier.content_hash
    found = run(classifier, sets, tmp_path, trains="first")
    assert found.cascade.spec.trains == "first"
    assert same_head(found, classifier)
    backbone = found.cascade.network.network.backbone.state_dict()
    for name, value in classifier.network.backbone.state_dict().items():
        assert torch.equal(backbone[name], value)
    assert not same_head(whole, classifier)
    assert classifier.content_hash == before
    seconds = found.history["select_second_nll"]
    assert seconds == pytest.approx([seconds[0]] * 4, abs=1e-9)


def test_without_passes_stage_1_is_a_regression_on_what_was_not_held_back(
    classifier: Classifier, sets: Splits, tmp_path: Path
) -> None:
    found = run(classifier, sets, tmp_path, epochs=0)
    assert found.history["best_epoch"] == 0
    assert found.cascade.spec.objective == "ce"
    assert found.history["held_back"] == 4  # one group of four: 30 % of 20 are 6
    plain = run(classifier, sets, tmp_path, epochs=0, objective="ce")
    assert plain.history["held_back"] == 0
    heads = [part.cascade.network.first_head.weight for part in (found, plain)]
    assert not torch.equal(*heads)


@pytest.mark.parametrize("step", [3, 4, 7])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    step: int,
    whole: TrainedCascade,
    classifier: Classifier,
    sets: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = module.CascadeHeads.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            raise Killed
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(module.CascadeHeads, "training_step", training_step)
        with pytest.raises(Killed):
            run(classifier, sets, tmp_path, trains="heads")
    assert list(tmp_path.glob("cascade-*/last.ckpt"))
    resumed = run(classifier, sets, tmp_path, trains="heads")
    assert without_times(resumed.history) == without_times(whole.history)
    assert resumed.cascade.content_hash == whole.cascade.content_hash
    assert not list(tmp_path.glob("cascade-*"))


def test_the_weights_that_lcron_learns_are_in_the_checkpoint(
    classifier: Classifier, sets: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []
    original = module.CascadeHeads.training_step
    killed = [False]

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 7 and not killed[0]:
            killed[0] = True
            raise Killed
        seen.append([self.global_step, *self.log_variances.tolist()])
        return original(self, batch, batch_idx)

    whole = run(classifier, sets, tmp_path / "a", objective="lcron")
    monkeypatch.setattr(module.CascadeHeads, "training_step", training_step)
    with pytest.raises(Killed):
        run(classifier, sets, tmp_path / "b", objective="lcron")
    resumed = run(classifier, sets, tmp_path / "b", objective="lcron")
    assert resumed.cascade.content_hash == whole.cascade.content_hash
    again = next(values for values in seen[7:] if values[0] == 6)
    assert again == seen[6] and any(again[1:])


def test_another_promise_shares_the_training(
    whole: TrainedCascade, classifier: Classifier, sets: Splits, tmp_path: Path
) -> None:
    wanted = CascadeSettings(max_accuracy_loss=0.2, max_wrong=0.1, delta=0.2, path="none_only")
    assert wanted.training == CascadeSettings()
    found = run(classifier, sets, tmp_path, trains="heads", max_accuracy_loss=0.3, delta=0.3)
    assert found.cascade.content_hash == whole.cascade.content_hash


def test_the_exposure_is_that_of_all_parts(whole: TrainedCascade) -> None:
    assert {use: ids["samples"] for use, ids in whole.cascade.exposure.counts().items()} == {
        "train": 20,
        "select": 12,
    }


def test_sets_that_overlap_or_have_another_role_are_refused(
    classifier: Classifier, sets: Splits, tmp_path: Path
) -> None:
    settings = cascade_settings()
    shared = pa.concat_tables([sets.select.table, sets.train.table.slice(0, 1)])
    with pytest.raises(LeakageError, match="share 1 images"):
        train_cascade(classifier, sets.train, SelectSet(shared), settings, tmp_path)
    with pytest.raises(LeakageError, match="choose between models"):
        train_cascade(classifier, sets.train, sets.test, settings, tmp_path)  # pyright: ignore
    with pytest.raises(LeakageError, match="fit a model"):
        train_cascade(classifier, sets.conformal, sets.select, settings, tmp_path)  # pyright: ignore


@pytest.mark.parametrize("use", [Use.PRETRAIN, Use.TRAIN, Use.CALIBRATE, Use.CONFORMALISE])
def test_passes_are_not_chosen_on_what_the_classifier_learned_from(
    use: Use, classifier: Classifier, sets: Splits, tmp_path: Path
) -> None:
    seen = replace(classifier, exposure=Exposure.of(use, sets.select))
    with pytest.raises(LeakageError, match=rf"train a cascade from .*\({use}\): 12 samples"):
        train_cascade(seen, sets.train, sets.select, cascade_settings(), tmp_path)


def test_heads_are_not_fitted_on_what_the_classifier_was_chosen_or_calibrated_on(
    classifier: Classifier, sets: Splits, tmp_path: Path
) -> None:
    for use, part in ((Use.SELECT, sets.select), (Use.CALIBRATE, sets.calibrate)):
        seen = replace(classifier, exposure=Exposure.of(use, part))
        wrong = TrainSet(part.table)
        with pytest.raises(LeakageError, match=rf"\({use}\): 12 samples"):
            train_cascade(seen, wrong, SelectSet(sets.test.table), cascade_settings(), tmp_path)


def test_one_class_alone_is_refused(classifier: Classifier, sets: Splits, tmp_path: Path) -> None:
    rows = sets.train.table.to_pylist()
    for row in rows:
        row["label"] = 1
    train = TrainSet(pa.Table.from_pylist(rows, schema=sets.train.table.schema))
    with pytest.raises(DataError, match="nothing to tell apart"):
        train_cascade(classifier, train, sets.select, cascade_settings(), tmp_path)


def test_a_classifier_without_tiles_is_refused(sets: Splits, tmp_path: Path) -> None:
    from roadwork.training.finetune import finetune

    settings = small_settings(finetune={"epochs": 0})
    plain = finetune(small_backbone(settings), sets.train, sets.select, settings, tmp_path)
    with pytest.raises(ConfigError, match=r"views\.tiles is 0"):
        train_cascade(plain.classifier, sets.train, sets.select, settings, tmp_path)


@pytest.mark.parametrize(
    "views",
    [{"tiles": "aspect"}, {"flip": True}, {"aggregator": "mean"}],
    ids=["tiles", "flip", "pooling"],
)
def test_views_that_the_classifier_does_not_see_are_refused(
    views: dict[str, Any], classifier: Classifier, sets: Splits, tmp_path: Path
) -> None:
    settings = cascade_settings()
    other = settings.backbone.views.model_copy(update=views)
    assert other != settings.backbone.views
    backbone = settings.backbone.model_copy(update={"views": other})
    asked = settings.model_copy(update={"backbone": backbone})
    with pytest.raises(ConfigError, match=r"backbone\.views is .* the classifier was trained with"):
        train_cascade(classifier, sets.train, sets.select, asked, tmp_path)
    backbone = settings.backbone.model_copy(update={"image_size": 999})
    asked = settings.model_copy(update={"backbone": backbone})
    with pytest.raises(ConfigError, match=r"backbone\.image_size is 999 in the settings"):
        train_cascade(classifier, sets.train, sets.select, asked, tmp_path)


def test_one_large_group_does_not_end_what_is_held_back(caplog: pytest.LogCaptureFixture) -> None:
    """60 rows in one group and 40 in groups of one: a third are 33 rows, whatever comes first."""
    groups = np.append(np.zeros(60, dtype=np.int64), np.arange(1, 41))
    labels = np.arange(100) % 2
    for seed in range(20):
        held = hold_back(labels, groups, 0.33, seed)
        assert held.sum() == 33 and not held[:60].any()
    assert not caplog.records
    pair = hold_back(labels, np.repeat([0, 1], 50), 0.33, seed=0)
    assert not pair.any()
    assert "every group has more than 33 % of the images" in caplog.text


def test_held_back_are_whole_groups_and_never_too_many() -> None:
    groups = np.repeat(np.arange(10), 5)
    labels = np.tile([0, 1], 25)
    held = hold_back(labels, groups, 0.33, seed=0)
    assert held.sum() == 15
    assert all(len(set(held[groups == group].tolist())) == 1 for group in range(10))
    assert (hold_back(labels, groups, 0.33, seed=0) == held).all()
    assert any((hold_back(labels, groups, 0.33, seed=s) != held).any() for s in range(1, 4))
    assert not hold_back(labels, groups, 0.0, seed=0).any()


def test_nothing_is_held_back_where_one_class_would_remain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    groups, labels = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    assert not hold_back(labels, groups, 0.5, seed=0).any()
    assert "no training image is held back" in caplog.text


def test_a_head_answers_the_same_on_standardised_features() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(2.0, 5.0, (30, 4)).astype(np.float32)
    features[:, 3] = 1.5  # varies in no row
    scale = Scale.of(features)
    standard = scale.standardised(features)
    torch.testing.assert_close(standard[:, :3].std(dim=0, unbiased=False), torch.ones(3))
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    head = torch.nn.Linear(4, 2)
    moved = scale.to_standardised(head)
    with torch.no_grad():
        expected = head(torch.from_numpy(features))
        torch.testing.assert_close(moved(standard), expected, atol=1e-5, rtol=1e-5)
        back = scale.to_raw(moved)
    torch.testing.assert_close(back.weight, head.weight)
    torch.testing.assert_close(back.bias, head.bias, atol=1e-5, rtol=1e-5)
