# SPDX-License-Identifier: MIT
"""Optimizers that frameworks wrap, copy, pickle or void keep their pruner."""

import copy
import pickle

import pytest
import torch
from torch import nn

from lib.optim.adamwprune import AdamWPrune
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.targets import prunable

PLAN = Schedule(0.5, 100, start=2, end=8, frequency=2)


@pytest.fixture
def accelerator():
    accelerate = pytest.importorskip("accelerate", reason="not installed: make check-reach")
    yield accelerate.Accelerator(cpu=True)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def made():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    return net, AdamWPrune(net.parameters(), Pruner(prunable(net), PLAN), lr=0.01, fused=True)


def train(net, optimizer, start, stop):
    for step in range(start, stop):
        torch.manual_seed(step)
        optimizer.zero_grad()
        net(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()


@pytest.mark.reach
@pytest.mark.parametrize("way", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_copies_of_what_accelerate_prepared_go_on_alike(accelerator, way):
    net, optimizer = accelerator.prepare(*made())
    train(net, optimizer, 0, 4)
    other, other_optimizer = way((net, optimizer))
    train(net, optimizer, 4, 12)
    train(other, other_optimizer, 4, 12)
    assert all(map(torch.equal, net.parameters(), other.parameters()))
    pruner = other_optimizer.optimizer.pruner
    pruner.verify()
    assert pruner.weights["0.weight"] is other[0].weight
    assert pruner.pruned == round(0.5 * 45)


@pytest.mark.reach
def test_a_step_that_a_scaler_voids_prunes_nothing_under_accelerate(accelerator):
    net, plain = made()
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    net, optimizer = accelerator.prepare(net, plain)
    for step in range(6):
        loss = net(torch.full((2, 6), 1.0 + step)).square().mean()
        accelerator.scaler.scale(loss).backward()
        if step == 1:
            net[0].weight.grad[0, 0] = torch.inf
        optimizer.step()
        optimizer.zero_grad()
    assert plain.pruner.step == 5
    assert plain.pruner.pruned > 0
    plain.pruner.verify()


def test_parameters_that_were_replaced_are_said_and_not_trained_dense():
    net, optimizer = made()
    train(net, optimizer, 0, 3)
    net[0].weight = nn.Parameter(net[0].weight.detach().clone())
    optimizer.param_groups[0]["params"][0] = net[0].weight
    with pytest.raises(RuntimeError, match=r"no longer trains 0\.weight: others were put"):
        train(net, optimizer, 3, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_masks_follow_a_model_that_is_moved_after_the_optimizer_was_made():
    net, optimizer = made()
    net.cuda()
    for _ in range(10):
        optimizer.zero_grad()
        net(torch.randn(8, 6, device="cuda")).square().mean().backward()
        optimizer.step()
    optimizer.pruner.verify()
    assert {mask.device.type for mask in optimizer.pruner.masks.values()} == {"cuda"}
    assert optimizer.pruner.pruned == round(0.5 * 45)
