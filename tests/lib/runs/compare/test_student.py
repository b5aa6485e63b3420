# SPDX-License-Identifier: MIT
"""Student's t against scipy's."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lib.runs.compare.student import quantile, two_sided


@given(st.floats(-1e3, 1e3), st.floats(0.5, 500))
def test_the_probability_of_a_t(t, df):
    wanted = 2 * stats.t.sf(abs(t), df)
    assert two_sided(t, df) == pytest.approx(wanted, rel=1e-10, abs=1e-300)


@given(st.floats(0.01, 0.9999), st.floats(1, 500))
def test_the_quantile(level, df):
    assert quantile(level, df) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-9)


@pytest.mark.parametrize(("df", "t"), [(1, 12.706), (4, 2.776), (9, 2.262), (30, 2.042)])
def test_the_values_of_printed_tables(df, t):
    assert quantile(0.95, df) == pytest.approx(t, abs=5e-4)


def test_the_ends():
    assert two_sided(0.0, 3) == 1.0
    assert two_sided(math.inf, 3) == two_sided(1e200, 3) == 0.0
    assert two_sided(1e-9, 1e6) == pytest.approx(1.0)
