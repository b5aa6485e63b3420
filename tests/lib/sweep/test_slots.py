# SPDX-License-Identifier: MIT
"""How a machine is divided among trainings."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.sweep.slots import chosen_gpus, cores, make_slots, parse_jobs


@given(st.integers(0, 40), st.integers(0, 9), st.one_of(st.none(), st.integers(1, 400)))
def test_the_machine_is_never_overcommitted(jobs, gpus, threads):
    names = [str(number) for number in range(gpus)]
    environ = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    slots = make_slots(jobs, names, environ)
    assert len(slots) == (jobs or gpus or 1)
    total = sum(slot.threads for slot in slots)
    assert total <= max(cores(), len(slots)) and all(slot.threads >= 1 for slot in slots)
    assert threads is None or all(slot.threads <= threads for slot in slots)
    used = [slot.gpu for slot in slots]
    counts = [used.count(name) for name in names]
    assert not counts or max(counts) - min(counts) <= 1
    assert gpus or set(used) == {""}


def test_what_a_training_is_told():
    first, second = make_slots(2, ["3"], {})
    assert first.environment()["CUDA_VISIBLE_DEVICES"] == "3"
    assert int(second.environment()["OMP_NUM_THREADS"]) == max(1, len(os.sched_getaffinity(0)) // 2)
    (alone,) = make_slots(0, [], {})
    assert "CUDA_VISIBLE_DEVICES" not in alone.environment()


def test_gpus_that_are_hidden_do_not_count():
    assert chosen_gpus("", 4, {}) == ["0", "1", "2", "3"]
    assert chosen_gpus("1 0", 4, {}) == ["1", "0"]
    hidden = {"CUDA_VISIBLE_DEVICES": "2,GPU-abc"}
    assert chosen_gpus("all", 4, hidden) == ["2", "GPU-abc"]
    assert chosen_gpus("1", 4, hidden) == ["GPU-abc"]
    assert chosen_gpus("none", 4, {}) == chosen_gpus("", 4, {"CUDA_VISIBLE_DEVICES": ""}) == []


@pytest.mark.parametrize(
    ("given", "present", "said"),
    [
        ("all", 0, "has no GPU"),
        ("0", 0, "there are none"),
        ("2", 2, "there are 0 to 1"),
        ("-1", 2, "-1 is not a GPU"),
        ("cuda:0", 2, "cuda:0 is not a GPU"),
        ("0,0", 2, "named twice"),
    ],
)
def test_gpus_that_are_not_there(given, present, said):
    with pytest.raises(BadUse, match=said):
        chosen_gpus(given, present, {})


@pytest.mark.parametrize("given", ["0", "-2", "1.5", "two", "99999"])
def test_jobs_that_are_no_number(given):
    with pytest.raises(BadUse, match="a number from 1 to"):
        parse_jobs(given)
