"""Cells: what they answer, what fails, and which data they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from roadwork.ablation.cell import CellResult, cell_key, run_cell
from roadwork.ablation.folds import Fold, make_fold
from roadwork.data.exposure import Exposure, Use
from roadwork.data.manifest import SelectSet, TrainSet
from roadwork.data.splits import Splits
from roadwork.errors import ConfigError, DataError, Interrupted, LeakageError
from roadwork.models.backbone import BACKBONES, Backbone
from roadwork.settings import Settings
from roadwork.training.finetune import finetune
from roadwork.training.refinement import refinement_loss
from tests.data import made
from tests.training import made_photos

SETTINGS = {"finetune": {"epochs": 1}}


@pytest.fixture(scope="module", autouse=True)
def two_blocks() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, made_photos.NAME, made_photos.INFO)
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return made_photos.photo_sets(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def settings() -> Settings:
    return made_photos.small_settings(**SETTINGS)


@pytest.fixture(scope="module")
def backbone(settings: Settings) -> Backbone:
    return made_photos.small_backbone(settings)


def test_a_cell_answers_the_selection_set(
    sets: Splits, settings: Settings, backbone: Backbone, tmp_path: Path
) -> None:
    found = run_cell(backbone, sets.train, sets.select, sets.select, settings, tmp_path)
    record, answers = found.record, found.answers
    assert record.failure is None and record.key == cell_key(settings)
    ids = [f"{int(sample):016x}" for sample in sets.select.sample_ids]
    assert answers.column("sample_id").to_pylist() == sorted(ids)
    by_id = dict(zip(ids, sets.select.labels.tolist(), strict=True))
    labels = answers.column("label").to_numpy()
    assert labels.tolist() == [by_id[name] for name in sorted(ids)]
    tuned = finetune(backbone, sets.train, sets.select, settings, tmp_path / "again")
    losses = tuned.history["select_nll"]
    odds = answers.column("log_odds").to_numpy()
    # The loss that chose the pass is that of the answers, which have its temperature.
    assert np.log1p(np.exp(-(2 * labels - 1) * odds)).mean() == pytest.approx(
        losses[tuned.history["best_epoch"]], abs=1e-4
    )
    assert refinement_loss(np.stack([0 * odds, odds], 1), labels.astype(np.int64)) == (
        pytest.approx(losses[tuned.history["best_epoch"]], abs=1e-4)
    )
    assert record.best_epoch == tuned.history["best_epoch"]
    # Head: 48 × 2 + 2. LoRA of rank 2 on queries and values, two blocks: 2 × 2 × 2 × (48 + 48).
    assert record.trained == 98 + 768
    network = tuned.classifier.network
    assert record.weights == sum(parameter.numel() for parameter in network.parameters())
    assert record.views == 1
    assert not list(tmp_path.glob("ablation-*")), "a finished cell leaves no checkpoint"


def test_a_cell_survives_its_files(
    sets: Splits, settings: Settings, backbone: Backbone, tmp_path: Path
) -> None:
    found = run_cell(backbone, sets.train, sets.select, sets.select, settings, tmp_path / "c")
    (tmp_path / "files").mkdir()
    found.save(tmp_path / "files")
    loaded = CellResult.load(tmp_path / "files")
    assert loaded.record == found.record
    assert loaded.content_hash == found.content_hash


def test_a_fold_is_answered_by_a_model_that_has_not_seen_it(
    sets: Splits, settings: Settings, backbone: Backbone, tmp_path: Path
) -> None:
    fold = make_fold(sets.train, sets.select, 4, 1, 0)
    found = run_cell(backbone, fold.train, fold.select, fold.judged, settings, tmp_path)
    assert len(found.answers) == len(fold.judged)
    with pytest.raises(LeakageError):
        run_cell(backbone, fold.train, fold.select, sets.select, settings, tmp_path)


def test_a_run_that_fails_is_a_result_and_an_unforeseen_error_is_not(
    sets: Splits, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = made_photos.small_settings(finetune={"epochs": 1, "learning_rate": 1e30})
    found = run_cell(backbone, sets.train, sets.select, sets.select, wild, tmp_path)
    assert found.record.failure is not None and "learning_rate" in found.record.failure
    assert found.answers.num_rows == 0
    (tmp_path / "files").mkdir()
    found.save(tmp_path / "files")
    assert CellResult.load(tmp_path / "files").content_hash == found.content_hash

    def broken(*_: object) -> torch.Tensor:
        raise ZeroDivisionError

    monkeypatch.setattr("roadwork.ablation.cell.predict_logits", broken)
    with pytest.raises(ZeroDivisionError):
        run_cell(
            backbone, sets.train, sets.select, sets.select, made_photos.small_settings(), tmp_path
        )


def test_an_interrupt_is_no_failed_variant(
    sets: Splits,
    settings: Settings,
    backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr("roadwork.training.supervised.Supervised.training_step", interrupt)
    with pytest.raises(Interrupted, match="the same command goes on"):
        run_cell(backbone, sets.train, sets.select, sets.select, settings, tmp_path)


@pytest.mark.parametrize("role", ["train", "calibrate", "conformal", "test"])
def test_only_val_select_judges(
    role: str, sets: Splits, settings: Settings, backbone: Backbone, tmp_path: Path
) -> None:
    wrong = getattr(sets, role)
    with pytest.raises(LeakageError, match="to choose between variants takes the select set"):
        run_cell(backbone, sets.train, sets.select, wrong, settings, tmp_path)
    if role != "train":
        with pytest.raises(LeakageError, match="takes the select set"):
            run_cell(backbone, sets.train, wrong, sets.select, settings, tmp_path)
        with pytest.raises(LeakageError, match="takes the train set"):
            run_cell(backbone, wrong, sets.select, sets.select, settings, tmp_path)
        with pytest.raises(LeakageError):
            make_fold(sets.train, wrong, 3, 0, 0)
    assert not list(tmp_path.iterdir()), "nothing was trained"


def test_a_set_that_is_only_called_select_is_refused_where_it_was_trained_on(
    sets: Splits, settings: Settings, backbone: Backbone, tmp_path: Path
) -> None:
    renamed = SelectSet(sets.train.table)
    with pytest.raises(LeakageError):
        run_cell(backbone, sets.train, sets.select, renamed, settings, tmp_path)
    seen = Backbone(
        name=backbone.name,
        image_size=backbone.image_size,
        network=backbone.network,
        origin=backbone.origin,
        learned=backbone.learned,
        exposure=Exposure.of(Use.PRETRAIN, sets.select),
    )
    with pytest.raises(LeakageError):
        run_cell(seen, sets.train, sets.select, sets.select, settings, tmp_path)


def folds_of(train: TrainSet, select: SelectSet, folds: int, seed: int = 0) -> list[Fold]:
    return [make_fold(train, select, folds, number, seed) for number in range(folds)]


def test_every_image_is_judged_once_by_groups_of_its_own(sets: Splits) -> None:
    found = folds_of(sets.train, sets.select, 4)
    everything = {*sets.train.sample_ids.tolist(), *sets.select.sample_ids.tolist()}
    judged = [sample for fold in found for sample in fold.judged.sample_ids.tolist()]
    assert len(judged) == len(everything) and set(judged) == everything
    for number, fold in enumerate(found):
        parts = (fold.train, fold.select, fold.judged)
        groups = [set(part.groups.tolist()) for part in parts]
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert sum(map(len, parts)) == len(everything)
        assert all(set(part.labels.tolist()) == {0, 1} for part in parts)
        following = found[(number + 1) % 4]
        assert fold.select.content_hash == following.judged.content_hash
    again = folds_of(sets.train, sets.select, 4)
    assert [f.judged.content_hash for f in again] == [f.judged.content_hash for f in found]


def test_folds_that_cannot_be() -> None:
    rows = [made.row(number, group=f"g{number // 8}", label=number % 2) for number in range(32)]
    train, select = TrainSet(made.table(rows[:16])), SelectSet(made.table(rows[16:]))
    assert len(folds_of(train, select, 4)) == 4
    with pytest.raises(DataError, match="4 groups cannot be dealt into 5 folds"):
        make_fold(train, select, 5, 0, 0)
    with pytest.raises(ConfigError, match="at least 3 folds"):
        make_fold(train, select, 2, 0, 0)
    with pytest.raises(ConfigError, match="fold 4 of 4"):
        make_fold(train, select, 4, 4, 0)
    alone = [made.row(n, group=f"g{n // 8}", label=int(n >= 24)) for n in range(32)]
    train, select = TrainSet(made.table(alone[:16])), SelectSet(made.table(alone[16:]))
    with pytest.raises(DataError, match="would have no image of class"):
        make_fold(train, select, 3, 0, 0)
