# SPDX-License-Identifier: MIT
"""Batches that are read ahead are those that were asked for, in whatever order."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.train.batch_finding import BatchPlan
from lib.train.micro_batches import MicroBatches

PLANS = [BatchPlan(8, 1, micro) for micro in (8, 4, 2)]


def stream(step: int, plan: BatchPlan):
    for number, rows in plan.shares(0, step):
        yield torch.tensor([number, rows.start // plan.micro]), torch.tensor([plan.micro])


# A step, its plan, and how many of its micro-batches are taken before the caller leaves off.
ASKED = st.tuples(st.integers(0, 5), st.sampled_from(PLANS), st.integers(0, 4))


@given(st.lists(ASKED, max_size=8))
def test_each_step_gets_its_own_micro_batches(asked):
    batches = MicroBatches(stream)
    for step, plan, taken in asked:
        expected = [(step, m, plan.micro) for m in range(min(taken, plan.micro_steps))]
        found = zip(range(taken), batches.of(step, plan), strict=False)
        assert [(*x.tolist(), *y.tolist()) for _, (x, y) in found] == expected


def test_following_steps_come_from_one_stream():
    begun = []

    def counted(step, plan):
        begun.append(step)
        return stream(step, plan)

    batches = MicroBatches(counted)
    for step in (4, 5, 6, 2):
        assert len(list(batches.of(step, PLANS[1]))) == 2
    assert begun == [4, 2]


@pytest.mark.parametrize(("ranks", "micro"), [(1, 24), (2, 12), (2, 3), (4, 2), (3, 1)])
def test_the_shares_of_the_ranks_make_up_each_batch(ranks, micro):
    plan = BatchPlan(24, ranks, micro)
    rows: dict[int, list[int]] = {5: [], 6: []}
    for rank in range(ranks):
        for step, part in islice(plan.shares(rank, 5), 2 * plan.micro_steps):
            rows[step] += range(24)[part]
    assert rows == {5: [*range(24)], 6: [*range(24)]}
