# SPDX-License-Identifier: MIT
"""Batches divided: always exactly the effective batch, and never more than fits."""

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse, Failure
from lib.train.batch_finding import BatchPlan, first_guess, fit, transformer_memory

CPU = torch.device("cpu")


def sequences(plan: BatchPlan) -> int:
    return plan.world_size * plan.micro_steps * plan.micro


@given(st.integers(1, 2000), st.integers(1, 16), st.integers(1, 300))
def test_every_division_has_the_effective_batch(per_rank, world_size, micro):
    plan = BatchPlan(per_rank * world_size, world_size, 1).at_most(micro)
    assert sequences(plan) == plan.effective == per_rank * world_size
    assert plan.micro <= micro
    larger = range(plan.micro + 1, min(micro, per_rank) + 1)
    assert not any(per_rank % candidate == 0 for candidate in larger), "the largest that divides"
    while plan.micro > 1:
        smaller = plan.halved()
        assert sequences(smaller) == plan.effective
        assert smaller.micro <= plan.micro // 2
        plan = smaller


def test_a_batch_that_does_not_divide_is_refused_with_the_next_step():
    with pytest.raises(BadUse, match="multiple of 24"):
        BatchPlan(100, 4, 6)


def test_one_sequence_can_not_be_halved():
    with pytest.raises(Failure, match="SHARD"):
        BatchPlan(8, 1, 1).halved()


@pytest.mark.parametrize("limit", [1, 3, 8, 100])
def test_fit_finds_what_runs(limit):
    tried = []

    def step(plan: BatchPlan) -> None:
        tried.append(plan.micro)
        if plan.micro > limit:
            raise torch.OutOfMemoryError("injected")

    plan = fit(BatchPlan(480, 4, 24), step, CPU)
    assert plan.micro == tried[-1] <= limit
    assert sequences(plan) == 480
    assert tried == sorted(tried, reverse=True)


def test_fit_gives_up_below_one_sequence():
    def step(plan: BatchPlan) -> None:
        raise torch.OutOfMemoryError("injected")

    with pytest.raises(Failure):
        fit(BatchPlan(4, 1, 4), step, CPU)


def test_other_errors_of_the_trial_are_not_hidden():
    def step(plan: BatchPlan) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        fit(BatchPlan(4, 1, 4), step, CPU)


@pytest.mark.parametrize(("gib", "micro"), [(24, 24), (80, 96)])
def test_the_first_guess_fills_the_memory_of_the_device(gib, micro, monkeypatch):
    class Device:
        total_memory = gib * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Device)
    fixed, each = transformer_memory(124_439_808, 12, 768, 1024)
    plan = first_guess(BatchPlan(480, 1, 1), CPU, fixed, each)
    assert fixed + plan.micro * each < gib * 2**30
    assert plan.micro >= micro


def _fit_as_rank(rank: int, meeting: str, limits: tuple[int, int]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)

    def step(plan: BatchPlan) -> None:
        if plan.micro > limits[rank]:
            raise torch.OutOfMemoryError("injected")

    try:
        assert fit(BatchPlan(48, 2, 24), step, CPU).micro == min(limits)
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_the_rank_with_the_least_memory_decides_for_all(tmp_path):
    torch.multiprocessing.spawn(_fit_as_rank, (str(tmp_path / "meeting"), (24, 6)), nprocs=2)
