"""The moving average of the weights: by hand, and within a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from roadwork.data.splits import Splits
from roadwork.errors import ConfigError
from roadwork.models.adapters import trainable_state
from roadwork.models.inference import predict_logits
from roadwork.settings import parse_settings
from roadwork.training import supervised as module
from roadwork.training.averaging import MovingAverage, average_decay
from roadwork.training.finetune import Finetuned, finetune
from roadwork.training.refinement import refinement_loss
from tests.training.made_photos import small_backbone, small_settings


def run(sets: Splits, checkpoints: Path, **changes: Any) -> Finetuned:
    settings = small_settings(finetune=changes)
    return finetune(small_backbone(settings), sets.train, sets.select, settings, checkpoints)


def test_the_average_by_hand() -> None:
    """d_0 = 1/10, d_1 = 2/11, and 0.25 from there on."""
    assert average_decay(0.25, 0) == 0.1
    assert average_decay(0.25, 1) == 2 / 11
    assert average_decay(0.25, 2) == average_decay(0.25, 1000) == 0.25
    network = nn.Linear(1, 1)
    network.bias.requires_grad_(False)
    average = MovingAverage(network, 0.25)
    start = float(network.weight.detach())
    expected = start
    for step, weight in enumerate([1.0, 2.0, 5.0]):
        network.weight.data.fill_(weight)
        average.update(network, step)
        decay = average_decay(0.25, step)
        expected = decay * expected + (1 - decay) * weight
    assert [name for name, _ in average.named_buffers()] == ["weight"]
    assert average.get_buffer("weight").item() == pytest.approx(expected)
    assert expected == pytest.approx(0.25 * (2 / 11 * (0.9 + 0.1 * start) + 9 / 11 * 2) + 3.75)


def test_exchanging_twice_changes_no_bit() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    average = MovingAverage(network, 0.9)
    for parameter in network.parameters():
        parameter.data.add_(torch.rand_like(parameter))
    raw, kept = trainable_state(network), {n: b.clone() for n, b in average.named_buffers()}
    average.exchange(network)
    assert torch.equal(trainable_state(network)["0.weight"], kept["0/weight"])
    assert torch.equal(average.get_buffer("0/weight"), raw["0.weight"])
    average.exchange(network)
    assert all(torch.equal(p, raw[name]) for name, p in network.named_parameters())
    assert all(torch.equal(b, kept[name]) for name, b in average.named_buffers())


def test_the_average_is_judged_and_kept_and_the_raw_weights_train(
    sets: Splits, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed by hand beside a run: what is judged is the average, what steps is not."""
    by_hand: dict[str, torch.Tensor] = {}
    judged: list[dict[str, torch.Tensor]] = []
    raw: dict[str, torch.Tensor] = {}
    original, record = module.Supervised.optimizer_step, module.Supervised._record

    def optimizer_step(self: Any, *arguments: Any) -> None:
        if not by_hand:
            by_hand.update(trainable_state(self.network))
        decay = average_decay(0.8, self.global_step)
        original(self, *arguments)
        raw.update(trainable_state(self.network))
        for name, weight in raw.items():
            by_hand[name] = decay * by_hand[name] + (1 - decay) * weight

    def remember(self: Any) -> float:
        judged.append(trainable_state(self.network))
        return record(self)

    plain = run(sets, checkpoints)
    monkeypatch.setattr(module.Supervised, "optimizer_step", optimizer_step)
    monkeypatch.setattr(module.Supervised, "_record", remember)
    found = run(sets, checkpoints, ema=0.8)
    assert len(judged) == 4
    for name, weight in by_hand.items():
        torch.testing.assert_close(judged[-1][name], weight, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(judged[-1][name], raw[name]) for name in raw)
    # Training itself does not know of the average: its losses are those of a run without one.
    assert steps(found) == steps(plain)
    assert found.history["select_nll"][1:] != plain.history["select_nll"][1:]
    best = found.history["best_epoch"]
    logits = predict_logits(found.classifier, sets.select, small_settings().data)
    loss = refinement_loss(logits, sets.select.labels)
    assert loss == pytest.approx(found.history["select_nll"][best], abs=1e-5)


def steps(done: Finetuned) -> list[float]:
    curves = done.history["curves"]
    names, values = curves["name"], curves["value"]
    return [value for name, value in zip(names, values, strict=True) if name == "train/loss"]


def test_it_does_not_go_with_an_optimizer_that_averages() -> None:
    finetuning = {"optimizer": {"name": "schedule_free"}, "ema": 0.9}
    with pytest.raises(ConfigError, match=r"finetune: ema does not go with optimizer\.name"):
        parse_settings({"finetune": finetuning})
    with pytest.raises(ConfigError, match=r"finetune\.ema: .*less than 1"):
        parse_settings({"finetune": {"ema": 1.0}})
    with pytest.raises(ConfigError, match=r"schedule: linear does not go with optimizer\.name"):
        parse_settings({"finetune": {"optimizer": {"name": "schedule_free"}, "schedule": "linear"}})
