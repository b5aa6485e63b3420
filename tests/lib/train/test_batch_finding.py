# SPDX-License-Identifier: MIT
"""A divided batch is always exactly the effective batch, and never more than fits."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib.errors import BadUse, Failure
from lib.train import batch_finding
from lib.train.batch_finding import (
    BatchPlan,
    find_batch,
    first_guess,
    fit,
    plan_batch,
    smaller_batch,
    transformer_memory,
    try_step,
)
from lib.train.runtime import Runtime

CPU = torch.device("cpu")


def examples(plan: BatchPlan) -> int:
    return plan.world_size * plan.micro_steps * plan.micro


@given(st.integers(1, 2000), st.integers(1, 16), st.integers(1, 300))
def test_every_division_has_the_effective_batch(per_rank, world_size, micro):
    plan = BatchPlan(per_rank * world_size, world_size, 1).at_most(micro)
    assert examples(plan) == plan.effective == per_rank * world_size
    assert plan.micro <= micro
    larger = range(plan.micro + 1, min(micro, per_rank) + 1)
    assert not any(per_rank % candidate == 0 for candidate in larger), "the largest that divides"
    while plan.micro > 1:
        smaller = plan.halved()
        assert examples(smaller) == plan.effective
        assert smaller.micro <= plan.micro // 2
        plan = smaller


def test_a_batch_that_does_not_divide_is_refused_with_the_next_step():
    with pytest.raises(BadUse, match="multiple of 24"):
        BatchPlan(100, 4, 6)


def test_one_sequence_cannot_be_halved():
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
    assert examples(plan) == 480
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
    fixed, each = transformer_memory(124_439_808, 12, 768, 1024, outputs=50304)
    plan = first_guess(BatchPlan(480, 1, 1), CPU, fixed, each)
    assert fixed + plan.micro * each < gib * 2**30
    assert plan.micro >= micro


def settings(**given) -> SimpleNamespace:
    fixed = {"HYPER_PARAM_AUTO": False, "BATCH_SIZE": 8, "GRAD_ACCUM": 1}
    return SimpleNamespace(**{**fixed, **given})


def ranks(world_size: int, device: str = "cpu") -> Runtime:
    return Runtime(torch.device(device), "float32", 0, world_size)


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 8))
def test_the_batch_of_a_step_is_what_is_configured_for_any_number_of_ranks(size, accum, n):
    asked = settings(BATCH_SIZE=size, GRAD_ACCUM=accum)
    if size * accum % n:
        with pytest.raises(BadUse, match=rf"BATCH_SIZE={size} × .* multiple of {n}, such as"):
            plan_batch(asked, ranks(n))
        return
    plan = plan_batch(asked, ranks(n))
    assert examples(plan) == size * accum
    assert plan.micro <= max(1, size // n), "no rank holds more than its share of BATCH_SIZE"
    batch = range(size * accum)
    shares = [batch[plan.rows(r, m)] for r in range(n) for m in range(plan.micro_steps)]
    assert [example for share in shares for example in share] == list(batch), "each once"


def test_auto_has_the_batch_it_is_told():
    plan = plan_batch(settings(HYPER_PARAM_AUTO=True, TARGET_EFFECTIVE_BATCH=480), ranks(4))
    assert examples(plan) == 480 and plan.micro == 8
    with pytest.raises(BadUse, match=r"TARGET_EFFECTIVE_BATCH=10: .* such as 8 or 12"):
        plan_batch(settings(HYPER_PARAM_AUTO=True, TARGET_EFFECTIVE_BATCH=10), ranks(4))


class TestTrials:
    """Without a GPU: queries of its memory are replaced, the decisions are real."""

    @pytest.fixture(autouse=True)
    def tried(self, monkeypatch) -> list[int]:
        monkeypatch.setattr(batch_finding, "release", lambda device: None)
        monkeypatch.setattr(batch_finding, "_is_tight", lambda device, headroom: False)
        self.tried: list[int] = []

    def find(self, plan: BatchPlan, device: str = "cuda", **given) -> BatchPlan:
        def room_for_two(plan: BatchPlan) -> None:
            self.tried.append(plan.micro)
            if plan.micro > 2:
                raise torch.OutOfMemoryError("injected")

        runtime = ranks(plan.world_size, device)
        return find_batch(settings(**given), runtime, plan, room_for_two, lambda: plan.at_most(6))

    def test_several_ranks_halve_a_batch_that_does_not_fit(self, capsys):
        assert self.find(BatchPlan(32, 2, 8)) == BatchPlan(32, 2, 2)
        assert self.tried == [8, 4, 2]
        assert "out of memory with 32 examples" in capsys.readouterr().err

    def test_a_batch_that_fits_stays_and_nothing_is_said(self, capsys):
        plan = BatchPlan(8, 2, 2)
        assert self.find(plan) == plan
        assert (self.tried, capsys.readouterr().err) == ([2], "")

    def test_auto_begins_with_its_guess(self):
        assert self.find(BatchPlan(12, 1, 1), HYPER_PARAM_AUTO=True) == BatchPlan(12, 1, 1)
        assert self.tried == [6, 3, 1]

    @pytest.mark.parametrize(("world_size", "device"), [(1, "cuda"), (2, "cpu")])
    def test_where_a_trial_says_nothing_there_is_none(self, world_size, device):
        plan = BatchPlan(16, world_size, 8)
        assert self.find(plan, device) == plan
        assert self.tried == []


def test_a_trial_leaves_weights_gradients_statistics_and_random_numbers():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
    x = torch.rand(2, 1, 3, 3)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.random.get_rng_state()
    try_step(model, lambda: model(x).sum(), CPU)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_trial_out_of_memory_leaves_no_gradients():
    model = nn.Linear(4, 1)

    def fails_late() -> torch.Tensor:
        model(torch.rand(2, 4)).sum().backward()
        raise torch.OutOfMemoryError("injected")

    with pytest.raises(torch.OutOfMemoryError):
        try_step(model, fails_late, CPU)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_rank_that_runs_out_of_memory_says_what_to_do():
    with pytest.raises(Failure, match=r"in step 7, .* less than 4 examples"):
        smaller_batch(BatchPlan(8, 2, 4), nn.Linear(1, 1), ranks(2), 7)


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
