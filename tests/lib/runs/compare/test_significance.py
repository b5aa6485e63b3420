# SPDX-License-Identifier: MIT
"""The tests say what scipy.stats says, and Holm's correction what one computes by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lib.runs.compare import significance
from lib.runs.compare.significance import PAIRED, WELCH, against_first, compare, holm

A = {0: 0.21, 1: 0.24, 2: 0.22, 3: 0.25}
B = {0: 0.23, 1: 0.25, 2: 0.25, 3: 0.27}
C = {4: 0.31, 5: 0.22, 6: 0.28}


def values(sample):
    return list(sample.values())


def test_the_same_seeds_are_compared_by_a_paired_t_test():
    found, wanted = compare(A, B), stats.ttest_rel(values(B), values(A))
    assert found.test == PAIRED
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert (found.statistic, found.df) == pytest.approx((wanted.statistic, wanted.df), rel=1e-9)
    interval = wanted.confidence_interval(0.95)
    assert found.interval(0.95) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.difference == pytest.approx(0.02)


def test_pairs_are_of_the_same_seed_in_whatever_order():
    shuffled = {seed: B[seed] for seed in (2, 0, 3, 1)}
    assert compare(A, shuffled).p == pytest.approx(compare(A, B).p)


@pytest.mark.parametrize("other", [C, {0: 0.23, 1: 0.25, 9: 0.25}, {0: 0.23, 1: 0.25}])
def test_other_seeds_are_compared_by_welchs_t_test(other):
    """Also if some of the seeds are the same."""
    found = compare(A, other)
    wanted = stats.ttest_ind(values(other), values(A), equal_var=False)
    assert found.test == WELCH
    assert (found.statistic, found.df) == pytest.approx((wanted.statistic, wanted.df), rel=1e-9)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    interval = wanted.confidence_interval(0.99)
    assert found.interval(0.99) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_the_interval_of_a_mean():
    wanted = stats.t.interval(0.9, 3, np.mean(values(A)), stats.sem(values(A)))
    assert significance.mean_interval(values(A), 0.9) == pytest.approx(wanted, rel=1e-9)
    assert significance.std(values(A)) == pytest.approx(np.std(values(A), ddof=1))
    assert all(map(math.isnan, significance.mean_interval([1.0], 0.9)))


@pytest.mark.parametrize(
    ("first", "other", "why"),
    [
        ({0: 1.0}, A, "n = 1 in the first row"),
        (A, {0: 1.0}, "n = 1 in this row"),
        (A, {**B, 0: math.nan}, "a value is not finite"),
        (A, {**B, 0: math.inf}, "a value is not finite"),
        ({0: 0.1, 1: 0.3}, {0: 0.3, 1: 0.5}, "no spread between the seeds"),  # but for rounding
        ({0: 0.1, 1: 0.1}, {2: 0.1, 3: 0.1}, "no spread between the seeds"),
    ],
)
def test_what_cannot_be_tested_is_not(first, other, why):
    found = compare(first, other)
    assert (found.test, found.why_not, found.significant) == ("", why, False)
    assert math.isnan(found.p)


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04, times 4 3 2 1: 0.04 0.06 0.06 0.04, which must not fall
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni(ps):
    corrected = holm(ps)
    for p, found in zip(ps, corrected, strict=True):
        assert p <= found <= min(1.0, p * len(ps)) or found == pytest.approx(p)
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert [corrected[i] for i in order] == sorted(corrected)


def test_the_correction_counts_only_what_was_tested():
    better = {seed: value + 0.05 + 0.001 * seed for seed, value in A.items()}
    found = against_first([A, B, {0: 1.0}, better], 0.05)
    assert [o.why_not for o in found] == ["", "n = 1 in this row", ""]
    assert [found[0].p_holm, found[2].p_holm] == holm([found[0].p, found[2].p])
    assert math.isnan(found[1].p_holm)
    assert found[2].significant
    assert found[0].significant == (found[0].p_holm < 0.05)


def test_a_difference_that_only_the_correction_makes_insignificant():
    alone = against_first([A, C], 0.4)
    assert alone[0].p < 0.4 and alone[0].significant
    many = against_first([A, *[C] * 5], 0.4)
    assert not any(outcome.significant for outcome in many)
    assert many[0].p == alone[0].p


# No subnormal numbers: scipy's variance underflows, and ours does not.
thousandths = st.integers(-(10**6), 10**6).map(lambda number: number / 1000)
samples = st.dictionaries(st.integers(0, 9), thousandths, min_size=2, max_size=8)


@given(samples, samples)
def test_any_samples(first, other):
    found = compare(first, other)
    if not found.test:
        assert found.why_not
        return
    assert 0 <= found.p <= 1
    low, high = found.interval(0.95)
    assert (found.p < 0.05) == (not low <= 0 <= high) or found.p == pytest.approx(0.05)
    back = compare(other, first)
    assert (back.test, back.difference) == (found.test, -found.difference)
    assert back.p == pytest.approx(found.p)
    wanted = (
        stats.ttest_rel([other[s] for s in first], values(first))
        if found.test == PAIRED
        else stats.ttest_ind(values(other), values(first), equal_var=False)
    )
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-5, abs=1e-12)
