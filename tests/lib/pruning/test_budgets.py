# SPDX-License-Identifier: MIT
"""How the k pruned units are spread over the layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.pruning.budgets import budgets

SHAPES = [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]  # LeNet-5
UNITS = [150, 2400, 48000, 10080, 840]


@st.composite
def problems(draw):
    shapes = draw(st.lists(st.tuples(*[st.integers(1, 40)] * 2), min_size=1, max_size=8))
    units = [a * b for a, b in shapes]
    pruned = [draw(st.integers(0, n)) for n in units]
    return shapes, units, draw(st.integers(sum(pruned), sum(units))), pruned


@given(st.sampled_from(["layer", "erk", "ramp"]), problems())
def test_sum_to_k_within_what_is_pruned_and_what_there_is(scope, problem):
    shapes, units, k, pruned = problem
    found = budgets(scope, shapes, units, k, pruned)
    assert sum(found) == k
    assert all(p <= x <= n for p, x, n in zip(pruned, found, units, strict=True))


@given(st.sampled_from(["layer", "erk", "ramp"]), st.lists(st.floats(0, 0.99), min_size=2))
def test_monotone_along_a_schedule(scope, sparsities):
    before = [0] * len(UNITS)
    for sparsity in sorted(sparsities):
        k = max(round(sparsity * sum(UNITS)), sum(before))
        found = budgets(scope, SHAPES, UNITS, k, before)
        assert all(a <= b for a, b in zip(before, found, strict=True))
        before = found


def test_layer_gives_each_the_same_share():
    assert budgets("layer", SHAPES, UNITS, round(0.9 * sum(UNITS)), [0] * 5) == [
        135,
        2160,
        43200,
        9072,
        756,
    ]


@pytest.mark.parametrize(("sparsity", "full"), [(0.9, []), (0.5, [0, 4])])
def test_erk_keeps_in_proportion_to_the_sum_of_the_sides(sparsity, full):
    k = round(sparsity * sum(UNITS))
    kept = [n - x for n, x in zip(UNITS, budgets("erk", SHAPES, UNITS, k, [0] * 5), strict=True)]
    sides = [6 + 1 + 5 + 5, 16 + 6 + 5 + 5, 120 + 400, 84 + 120, 10 + 84]
    assert all(kept[i] == UNITS[i] for i in full)  # would keep more than they have
    others = [i for i in range(5) if i not in full]
    rest, total = sum(kept[i] for i in others), sum(sides[i] for i in others)
    for i in others:
        assert kept[i] == pytest.approx(rest * sides[i] / total, abs=1)


def test_ramp_rises_from_seven_to_thirteen_tenths():
    units = [1000] * 4
    found = budgets("ramp", [(10, 100)] * 4, units, 2000, [0] * 4)
    assert found == [350, 450, 550, 650]


def test_ramp_leaves_something_of_every_layer():
    units = [1000] * 4
    capped = budgets("ramp", [(10, 100)] * 4, units, 3600, [0] * 4)
    assert sum(capped) == 3600 and capped[-1] == 950 and capped == sorted(capped)
    capped = budgets("ramp", [(10, 100)] * 4, units, 3920, [0] * 4)
    assert sum(capped) == 3920 and capped[-1] == 990
