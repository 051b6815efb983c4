"""Hard negatives: the hardest by hand, resumed exactly, and never outside the training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from roadwork.data.order import LearningOrder, Shuffled
from roadwork.data.splits import Splits
from roadwork.errors import LeakageError
from roadwork.training.finetune import finetune
from roadwork.training.mining import HardNegatives
from roadwork.training.samplers import Balanced
from roadwork.training.strata import Strata, plan_draws
from tests.training.made_photos import small_backbone, small_settings
from tests.training.test_samplers import train_set


def miner(share: float = 0.25, balance: str = "none") -> HardNegatives:
    train = train_set({("a", 1): 10, ("a", 0): 16, ("b", 1): 6, ("b", 0): 8})
    plan = plan_draws(Strata.of(train), balance, {})
    base = Shuffled(40, 0) if balance == "none" else Balanced(plan, 0)
    return HardNegatives(train, base, plan, share, seed=0)


def test_the_first_pass_is_the_base_order() -> None:
    hard = miner()
    assert isinstance(hard, LearningOrder)
    assert (hard(0) == Shuffled(40, 0)(0)).all()
    assert hard.mined.counts() == {}
    assert hard.exposure.counts() == {}


def test_a_share_of_the_negatives_comes_from_the_hardest() -> None:
    hard = miner()
    negatives = np.flatnonzero(hard.train.labels == 0)
    losses = np.linspace(0.0, 2.0, 40, dtype=np.float32)  # later rows are harder
    hard.observe(np.arange(40), losses)
    order, base = hard(1), Shuffled(40, 0)(1)
    changed = np.flatnonzero(order != base)
    hardest = negatives[-6:]  # a quarter of 24 negatives
    assert (hard.train.labels[base[changed]] == 0).all()
    assert set(order[changed]) <= set(hardest)
    assert (hard.train.labels[order] == 0).sum() == 24
    # Six places went to the six hardest, once each, beside those that the base drew.
    taken = np.bincount(order, minlength=40)
    assert taken[hardest].sum() >= 6
    assert hard.mined.counts()["train"]["samples"] == 6
    assert set(hard.mined.uses["train"].samples) == set(hard.train.sample_ids[hardest])  # pyright: ignore


def test_positives_are_never_hard_negatives() -> None:
    hard = miner(share=0.9)
    losses = np.where(hard.train.labels == 1, 9.0, 0.1).astype(np.float32)
    hard.observe(np.arange(40), losses)
    order, base = hard(1), Shuffled(40, 0)(1)
    positive = hard.train.labels == 1
    assert (order[positive[base]] == base[positive[base]]).all()
    assert not np.isin(hard.mined.uses["train"].samples, hard.train.sample_ids[positive]).any()  # pyright: ignore


def test_rows_never_seen_are_not_hard_and_few_are_repeated() -> None:
    hard = miner(share=0.5)
    seen = np.flatnonzero(hard.train.labels == 0)[:3]
    hard.observe(seen, np.array([1.0, 3.0, 2.0], dtype=np.float32))
    order, base = hard(1), Shuffled(40, 0)(1)
    assert set(order[order != base]) <= set(seen)
    # Twelve places and three known rows: four each.
    extra = np.bincount(order[np.isin(order, seen)], minlength=40)[seen]
    assert (extra >= 4).all() and extra.sum() <= 15


def test_a_balanced_pass_stays_balanced() -> None:
    hard = miner(share=0.5, balance="source_and_class")
    hard.observe(np.arange(40), np.random.default_rng(1).random(40).astype(np.float32))
    order = hard(1)
    cells = Strata.of(hard.train).source * 2 + hard.train.labels
    assert np.bincount(cells[order]).tolist() == [10, 10, 10, 10]
    assert (order != hard.base(1)).any()


def test_losses_of_the_pass_itself_count_from_the_next_one_on() -> None:
    hard = miner()
    rng = np.random.default_rng(2)
    hard.observe(np.arange(40), rng.random(40).astype(np.float32))
    order = hard(1)
    hard.observe(np.arange(40), rng.random(40).astype(np.float32))
    assert (hard(1) == order).all()
    state = hard.state_dict()
    resumed = miner()
    resumed.load_state_dict(state)
    assert (resumed(1) == order).all()
    assert (resumed(2) == hard(2)).all()
    assert resumed.mined.counts() == hard.mined.counts()
    fresh = miner()
    fresh.observe(np.arange(40), state["losses"].numpy())
    assert (fresh(1) != order).any()


def test_the_state_is_tensors_and_plain_values(tmp_path: Path) -> None:
    hard = miner()
    hard.observe(np.arange(3), np.ones(3, dtype=np.float32))
    torch.save(hard.state_dict(), tmp_path / "state")
    found = torch.load(tmp_path / "state", weights_only=True)
    # What is kept does not change with the miner.
    hard.observe(np.arange(3), np.zeros(3, dtype=np.float32))
    assert found["losses"][:3].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("role", ["select", "calibrate", "conformal", "test"])
def test_no_other_set_can_be_mined(role: str, sets: Splits) -> None:
    plan = plan_draws(Strata.of(sets.train), "none", {})
    other = getattr(sets, role)
    with pytest.raises(LeakageError, match=rf"mine hard negatives .* but the {role} set"):
        HardNegatives(other, Shuffled(len(other), 0), plan, 0.5, 0)


def test_training_mines_training_rows_alone(sets: Splits, checkpoints: Path) -> None:
    """Acceptance: what was mined is a part of TRAIN and meets no other set."""
    settings = small_settings(finetune={"sampling": {"hard_negatives": 0.5}})
    found = finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)
    (mined,) = found.mined.uses.values()
    assert len(mined.samples) > 0
    negatives = sets.train.sample_ids[sets.train.labels == 0]
    assert np.isin(mined.samples, negatives).all()
    assert np.isin(mined.groups, sets.train.ids.groups).all()
    for other in (sets.select, sets.calibrate, sets.conformal, sets.test):
        assert not np.isin(mined.samples, other.ids.samples).any()
        assert not np.isin(mined.groups, other.ids.groups).any()
    assert found.history["mining"] == {"learned_from": 20, "drawn": len(mined.samples)}
    plain = finetune(small_backbone(), sets.train, sets.select, small_settings(), checkpoints)
    assert plain.mined.counts() == {}
    assert plain.history["select_nll"][:2] == found.history["select_nll"][:2]  # the first pass
    assert plain.history["select_nll"][2:] != found.history["select_nll"][2:]
