# SPDX-License-Identifier: MIT
"""Optimizers by name against one step worked out by hand, and which parameters decay."""

import copy

import pytest
import torch
from torch import nn

from lib.optim import OPTIMIZERS, build_optimizer
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule

LR, DECAY, BETA1, BETA2, EPS, MOMENTUM = 0.01, 0.1, 0.8, 0.9, 1e-6, 0.9
W0 = torch.tensor([[1.0, -2.0]])
B0 = torch.tensor([0.5])
GW = [torch.tensor([[0.3, -0.1]]), torch.tensor([[-0.2, 0.4]])]
GB = [torch.tensor([0.7]), torch.tensor([-0.6])]


def linear() -> nn.Linear:
    model = nn.Linear(2, 1)
    model.load_state_dict({"weight": W0.clone(), "bias": B0.clone()})
    return model


def build(model: nn.Module, name: str, **changes) -> torch.optim.Optimizer:
    options = {"momentum": MOMENTUM, "nesterov": False, "betas": (BETA1, BETA2), "eps": EPS}
    if name == "adamwprune":
        options["pruner"] = Pruner({"weight": model.weight}, Schedule(0.0, total_steps=9))
    return build_optimizer(model, name, lr=LR, weight_decay=DECAY, **{**options, **changes})


def two_steps(name: str, **changes) -> tuple[torch.Tensor, torch.Tensor]:
    model = linear()
    optimizer = build(model, name, **changes)
    for gw, gb in zip(GW, GB, strict=True):
        model.weight.grad, model.bias.grad = gw.clone(), gb.clone()
        optimizer.step()
    return model.weight.detach(), model.bias.detach()


def sgd_by_hand(w, gradients, decay, nesterov=False):
    velocity = None
    for g in gradients:
        g = g + decay * w
        velocity = g if velocity is None else MOMENTUM * velocity + g
        w = w - LR * (g + MOMENTUM * velocity if nesterov else velocity)
    return w


def adam_by_hand(w, gradients, decay, *, decoupled):
    m = v = torch.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        if decoupled:  # Loshchilov and Hutter 2019, algorithm 2
            w = w - LR * decay * w
        else:
            g = g + decay * w
        m = BETA1 * m + (1 - BETA1) * g  # Kingma and Ba 2015, algorithm 1
        v = BETA2 * v + (1 - BETA2) * g * g
        w = w - LR * (m / (1 - BETA1**t)) / ((v / (1 - BETA2**t)).sqrt() + EPS)
    return w


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov):
    weight, bias = two_steps("sgd", nesterov=nesterov, betas=(None, None), eps=None)
    torch.testing.assert_close(weight, sgd_by_hand(W0, GW, DECAY, nesterov))
    torch.testing.assert_close(bias, sgd_by_hand(B0, GB, 0.0, nesterov))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_and_adamw(name):
    weight, bias = two_steps(name, momentum=None)
    decoupled = name == "adamw"
    torch.testing.assert_close(weight, adam_by_hand(W0, GW, DECAY, decoupled=decoupled))
    torch.testing.assert_close(bias, adam_by_hand(B0, GB, 0.0, decoupled=decoupled))


def test_matrices_decay_and_biases_and_norms_do_not():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    optimizer = build(model, "adamw")
    decaying, rest = optimizer.param_groups
    assert (decaying["weight_decay"], rest["weight_decay"]) == (DECAY, 0.0)
    assert {p.ndim for p in decaying["params"]} == {2, 4}
    assert {p.ndim for p in rest["params"]} == {1}
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(list(model.parameters()))


def test_frozen_parameters_are_left_out():
    model = linear()
    model.bias.requires_grad_(False)
    assert [g["params"][0] is model.weight for g in build(model, "sgd").param_groups] == [True]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_dict_continues_exactly(name):
    """A step, a copy through state_dict, another step: the same as two steps in one go."""
    expected = two_steps(name)
    model = linear()
    optimizer = build(model, name)
    model.weight.grad, model.bias.grad = GW[0].clone(), GB[0].clone()
    optimizer.step()
    successor = build(model, name)
    successor.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    model.weight.grad, model.bias.grad = GW[1].clone(), GB[1].clone()
    successor.step()
    assert torch.equal(model.weight, expected[0]) and torch.equal(model.bias, expected[1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_kernels_are_fused(name):
    assert all(group["fused"] for group in build(linear(), name).param_groups)
