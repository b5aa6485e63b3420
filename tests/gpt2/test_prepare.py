# SPDX-License-Identifier: MIT
"""Which batch a GPU is given: found by trial where one rank alone could not change it later.

There need be no GPU: what asks it about its memory is replaced, the decisions are real.
"""

from types import SimpleNamespace

import pytest
import torch

from gpt2 import prepare
from lib.train import batch_finding
from lib.train.batch_finding import BatchPlan
from lib.train.runtime import Runtime


@pytest.fixture
def trials(monkeypatch) -> list[int]:
    """The micro-batches that were tried, on a GPU with room for two sequences."""
    tried = []

    def try_step(model, x, y, copies):
        tried.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("injected")

    def first_batch(settings, runtime, split, plan):
        return torch.zeros(plan.micro, 1), torch.zeros(plan.micro, 1)

    monkeypatch.setattr(prepare, "try_step", try_step)
    monkeypatch.setattr(prepare, "first_batch", first_batch)
    monkeypatch.setattr(batch_finding, "release", lambda device: None)
    monkeypatch.setattr(batch_finding, "_is_tight", lambda device, headroom: False)
    return tried


def fit(plan: BatchPlan, device: str = "cuda") -> BatchPlan:
    settings = SimpleNamespace(HYPER_PARAM_AUTO=False)
    runtime = Runtime(torch.device(device), "bfloat16", 0, plan.world_size)
    return prepare.fit_batch(settings, runtime, torch.nn.Linear(1, 1), None, plan)


def test_several_ranks_halve_a_batch_that_does_not_fit(trials, capsys):
    fitting = fit(BatchPlan(effective=32, world_size=2, micro=8))
    assert fitting == BatchPlan(effective=32, world_size=2, micro=2)
    assert trials == [8, 4, 2]
    assert "out of memory with BATCH_SIZE=8: now 32 sequences" in capsys.readouterr().err


def test_a_batch_that_fits_stays_and_nothing_is_said(trials, capsys):
    plan = BatchPlan(effective=8, world_size=2, micro=2)
    assert fit(plan) == plan
    assert (trials, capsys.readouterr().err) == ([2], "")


@pytest.mark.parametrize(("world_size", "device"), [(1, "cuda"), (2, "cpu")])
def test_where_a_trial_says_nothing_there_is_none(trials, world_size, device):
    plan = BatchPlan(effective=16, world_size=world_size, micro=8)
    assert fit(plan, device) == plan
    assert trials == []
