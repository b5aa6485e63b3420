# SPDX-License-Identifier: MIT
"""Real numbers in Kconfig."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.intervals import Interval, interval_of, parse_real


@given(st.floats(allow_nan=False))
def test_what_repr_writes_is_read_back(number):
    assert parse_real(repr(number)) == number


@pytest.mark.parametrize("text", ["", "x", "nan", "1_0", " 1", "1 ", "1,5", "0x1", "١", "1e"])
def test_what_is_no_number(text):
    assert parse_real(text) is None


def test_bounds():
    half_open = interval_of("Words.\nReal number in [0, 1).\n")
    assert half_open == Interval(0, 1, True, False)
    assert str(half_open) == "[0, 1)"
    assert [value in half_open for value in (-1e-9, 0, 0.999, 1)] == [False, True, True, False]
    positive = interval_of("Real number in (0, inf].")
    assert [value in positive for value in (0, 5e-324, math.inf)] == [False, True, True]


@pytest.mark.parametrize("text", ["", "A real number.", "Real number in [0, 1).\nMore words."])
def test_other_help_texts_declare_nothing(text):
    assert interval_of(text) is None
