# SPDX-License-Identifier: MIT
"""The end of a step against the same arithmetic written out."""

import pytest
import torch

from lib.optim.update import apply_update


def with_gradients(*gradients: list[float]) -> tuple[list[torch.Tensor], torch.optim.SGD]:
    parameters = [torch.ones(len(g), requires_grad=True) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    groups = [{"params": [p]} for p in parameters]
    return parameters, torch.optim.SGD(groups, lr=123.0)


def test_without_clipping_the_gradient_is_taken_as_it_is():
    (a, b), optimizer = with_gradients([3.0, 0.0], [4.0])
    norm = apply_update(optimizer, lr=0.1, grad_clip=0.0)
    assert norm.ndim == 0 and norm.item() == pytest.approx(5.0)
    assert a.tolist() == pytest.approx([0.7, 1.0])
    assert b.tolist() == pytest.approx([0.6])


def test_clipping_is_by_the_norm_over_all_groups():
    (a, b), optimizer = with_gradients([3.0, 0.0], [4.0])
    norm = apply_update(optimizer, lr=1.0, grad_clip=0.5)
    assert norm.item() == pytest.approx(5.0)  # as it was before
    assert a.tolist() == pytest.approx([1 - 0.3, 1.0], rel=1e-5)
    assert b.tolist() == pytest.approx([1 - 0.4], rel=1e-5)


def test_a_short_gradient_is_not_made_longer():
    (a,), optimizer = with_gradients([0.3])
    apply_update(optimizer, lr=1.0, grad_clip=10.0)
    assert a.tolist() == pytest.approx([0.7])


def test_gradients_are_gone_afterwards_and_unused_parameters_left_alone():
    (a, b), optimizer = with_gradients([1.0], [1.0])
    b.grad = None
    apply_update(optimizer, lr=0.5, grad_clip=1.0)
    assert a.grad is None and b.grad is None
    assert b.tolist() == [1.0]


def test_the_scaled_gradient_is_unscaled_before_it_is_clipped():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    (a,), optimizer = with_gradients([3.0, 4.0])
    scaler.scale(torch.zeros(()))  # creates the scale, as scaling a loss does
    a.grad *= 1024.0
    norm = apply_update(optimizer, lr=1.0, grad_clip=1.0, scaler=scaler)
    assert norm.item() == pytest.approx(5.0)
    assert a.tolist() == pytest.approx([1 - 0.6, 1 - 0.8], rel=1e-5)


def test_an_overflow_skips_the_step_and_lowers_the_scale():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    (a,), optimizer = with_gradients([float("inf")])
    scaler.scale(torch.zeros(()))
    apply_update(optimizer, lr=1.0, grad_clip=0.0, scaler=scaler)
    assert a.tolist() == [1.0]
    assert scaler.get_scale() == 512.0
