# SPDX-License-Identifier: MIT
"""Axes: what is drawn lies in the range, evenly, and Optuna's distributions say the same."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.sweep.distributions import Range, Values, axis_of, distribution

BOUNDS = st.floats(1e-6, 1e6) | st.integers(1, 10**6)


@given(BOUNDS, BOUNDS, st.booleans(), st.randoms())
def test_what_is_drawn_lies_in_the_range(one, other, log, generator):
    if one == other:
        return
    axis = axis_of({"min": min(one, other), "max": max(one, other), "log": log})
    text = axis.draw(generator)
    assert axis.low <= float(text) <= axis.high
    assert axis.whole == text.lstrip("-").isdigit()


def test_draws_are_spread_as_the_axis_says():
    generator = random.Random(0)

    def share(axis, below):
        return sum(float(axis.draw(generator)) < below for _ in range(2000)) / 2000

    assert share(Range(0.0, 1.0), 0.25) == pytest.approx(0.25, abs=0.04)
    assert share(Range(1e-4, 1.0, log=True), 1e-3) == pytest.approx(0.25, abs=0.04)
    assert share(Range(1, 4), 2) == pytest.approx(0.25, abs=0.04)
    stepped = {Range(0.1, 0.9, step=0.2).draw(generator) for _ in range(200)}
    assert stepped == {"0.1", "0.3", "0.5", "0.7", "0.9"}
    assert {Values(("a", "b")).draw(generator) for _ in range(50)} == {"a", "b"}


@given(st.floats(0.01, 10), st.integers(1, 50), st.floats(-5, 5), st.randoms())
def test_steps_stay_in_the_range(step, count, low, generator):
    axis = Range(low, low + step * count, step=step)
    value = float(axis.draw(generator))
    assert axis.low <= value <= axis.high
    steps = (value - low) / step
    assert math.isclose(steps, round(steps), abs_tol=1e-6)


def test_optunas_distributions():
    import optuna.distributions as optuna

    def of(axis, integer=False):
        return distribution(axis, float, integer)

    assert of(Values(("0.5", "1"))) == optuna.CategoricalDistribution([0.5, 1.0])
    assert of(Range(1, 2)) == optuna.FloatDistribution(1.0, 2.0)
    assert of(Range(0.1, 2, log=True)) == optuna.FloatDistribution(0.1, 2.0, log=True)
    assert of(Range(2, 8, step=2), integer=True) == optuna.IntDistribution(2, 8, step=2)
    assert of(Range(2, 8, log=True), integer=True) == optuna.IntDistribution(2, 8, log=True)
