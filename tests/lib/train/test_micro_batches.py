# SPDX-License-Identifier: MIT
"""Batches that are read ahead are those that were asked for, in whatever order."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.train.batch_finding import BatchPlan
from lib.train.micro_batches import MicroBatches

PLANS = [BatchPlan(8, 1, micro) for micro in (8, 4, 2)]


def read(plan: BatchPlan, step: int, micro_step: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([step, micro_step]), torch.tensor([plan.micro])


# A step, its plan, and how many of its micro-batches are taken before the caller leaves off.
ASKED = st.tuples(st.integers(0, 5), st.sampled_from(PLANS), st.integers(0, 4))


@given(st.lists(ASKED, max_size=8))
def test_each_step_gets_its_own_micro_batches(asked):
    batches = MicroBatches(read, "cpu")
    for step, plan, taken in asked:
        expected = [(step, m, plan.micro) for m in range(min(taken, plan.micro_steps))]
        found = zip(range(taken), batches.of(step, plan), strict=False)
        assert [(*x.tolist(), *y.tolist()) for _, (x, y) in found] == expected


def test_following_steps_are_read_once_and_ahead():
    seen = []

    def counted(plan, step, micro_step):
        seen.append((step, micro_step))
        return read(plan, step, micro_step)

    batches = MicroBatches(counted, "cpu")
    for step in range(3):
        assert len(list(batches.of(step, PLANS[1]))) == 2
    assert seen[:6] == [(step, m) for step in range(3) for m in range(2)]
    assert len(seen) == len(set(seen))
