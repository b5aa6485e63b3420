# SPDX-License-Identifier: MIT
"""The learning rate against PyTorch's own schedulers, and at the ends."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from lib.errors import BadUse
from lib.optim.from_settings import schedule_from_settings
from lib.optim.schedule import SCHEDULES, lr_at


def rates(schedule: str, total: int, **options) -> list[float]:
    fixed = {"base_lr": 0.5, "warmup_steps": 0, "min_ratio": 0.0, **options}
    return [lr_at(i, schedule=schedule, total_steps=total, **fixed) for i in range(total)]


def reference(scheduler_type, total: int, **options) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = scheduler_type(optimizer, **options)
    values = []
    for _ in range(total):
        values.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return values


def test_a_warm_up_beyond_the_end_of_the_training_is_refused():
    """The number of steps is known here; with MAX_STEPS it was when the values were assigned."""
    values = {"LEARNING_RATE": 0.1, "LR_SCHEDULE": "cosine", "MIN_LR_RATIO": 0.0}
    settings = SimpleNamespace(**values, WARMUP_STEPS=31, MAX_STEPS=0)
    with pytest.raises(BadUse, match="WARMUP_STEPS=31: the training has 30 steps"):
        schedule_from_settings(settings, 30)
    assert schedule_from_settings(settings, 31)(30) == 0.1
    settings.MAX_STEPS = 2  # a short trial with the default warm-up
    assert schedule_from_settings(settings, 2)(1) < 0.1


def test_cosine_is_pytorchs():
    expected = reference(CosineAnnealingLR, 37, T_max=37, eta_min=0.05)
    assert rates("cosine", 37, min_ratio=0.1) == pytest.approx(expected, rel=1e-12)


def test_linear_is_pytorchs():
    expected = reference(LinearLR, 37, start_factor=1.0, end_factor=0.2, total_iters=37)
    assert rates("linear", 37, min_ratio=0.2) == pytest.approx(expected, rel=1e-12)


def test_constant_stays():
    assert rates("constant", 9, min_ratio=None) == [0.5] * 9


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_rises_in_a_straight_line_to_the_base_rate(schedule):
    values = rates(schedule, 20, warmup_steps=5)
    assert values[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert values[5] == 0.5  # the schedule begins at its top
    assert all(a >= b > 0 for a, b in pairwise(values[5:]))


def test_warmup_longer_than_the_training():
    assert rates("cosine", 3, warmup_steps=10) == pytest.approx([0.05, 0.1, 0.15])


def test_beyond_the_end_it_stays_at_the_minimum():
    options = {"base_lr": 0.5, "warmup_steps": 2, "total_steps": 10, "min_ratio": 0.1}
    assert lr_at(10, schedule="cosine", **options) == pytest.approx(0.05)
    assert lr_at(500, schedule="cosine", **options) == pytest.approx(0.05)
