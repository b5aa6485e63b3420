# SPDX-License-Identifier: MIT
"""The ranks of an evaluation share its examples: each counts once, all take as many turns."""

import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.train.evaluation import eval_batches
from lib.train.runtime import Runtime
from lib.train.stop import StopRequest

NOT_STOPPED = StopRequest()


def on_ranks(n: int, batch_size: int, world_size: int) -> list[list[tuple[slice, int]]]:
    runtimes = [Runtime(torch.device("cpu"), "float32", r, world_size) for r in range(world_size)]
    return [list(eval_batches(n, batch_size, runtime, NOT_STOPPED)) for runtime in runtimes]


@given(st.integers(1, 100), st.integers(1, 40), st.integers(1, 7))
def test_each_example_counts_once_and_no_rank_waits_for_another(n, batch_size, world_size):
    ranks = on_ranks(n, batch_size, world_size)
    counted = [i for batches in ranks for rows, weight in batches if weight for i in range(n)[rows]]
    assert sorted(counted) == list(range(n))
    assert len({len(batches) for batches in ranks}) == 1
    for rows, weight in (batch for batches in ranks for batch in batches):
        assert 1 <= rows.stop - rows.start <= batch_size and weight in (0, rows.stop - rows.start)


def test_it_notices_a_stop_request_between_batches():
    seen = []
    with StopRequest() as stop, pytest.raises(KeyboardInterrupt):
        for rows, _ in eval_batches(10, 2, Runtime(torch.device("cpu"), "float32", 0, 1), stop):
            seen.append(rows.start)
            if rows.start == 4:
                signal.raise_signal(signal.SIGINT)
    assert seen == [0, 2, 4]
