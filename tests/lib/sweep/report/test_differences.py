# SPDX-License-Identifier: MIT
"""Paired differences against a baseline, compared with scipy's."""

import math

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.runs.compare.export import csv_text
from lib.sweep.report.board import board_of
from lib.sweep.report.differences import differences, sign_flip
from lib.sweep.report.records import difference_records
from lib.sweep.report.tables import difference_table
from tests.lib.sweep.report.conftest import arm, cells, sweep, trial

A = [2.31, 2.29, 2.35, 2.30, 2.28]
B = [2.33, 2.32, 2.36, 2.34, 2.27]
C = [2.90, 2.70, 2.80, 2.60, 2.85]


@pytest.fixture
def board():
    table = [
        (arm("dense"), [1.5, 1.6, 1.4, 1.5, 1.45]),
        (arm("magnitude", 0.5), B),
        (arm("movement", 0.5), A),
        (arm("magnitude", 0.9), B[::-1]),
        (arm("movement", 0.9), C),
    ]
    return board_of(sweep(seeds=list("12345")), cells(table))


def test_each_is_paired_with_what_differs_in_the_baseline_alone(board):
    found = differences(board, "arm=magnitude")
    assert {d.row.label: d.baseline.label for d in found.rows} == {
        "arm=movement TARGET_SPARSITY=0.5": "arm=magnitude TARGET_SPARSITY=0.5",
        "arm=movement TARGET_SPARSITY=0.9": "arm=magnitude TARGET_SPARSITY=0.9",
    }
    assert [note.partition(":")[0] for note in found.notes] == ["arm=dense"]


def test_the_numbers_are_those_of_scipy(board):
    found = differences(board, "arm=magnitude")
    (one,) = [d for d in found.rows if d.row.params["TARGET_SPARSITY"] == 0.5]
    expected = scipy.stats.ttest_rel(A, B)
    interval = expected.confidence_interval(0.95)
    assert one.outcome.difference == pytest.approx(sum(A) / 5 - sum(B) / 5)
    assert one.outcome.interval(0.95) == pytest.approx((interval.low, interval.high))
    assert one.outcome.p == pytest.approx(expected.pvalue)
    assert (one.lower, one.higher, one.seeds) == (4, 1, (1, 2, 3, 4, 5))
    smaller, larger = sorted([expected.pvalue, scipy.stats.ttest_rel(C, B[::-1]).pvalue])
    assert found.tested == 2
    holm = sorted(d.outcome.p_holm for d in found.rows)
    assert holm == pytest.approx([2 * smaller, max(2 * smaller, larger)])


@settings(max_examples=40)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=8))
def test_sign_flips_are_those_of_scipy(pairs):
    expected = scipy.stats.permutation_test(
        (pairs, [0] * len(pairs)),
        lambda x, y, axis: (x - y).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=math.inf,
    )
    assert sign_flip(pairs) == pytest.approx(expected.pvalue)


def test_sign_flips_of_too_many_seeds_are_not_made():
    assert sign_flip([1.0] * 16) == 2 / 2**16
    assert math.isnan(sign_flip([1.0] * 17))
    assert math.isnan(sign_flip([1.0, math.nan]))


def test_a_baseline_without_the_axis_is_compared_with_all_its_values(board):
    found = differences(board, "arm=dense")
    assert len(found.rows) == 4
    assert found.notes == ()
    assert {d.baseline.label for d in found.rows} == {"arm=dense"}
    assert {row[-1].text for row in difference_table(found, board, 0).rows} == {"worse"}


def test_only_seeds_that_both_have_count():
    trials = cells([(arm("dense"), [1.0, 2.0, 4.0]), (arm("magnitude"), [1.5, 2.7])])
    trials.append(trial(9, arm("magnitude"), 4, 0.0))
    (one,) = differences(board_of(sweep(axes={}), trials), "arm=dense").rows
    assert one.seeds == (1, 2)
    assert one.outcome.difference == pytest.approx(0.6)
    assert (one.outcome.df, one.p_flip) == (1, 0.5)


def test_one_seed_is_not_tested_and_none_in_common_is_said():
    trials = cells([(arm("dense"), [1.0]), (arm("magnitude"), [1.5])])
    trials.append(trial(9, arm("movement"), 7, 0.0))
    board = board_of(sweep(axes={}), trials)
    found = differences(board, "arm=dense")
    verdicts = {row[0].text: row[-1].text for row in difference_table(found, board, 0).rows}
    assert verdicts == {
        "magnitude": "not tested: n = 1",
        "movement": "not tested: no seed has a value in both",
    }
    assert found.tested == 0
    assert csv_text(difference_records(board, found)).count("not tested") == 2


def test_each_metric_is_compared_and_counted():
    two = [{"name": "val/loss"}, {"name": "val/accuracy"}]
    points = [(name, seed) for name in ("dense", "magnitude") for seed in (1, 2, 3)]
    trials = [
        trial(i, arm(name), seed, len(name) + seed**2 * i, len(name) - seed * i)
        for i, (name, seed) in enumerate(points)
    ]
    board = board_of(sweep(axes={}, metric=two, method="nsga2", trials="9", seeds=["1"]), trials)
    found = differences(board, "arm=dense")
    assert [d.metric for d in found.rows] == [0, 1]
    assert found.tested == 2
    assert len(difference_table(found, board, 1).rows) == 1


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        ("arm=densee", "did you mean dense"),
        ("TARGET_SPARSTY=0.5", "did you mean TARGET_SPARSITY"),
        ("dens", "did you mean dense"),
        ("arm='dense", "No closing quotation"),
        ("arm=dense TARGET_SPARSITY=0.9", "no configuration has all of these"),
        (" ", "is empty"),
    ],
)
def test_a_baseline_that_is_not_there(board, baseline, said):
    with pytest.raises(BadUse, match=said):
        differences(board, baseline)


def test_a_word_alone_is_an_arm_if_there_are_arms(board):
    assert differences(board, "dense").rows == differences(board, "arm=dense").rows
    trials = cells([({"LEARNING_RATE": 0.1}, [1.0]), ({"LEARNING_RATE": 0.2}, [2.0])])
    axes = {"LEARNING_RATE": ["0.1", "0.2"]}
    with pytest.raises(BadUse, match=r'such as "LEARNING_RATE=0\.1"'):
        differences(board_of(sweep(arms=None, axes=axes), trials), "0.1")


def test_a_number_may_be_written_differently(board):
    found = differences(board, "TARGET_SPARSITY=.50")
    assert {d.row.params["TARGET_SPARSITY"] for d in found.rows} == {0.9}
