# SPDX-License-Identifier: MIT
"""Sparsity as a function of the step: closed forms, properties, refusals."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.pruning.schedules import RAMPS, Schedule


@st.composite
def schedules(draw):
    total = draw(st.integers(1, 500))
    start = draw(st.integers(1, total))
    return Schedule(
        target=draw(st.floats(0, 0.999)),
        total_steps=total,
        start=start,
        end=draw(st.integers(start, total)),
        frequency=draw(st.integers(1, total)),
        ramp=draw(st.sampled_from(list(RAMPS))),
    )


@given(schedules())
def test_rises_from_zero_to_the_target_and_stays(schedule):
    values = [schedule.sparsity_at(step) for step in range(schedule.total_steps + 2)]
    assert values == sorted(values)
    assert all(value == 0.0 for value in values[: schedule.start])
    assert all(value == schedule.target for value in values[schedule.end :])


@given(schedules())
def test_the_last_update_is_at_the_end_and_none_outside(schedule):
    due = [step for step in range(schedule.total_steps + 1) if schedule.due(step)]
    assert due[0] == schedule.start and due[-1] == schedule.end
    assert all(b - a == schedule.frequency for a, b in pairwise(due[:-1]))


@pytest.mark.parametrize(
    ("ramp", "quarter"),
    [
        ("cubic", 1 - 0.75**3),
        ("linear", 0.25),
        ("late-cubic", 0.25**3),
        ("one-shot", 1.0),
    ],
)
def test_closed_forms(ramp, quarter):
    schedule = Schedule(0.8, 100, start=20, end=60, frequency=10, ramp=ramp)
    assert schedule.sparsity_at(30) == pytest.approx(0.8 * quarter)


def test_alternating_phases_end_with_a_dense_one():
    schedule = Schedule(0.8, 100, start=20, end=60, frequency=9, ramp="alternating")
    assert [s for s in range(101) if schedule.due(s)] == [24, 33, 42, 51, 60]
    values = {24: 0.8, 33: 0.0, 42: 0.8, 51: 0.0, 60: 0.8}
    expected = 0.0
    for step in range(101):
        expected = values.get(step, expected)
        assert schedule.sparsity_at(step) == expected, step


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 60), st.integers(0, 50))
def test_alternating_updates_are_where_the_sparsity_changes(start, more, frequency, rest):
    end = start + 2 * frequency + more
    schedule = Schedule(
        0.5, end + rest, start=start, end=end, frequency=frequency, ramp="alternating"
    )
    due = [step for step in range(schedule.total_steps + 1) if schedule.due(step)]
    assert start <= due[0] < start + 2 * frequency and due[-1] == end
    assert all(b - a == frequency for a, b in pairwise(due))
    values = [schedule.sparsity_at(step) for step in range(schedule.total_steps + 1)]
    assert [0] + [s for s in due if values[s] == 0] == [0, *due[1::2]]
    assert [s for s, (a, b) in enumerate(pairwise(values), 1) if a != b] == due


def test_regrowth_goes_on_to_the_end_and_fades():
    schedule = Schedule(0.8, 100, start=20, end=60, frequency=15, regrowth=0.4)
    assert [s for s in range(101) if schedule.due(s)] == [20, 35, 50, 60, 65, 80, 95]
    assert schedule.regrowth_at(50) == pytest.approx(0.2)
    assert schedule.regrowth_at(100) == pytest.approx(0.0)
    assert schedule.regrowth_at(25) == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": 1.0}, r"sparsity 1.0 is outside \[0, 1\)"),
        ({"target": -0.1}, r"sparsity -0.1 is outside \[0, 1\)"),
        ({"regrowth": 1.0}, r"regrowth 1.0 is outside \[0, 1\)"),
        ({"start": 0}, "from step 0 to 60: want 1 ≤ start ≤ end"),
        ({"start": 61}, "from step 61 to 60: want 1 ≤ start ≤ end"),
        ({"end": 101}, r"ends at step 101, after the end of training \(100\)"),
        ({"frequency": 0}, "frequency 0 is less than one step"),
        ({"ramp": "square"}, "'square' is unknown: cubic, .*, one-shot, alternating"),
        ({"ramp": "alternating", "regrowth": 0.5}, "regrowth needs weights that stay removed"),
        (
            {"ramp": "alternating", "frequency": 21},
            "no sparse and dense phase of 21 steps each fit between step 20 and 60",
        ),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**{"target": 0.5, "total_steps": 100, "start": 20, "end": 60, **changes})
