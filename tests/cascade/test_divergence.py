"""A loss of the cascade that is no number stops training before the heads are spoiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from roadwork.cascade import module
from roadwork.cascade.train import train_cascade
from roadwork.data.splits import Splits
from roadwork.errors import TrainingError
from roadwork.models.classifier import Classifier
from roadwork.training.checkpoint import load_checkpoint
from tests.cascade.chain import cascade_settings


@pytest.mark.parametrize("spoil", ["loss", "gradient"])
def test_it_is_told_with_place_and_remedy_and_the_checkpoint_stays_good(
    spoil: str,
    classifier: Classifier,
    sets: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original, calls = module.cascade_losses, []

    def cascade_losses(*arguments: Any) -> Tensor:
        loss = original(*arguments)
        calls.append(loss)
        if len(calls) < 6:
            return loss
        if spoil == "loss":
            return loss * float("nan")
        loss = loss.clone()
        loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    monkeypatch.setattr(module, "cascade_losses", cascade_losses)
    settings = cascade_settings(trains="heads")
    with pytest.raises(TrainingError, match=r"step 6 of .*Lower cascade\.learning_rate; training"):
        train_cascade(classifier, sets.train, sets.select, settings, tmp_path)
    (path,) = tmp_path.rglob("last.ckpt")
    found = load_checkpoint(path)
    assert 0 < found["global_step"] < 6
    assert all(torch.isfinite(value).all() for value in found["state_dict"].values())
