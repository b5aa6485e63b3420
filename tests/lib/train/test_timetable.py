# SPDX-License-Identifier: MIT
"""What is due after which step."""

from types import SimpleNamespace

import pytest

from lib.errors import BadUse
from lib.train.timetable import Timetable


def timetable(steps_per_epoch: int = 20, total_steps: int = 60, **given) -> Timetable:
    settings = {
        "WARMUP_STEPS": 0,
        "LOG_INTERVAL": 10,
        "EVAL_INTERVAL": 0,
        "CHECKPOINT_INTERVAL": 0,
        "CHECKPOINT_EVERY": 0,
        "HISTOGRAM_INTERVAL": None,
        "MAX_TIME": 0,
        "EARLY_STOP": 0,
        **given,
    }
    return Timetable.from_settings(SimpleNamespace(**settings), steps_per_epoch, total_steps)


def steps(is_due) -> list[int]:
    return [step for step in range(1, 61) if is_due(step)]


def test_rows_come_at_their_interval_and_after_the_first_step():
    assert steps(timetable(LOG_INTERVAL=25).logs) == [1, 25, 50]


def test_an_evaluation_is_due_after_each_epoch_and_a_checkpoint_with_it():
    due = timetable()
    assert steps(due.evaluates) == steps(due.saves) == [20, 40, 60]
    assert steps(due.draws_histograms) == []


def test_intervals_that_are_given():
    due = timetable(EVAL_INTERVAL=15, CHECKPOINT_INTERVAL=25, HISTOGRAM_INTERVAL=2)
    assert steps(due.evaluates) == [15, 30, 45, 60]
    assert steps(due.saves) == [25, 50]
    evaluations = [step for step in steps(due.evaluates) if due.draws_histograms(step)]
    assert evaluations == [30, 60]


def test_a_warm_up_may_take_all_steps_and_not_one_more():
    timetable(WARMUP_STEPS=60)
    with pytest.raises(BadUse, match=r"WARMUP_STEPS=61 .* has 60 steps: choose at most 60"):
        timetable(WARMUP_STEPS=61)
