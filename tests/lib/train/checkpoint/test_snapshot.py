# SPDX-License-Identifier: MIT
"""A snapshot is the state of one moment, whatever happens to the training's tensors later."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.train.checkpoint.snapshot import Snapshot
from tests.lib.train.checkpoint.states import STATES, same, tensors_in

MANY = settings(max_examples=60)


def pointers(state):
    return [tensor.untyped_storage().data_ptr() for tensor in tensors_in(state)]


@MANY
@given(STATES)
def test_a_snapshot_is_the_same_state_elsewhere(state):
    taken = Snapshot().take(state)
    assert same(taken, state)
    assert not {p for p in pointers(state) if p} & set(pointers(taken))


@MANY
@given(st.lists(STATES, min_size=2, max_size=4))
def test_one_snapshot_takes_any_states_in_turn(states):
    snapshot = Snapshot()
    for state in states:
        assert same(snapshot.take(state), state)


@MANY
@given(STATES)
def test_what_changes_afterwards_is_not_in_it(state):
    snapshot = Snapshot()
    taken, again = snapshot.take(state), Snapshot().take(state)
    for tensor in tensors_in(state):
        tensor.zero_()
    state["new"] = 1
    state.clear()
    assert same(taken, again)


def test_plain_values_are_copied_too():
    state = {"best": {"val/loss": 1.0}, "betas": [0.9, (0.5, [1])]}
    taken = Snapshot().take(state)
    state["best"]["val/loss"] = 2.0
    state["betas"][1][1].append(2)
    assert taken == {"best": {"val/loss": 1.0}, "betas": [0.9, (0.5, [1])]}


def test_buffers_are_allocated_once():
    model = torch.nn.Linear(30, 20)
    snapshot = Snapshot()
    first = pointers(snapshot.take(model.state_dict()))
    assert pointers(snapshot.take(model.state_dict())) == first
    assert snapshot.nbytes == 4 * (30 * 20 + 20)


def test_buffers_of_what_is_gone_are_freed():
    snapshot = Snapshot()
    snapshot.take({"a": torch.zeros(1000), "b": torch.zeros(10)})
    snapshot.take({"b": torch.zeros(10)})
    assert snapshot.nbytes == 40


def test_shared_memory_stays_shared():
    """Tied weights, and views of one tensor, with whatever else is in it."""
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"a": whole, "again": whole, "row": whole[1], "column": [whole[:, 2]]}
    taken = Snapshot().take(state)
    taken["a"].add_(100)
    assert taken["again"] is not whole and torch.equal(taken["again"], taken["a"])
    assert taken["row"].tolist() == [104, 105, 106, 107]
    assert taken["column"][0].tolist() == [102, 106, 110]
    assert len(set(pointers(taken))) == 1


def test_empty_tensors_share_nothing():
    taken = Snapshot().take([torch.empty(0), torch.empty(0, 3, dtype=torch.int64)])
    assert [tuple(t.shape) for t in taken] == [(0,), (0, 3)]
    assert taken[1].dtype == torch.int64


def test_what_a_state_dict_keeps_beside_its_items_is_kept():
    model = torch.nn.BatchNorm1d(3)
    taken = Snapshot().take(model.state_dict())
    assert taken._metadata[""] == {"version": 2}
    torch.nn.BatchNorm1d(3).load_state_dict(taken)


def test_parameters_are_taken_without_their_gradient():
    parameter = torch.nn.Parameter(torch.ones(3))
    taken = Snapshot().take({"w": parameter})["w"]
    assert type(taken) is torch.Tensor and not taken.requires_grad


def test_a_sparse_tensor_is_copied():
    values = torch.tensor([0.0, 3.0]).to_sparse()
    taken = Snapshot().take({"s": values})["s"]
    assert taken.is_sparse and torch.equal(taken.to_dense(), torch.tensor([0.0, 3.0]))


def test_it_takes_what_autograd_is_using():
    weight = torch.ones(3, requires_grad=True)
    loss = (weight**2).sum()
    Snapshot().take({"w": weight})
    loss.backward()
    assert weight.grad.tolist() == [2, 2, 2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_from_a_gpu_it_arrives_in_pinned_memory_as_it_was():
    weight = torch.arange(2**24, device="cuda", dtype=torch.float32)
    snapshot = Snapshot()
    for value in (1.0, 2.0):
        weight.fill_(value)
        taken = snapshot.take({"w": weight, "row": weight[5:7]})
        weight.zero_()  # queued after the copy
        snapshot.wait()
        assert taken["w"].is_pinned() and taken["w"].device.type == "cpu"
        assert taken["w"].unique().tolist() == taken["row"].unique().tolist() == [value]
