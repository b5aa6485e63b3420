# SPDX-License-Identifier: MIT
"""The memory that an update takes while it runs, counted byte by byte."""

import tracemalloc

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib.pruning import select, slices
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule

LAYERS, SIDE = 8, 256
N = LAYERS * SIDE * SIDE


class Peak(TorchDispatchMode):
    """Counts the bytes of the storages that operations allocate and that are still alive."""

    def __init__(self, *known: torch.Tensor):
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.alive = {k: v for k, v in self.alive.items() if not v[0].expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


@pytest.fixture
def one_thread():
    """Runs all operations in the thread that counts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(fill, layers=LAYERS) -> tuple[dict[str, Parameter], torch.optim.AdamW]:
    torch.manual_seed(0)
    weights = {f"layer{i}": Parameter(fill(N // layers // SIDE, SIDE)) for i in range(layers)}
    optimizer = torch.optim.AdamW(weights.values(), lr=0.0)
    for weight in weights.values():
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    return weights, optimizer


def peak_of_an_update(weights, optimizer, score) -> int:
    """The largest number of bytes allocated at a time during an update."""
    pruner = Pruner(weights, Schedule(0.5, 9, start=2, end=2), score=score)
    pruner.attach(optimizer)
    pruner.step = 2
    state = [t for s in optimizer.state.values() for t in s.values()]
    known = [*weights.values(), *pruner.masks.values(), *pruner.memory.values(), *state]
    tracemalloc.start()  # NumPy reports to it
    try:
        with Peak(*known) as torch_side:
            pruner.update()
        return torch_side.peak + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("score", ["magnitude", "bitter7", "bitter9"])
def test_an_update_takes_less_than_a_float32_copy(one_thread, monkeypatch, score):
    monkeypatch.setitem(slices.SLICE, "cpu", 1 << 14)
    peak = peak_of_an_update(*trained(torch.randn), score)
    histograms = (LAYERS + 4) * select.BINS * 8  # small beside a real model
    assert peak - histograms < 4 * N / 4


def test_lamp_holds_a_float32_copy_and_what_one_layer_needs(one_thread, monkeypatch):
    monkeypatch.setitem(slices.SLICE, "cpu", 1 << 14)
    peak = peak_of_an_update(*trained(torch.randn), "lamp")
    histograms = (LAYERS + 4) * select.BINS * 8
    selection = 4 * N / 4
    assert 4 * N < peak - histograms < 4 * N + max(40 * N / LAYERS, selection)


@pytest.mark.parametrize("layers", [1, LAYERS])
def test_no_more_than_a_float32_copy_when_all_scores_are_equal(one_thread, monkeypatch, layers):
    """The worst case: the first digit decides nothing, and all scores are held."""
    monkeypatch.setitem(slices.SLICE, "cpu", 1 << 14)
    peak = peak_of_an_update(*trained(torch.ones, layers), "magnitude")
    histograms = (LAYERS + 4) * select.BINS * 8
    slice_bytes = 32 * slices.SLICE["cpu"]  # scores, positions and what is made of them
    assert peak - histograms < 4 * N + slice_bytes


def test_held_scores_lie_in_one_block(monkeypatch):
    """In blocks of a slice, between freed temporaries, they would fragment as much again."""
    monkeypatch.setitem(slices.SLICE, "cpu", 1 << 10)
    blocks = set()
    decide = select._decide

    def spy(items, undecided, *rest):
        blocks.update(part.scores.untyped_storage().data_ptr() for part in undecided)
        assert len(undecided) > LAYERS
        decide(items, undecided, *rest)

    monkeypatch.setattr(select, "_decide", spy)
    peak_of_an_update(*trained(torch.ones), "magnitude")
    assert len(blocks) == 1


def test_the_count_can_fail(one_thread):
    with Peak() as counted:
        kept = torch.ones(1000)
        torch.ones(500)
        del kept
        torch.ones(10)
    assert counted.peak == 4 * 1500
