# SPDX-License-Identifier: MIT
"""Trial steps choose the faster precision and the fastest kernels, where there is a choice."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lib.errors import BadUse
from lib.train import precision
from lib.train.precision import (
    Trial,
    choose_precision,
    compile_on_gpu,
    faster_precision,
    fastest_kernels,
    parse_kernels,
)
from lib.train.runtime import Runtime
from lib.train.start import Start

TABLE = {"attention": ("blocks", "whole", "sdpa"), "gelu": ("sigmoid", "pytorch")}
DEFAULT = {"attention": "blocks", "gelu": "sigmoid"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMWPRUNE_CACHE", str(tmp_path))
    return tmp_path


class Machine:
    """`costs`: seconds of a step in each precision, and what each kernel adds to them."""

    def __init__(self, monkeypatch, **costs):
        self.clock, self.costs, self.calls = 0.0, costs, 0
        monkeypatch.setattr(precision.time, "perf_counter", lambda: self.clock)

    def step(self, given, kernels):
        self.calls += 1
        self.clock += self.costs.get(given, 1.0)
        self.clock += sum(self.costs.get(name, 1.0) for name in kernels.values())

    def trial(self, table=TABLE, default=None, about=None):
        return Trial(
            self.step,
            about or {"width": 8},
            table,
            default or {},
            lambda k: self.step("bfloat16", k),
        )


def start(device="cpu", precision="bfloat16", resumes=False, kernels=None) -> Start:
    runtime = Runtime(torch.device(device), precision, 0, 1, kernels or {})
    return Start(runtime, "run" if resumes else None)


def settings(**given) -> SimpleNamespace:
    return SimpleNamespace(**{"PRECISION": "auto", "COMPILE": True, "KERNELS": "auto", **given})


@pytest.mark.parametrize("slow", ["float32", "bfloat16"])
def test_the_faster_precision_is_chosen(slow, monkeypatch):
    begun, trial = start(), Machine(monkeypatch, **{slow: 9.0}).trial(table={})
    runtime = choose_precision(settings(), begun, trial)
    assert runtime.precision == faster_precision(trial, {}) != slow
    assert begun.runtime == runtime and runtime.kernels == {}


def test_load_that_comes_late_does_not_decide_between_precisions(monkeypatch):
    machine = Machine(monkeypatch, float32=0.9)

    def step(precision, kernels):
        machine.step(precision, kernels)
        if machine.calls > 4:  # of eight, the first two of which do not count
            machine.clock += 9.0

    assert faster_precision(Trial(step, {}), {}) == "float32"


@pytest.mark.parametrize(
    ("begun", "asked"),
    [
        (start(resumes=True), {}),
        (start(precision="float32"), {}),  # no units for bfloat16
        (start(device="cuda"), {}),
        (start(), {"PRECISION": "bfloat16", "KERNELS": "gelu=pytorch"}),
        (start(precision="float32"), {"PRECISION": "float32"}),
    ],
)
def test_without_a_choice_there_is_no_trial(begun, asked, monkeypatch):
    before, machine = begun.runtime, Machine(monkeypatch)
    runtime = choose_precision(settings(**asked), begun, machine.trial())
    assert runtime.precision == before.precision and machine.calls == 0
    assert runtime.kernels in ({}, DEFAULT, {**DEFAULT, "gelu": "pytorch"})
    assert (runtime.kernels == {}) == (before.device.type == "cuda")


def test_the_fastest_kernels_are_chosen_one_operation_after_the_other(monkeypatch):
    trial = Machine(monkeypatch, whole=0.5, sdpa=0.7, pytorch=1.5).trial()
    assert fastest_kernels(trial) == {"attention": "whole", "gelu": "sigmoid"}
    runtime = choose_precision(settings(PRECISION="bfloat16"), start(), trial)
    assert runtime.kernels == {"attention": "whole", "gelu": "sigmoid"}


def test_a_kernel_needs_a_margin_to_replace_the_default_of_the_machine(monkeypatch):
    machine = Machine(monkeypatch, bfloat16=0.0, whole=0.98)  # 1 % of the part
    assert fastest_kernels(machine.trial()) == DEFAULT
    of_the_machine = {"attention": "whole", "gelu": "pytorch"}
    found = fastest_kernels(machine.trial(default=of_the_machine))
    assert found == of_the_machine
    machine.costs["whole"] = 0.9
    assert fastest_kernels(machine.trial())["attention"] == "whole"


def test_one_lucky_turn_does_not_make_a_kernel_the_fastest(monkeypatch):
    machine, turns = Machine(monkeypatch), []

    def part(kernels):
        turns.append(kernels["gelu"])
        lucky = kernels["gelu"] == "pytorch" and turns.count("pytorch") == 3
        machine.clock += 0.01 if lucky else 0.1

    trial = Trial(machine.step, {}, {"gelu": ("sigmoid", "pytorch")}, {}, part)
    assert fastest_kernels(trial) == {"gelu": "sigmoid"}


def test_float32_has_the_default_kernels_whatever_is_faster_in_bfloat16(monkeypatch):
    trial = Machine(monkeypatch, bfloat16=9.0, whole=0.1).trial()
    runtime = choose_precision(settings(), start(), trial)
    assert (runtime.precision, runtime.kernels) == ("float32", DEFAULT)


def test_the_precision_is_compared_with_the_kernels_that_it_would_have(monkeypatch):
    """With blocks, bfloat16 is slower than float32; with the whole matrix it is faster."""
    trial = Machine(monkeypatch, bfloat16=1.5, whole=0.1).trial()
    assert faster_precision(trial, DEFAULT) == "float32"
    runtime = choose_precision(settings(), start(), trial)
    assert runtime.precision == "bfloat16" and runtime.kernels["attention"] == "whole"


def test_what_was_found_is_remembered_for_the_same_machine_model_and_batch(monkeypatch, cache):
    machine = Machine(monkeypatch, whole=0.1)
    first = choose_precision(settings(), start(), machine.trial())
    tries = machine.calls
    machine.costs = {"sdpa": 0.1}
    assert choose_precision(settings(), start(), machine.trial()) == first
    assert machine.calls == tries
    other = choose_precision(settings(), start(), machine.trial(about={"width": 16}))
    assert other.kernels["attention"] == "sdpa" and machine.calls > tries
    monkeypatch.setattr(precision.torch, "get_num_threads", lambda: 99)
    assert choose_precision(settings(), start(), machine.trial()).kernels["attention"] == "sdpa"


def test_a_run_that_goes_on_keeps_its_own_unless_others_are_asked_for(monkeypatch):
    own = {"attention": "whole", "gelu": "pytorch"}
    trial = Machine(monkeypatch).trial()
    begun = start(resumes=True, kernels=own)
    assert choose_precision(settings(), begun, trial).kernels == own
    begun = start(resumes=True, kernels=own)
    asked = settings(KERNELS="attention=sdpa")
    assert choose_precision(asked, begun, trial).kernels == {**DEFAULT, "attention": "sdpa"}


def test_kernels_by_name():
    assert parse_kernels("auto", TABLE) is None
    assert parse_kernels("", TABLE) == {}
    assert parse_kernels(" gelu=pytorch  attention=sdpa", TABLE) == {
        "gelu": "pytorch",
        "attention": "sdpa",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("atention=whole", "did you mean attention"),
        ("attention=hole", "did you mean whole"),
        ("attention", "no implementation ''"),
        ("gelu=sigmoid gelu=pytorch", "twice"),
    ],
)
def test_kernels_that_are_not_there_are_refused(text, says, monkeypatch):
    with pytest.raises(BadUse, match=says):
        choose_precision(settings(KERNELS=text), start(), Machine(monkeypatch).trial())


@pytest.mark.parametrize(
    ("device", "asked", "compiles"),
    [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)],
)
def test_compiling(device, asked, compiles):
    blocks = [nn.Linear(1, 1), nn.Linear(1, 1)]
    compile_on_gpu(settings(COMPILE=asked), start(device).runtime, blocks)
    assert [block._compiled_call_impl is not None for block in blocks] == [compiles] * 2
