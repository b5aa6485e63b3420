# SPDX-License-Identifier: MIT
"""Device, precision, seed and rank, as configured and as found."""

import os

import pytest
import torch

from lib.errors import BadUse, Failure
from lib.train import runtime
from lib.train.runtime import setup


@pytest.fixture(autouse=True)
def torch_as_it_was():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.fp32_precision = "none"


@pytest.fixture
def cpu_with(monkeypatch):
    def able(**capabilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    return able


def test_the_seed_decides_the_numbers():
    setup(5, "cpu", "float32", 1)
    first = torch.rand(4)
    setup(5, "cpu", "float32", 1)
    assert torch.equal(first, torch.rand(4))
    setup(6, "cpu", "float32", 1)
    assert not torch.equal(first, torch.rand(4))


def test_threads():
    setup(0, "cpu", "float32", 1)
    assert torch.get_num_threads() == 1
    setup(0, "cpu", "float32", 0)
    assert torch.get_num_threads() == 1  # 0: left alone
    setup(0, "cpu", "float32", 2)
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_more_threads_than_any_core_could_want_are_refused(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 20)
    with pytest.raises(BadUse, match="NUM_THREADS=81: this machine has 20 cores; at most 80"):
        setup(0, "cpu", "float32", 81)
    setup(0, "cpu", "float32", 1)


def test_a_missing_device_is_a_failure_that_lists_the_others():
    with pytest.raises(Failure, match=r"DEVICE=cuda: .*it finds: .*cpu"):
        setup(0, "cuda", "auto", 0)


def test_auto_finds_a_device():
    best = "cuda" if torch.cuda.is_available() else None
    best = best or ("mps" if torch.backends.mps.is_available() else "cpu")
    assert setup(0, "auto", "float32", 0).device.type == best


@pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16"])
def test_auto_precision_is_bfloat16_where_the_processor_has_units_for_it(cpu_with, unit):
    cpu_with(**{unit: True})
    assert setup(0, "cpu", "auto", 0).precision == "bfloat16"
    assert setup(0, "cpu", "auto", 0, matmul_bound=False).precision == "float32"


def test_auto_precision_is_float32_elsewhere(cpu_with):
    cpu_with(avx2=True, amx_bf16=False)
    assert setup(0, "cpu", "auto", 0).precision == "float32"


def test_autocast_computes_in_the_chosen_precision():
    a = torch.ones(2, 2)
    for precision in ("float32", "bfloat16", "float16"):
        with setup(0, "cpu", precision, 0).autocast():
            assert (a @ a).dtype == getattr(torch, precision)


def test_cpu_operations_without_a_deterministic_form_are_refused():
    setup(0, "cpu", "float32", 0)
    assert torch.are_deterministic_algorithms_enabled()


def test_rank_comes_from_the_launcher(monkeypatch):
    rank = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    for name, value in {**rank, "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    found = setup(0, "cpu", "float32", 0)
    assert (found.rank, found.world_size, found.is_main) == (3, 4, False)


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(BadUse, match=r"LOCAL_RANK=2: .*at most 2 \(NPROC=2\)"):
        runtime._device("cuda", 2)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((8, 0), "bfloat16"), ((7, 5), "float16"), ((7, 0), "float16"), ((6, 1), "float32")],
)
def test_a_gpu_gets_what_it_has_units_for(monkeypatch, capability, precision):
    """From Ampere on bfloat16; Volta and Turing emulate it, and have tensor cores for float16."""

    def supported(including_emulation=True):
        return capability >= (8, 0) or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert runtime._fastest_precision(torch.device("cuda")) == precision


def test_float16_is_refused_where_nobody_tried_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(BadUse, match="float16 is for CUDA devices: on mps take bfloat16"):
        setup(0, "mps", "float16", 0)
