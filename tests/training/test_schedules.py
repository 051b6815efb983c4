"""Learning-rate schedules by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch

from roadwork.settings import FinetuneSettings
from roadwork.training.schedules import SCHEDULES, adamw, rate_factor, scheduled, warmup_steps

NAMES = pytest.mark.parametrize("name", SCHEDULES)

# 2 steps of warm-up and 10 after them: factors at the steps 2, 4, 7, 10, 11 and 12.
BY_HAND = {
    "cosine": [
        1.0,
        0.02 + 0.49 * (1 + math.cos(0.2 * math.pi)),
        0.51,
        0.02 + 0.49 * (1 + math.cos(0.8 * math.pi)),
        0.02 + 0.49 * (1 + math.cos(0.9 * math.pi)),
        0.02,
    ],
    "linear": [1.0, 0.804, 0.51, 0.216, 0.118, 0.02],
    "constant": [1.0] * 6,
    "warmup_stable_decay": [1.0, 1.0, 1.0, 1.0, 1 - 0.98 * math.sqrt(0.5), 0.02],
}


def test_the_settings_know_every_schedule() -> None:
    assert set(get_args(FinetuneSettings.model_fields["schedule"].annotation)) == set(SCHEDULES)
    assert set(BY_HAND) == set(SCHEDULES)


@NAMES
def test_by_hand(name: str) -> None:
    found = [rate_factor(name, step, 12, 2) for step in (2, 4, 7, 10, 11, 12)]
    assert found == pytest.approx(BY_HAND[name], abs=1e-12)


@NAMES
def test_every_schedule_warms_up_alike_and_never_stands_still(name: str) -> None:
    assert [rate_factor(name, step, 12, 2) for step in (0, 1)] == pytest.approx([1 / 3, 2 / 3])
    factors = [rate_factor(name, step, 200, warmup_steps(200)) for step in range(200)]
    assert min(factors) > 0
    after = factors[warmup_steps(200) :]
    assert after[0] == 1.0
    assert all(a >= b for a, b in pairwise(after))
    # A run that is longer than was said stays at the end.
    assert rate_factor(name, 500, 200, 10) == rate_factor(name, 200, 200, 10)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (19, 1), (40, 2), (1000, 50)])
def test_the_warmup_is_a_twentieth(steps: int, warmup: int) -> None:
    assert warmup_steps(steps) == warmup


@NAMES
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_rate(name: str, steps: int) -> None:
    factors = [rate_factor(name, step, steps, warmup_steps(steps)) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@NAMES
def test_all_groups_follow_and_a_resumed_schedule_goes_on(name: str) -> None:
    def made() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        groups = [{"params": [weights[0]], "lr": 1.0}, {"params": [weights[1]], "lr": 0.25}]
        optimizer = torch.optim.SGD(groups)
        given = scheduled(optimizer, name, 40)
        assert given["interval"] == "step"
        return optimizer, given["scheduler"]

    optimizer, schedule = made()
    for step in range(30):
        factor = rate_factor(name, step, 40, 2)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([factor, 0.25 * factor])
        optimizer.step()
        schedule.step()
        if step == 10:
            state = (optimizer.state_dict(), schedule.state_dict())
            optimizer, schedule = made()
            optimizer.load_state_dict(state[0])
            schedule.load_state_dict(state[1])


def test_adamw_follows_the_cosine() -> None:
    module = torch.nn.Linear(2, 2)
    optimizer, given = adamw(module, 0.1, 0.3, 40)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 3)
    for _ in range(21):
        optimizer.step()
        given["scheduler"].step()
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.1 * 0.51)
