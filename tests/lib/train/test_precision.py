# SPDX-License-Identifier: MIT
"""Trial steps choose the faster precision, where there is a choice."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lib.train import precision
from lib.train.precision import choose_precision, compile_on_gpu, faster_precision
from lib.train.runtime import Runtime
from lib.train.start import Start


@pytest.fixture
def slower(monkeypatch):
    """A step, as a function of the precision, that takes longer in the one that is named."""
    clock = [0.0]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])

    def step_slower_in(name: str):
        def step(given: str) -> None:
            clock[0] += 2.0 if given == name else 1.0

        return step

    return step_slower_in


def start(device="cpu", precision="bfloat16", resumes=False) -> Start:
    runtime = Runtime(torch.device(device), precision, 0, 1)
    return Start(runtime, "run" if resumes else None)


def settings(**given) -> SimpleNamespace:
    return SimpleNamespace(**{"PRECISION": "auto", "COMPILE": True, **given})


@pytest.mark.parametrize("slow", ["float32", "bfloat16"])
def test_the_faster_precision_is_chosen(slow, slower):
    begun = start()
    runtime = choose_precision(settings(), begun, slower(slow))
    assert runtime.precision == faster_precision(slower(slow)) != slow
    assert begun.runtime == runtime


@pytest.mark.parametrize(
    ("begun", "asked"),
    [
        (start(resumes=True), "auto"),
        (start(precision="float32"), "auto"),  # no units for bfloat16
        (start(device="cuda"), "auto"),
        (start(), "bfloat16"),
    ],
)
def test_without_a_choice_there_is_no_trial(begun, asked):
    def step(_: str) -> None:
        raise AssertionError("a trial")

    before = begun.runtime
    assert choose_precision(settings(PRECISION=asked), begun, step) == before


@pytest.mark.parametrize(
    ("device", "asked", "compiles"),
    [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)],
)
def test_compiling(device, asked, compiles):
    blocks = [nn.Linear(1, 1), nn.Linear(1, 1)]
    compile_on_gpu(settings(COMPILE=asked), start(device).runtime, blocks)
    assert [block._compiled_call_impl is not None for block in blocks] == [compiles] * 2
