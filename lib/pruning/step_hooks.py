# SPDX-License-Identifier: MIT
"""Working on gradients just before an optimizer uses them, closures included."""

from collections.abc import Callable

import torch


def on_gradients(work: Callable[[], None], args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """For a step pre-hook of torch.optim: run `work` on the gradients that the step will see.

    Without a closure that is now. With one, which computes the gradients within the step, it is
    after the closure. `args`, `kwargs`: as the hook got them; returns what the hook returns.
    `work` finds gradients that are unscaled and laid out as their parameters are. It does not run
    where a GradScaler makes the step a void one.
    """
    optimizer, *rest = args
    if is_void(optimizer):
        return args, kwargs
    closure = rest[0] if rest else kwargs.get("closure")
    if closure is None:
        _settle(optimizer)
        work()
        return args, kwargs

    def closure_then_work():
        loss = closure()
        with torch.no_grad():
            _settle(optimizer)
            work()
        return loss

    return (optimizer,), {"closure": closure_then_work}


def is_void(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a GradScaler found gradients that are not finite, so that the step will do nothing.

    It calls fused optimizers all the same. Waits for the device, only under a GradScaler.
    """
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf)


@torch.no_grad()
def _settle(optimizer: torch.optim.Optimizer) -> None:
    # A GradScaler leaves the division by its scale to a fused optimizer, unless `unscale_` was
    # called. Spikes and movement are about true gradients, so it is done here, before the kernel.
    scale = getattr(optimizer, "grad_scale", None)
    if scale is not None:
        optimizer.grad_scale = None
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is None or p.grad.layout != torch.strided:
                continue
            if scale is not None:
                p.grad.div_(scale.to(p.grad.device))
            _lay_out_alike(p, optimizer.state.get(p, {}))


def _lay_out_alike(p: torch.nn.Parameter, state: dict) -> None:
    """Give gradient and state the memory format of their parameter.

    Fused kernels walk through memory without a look at strides, so that after a change of the
    model's memory format, or with the state of a run in another one, they would update each weight
    by the gradient and the moments of others.
    """
    if p.grad.stride() != p.stride():
        p.grad = torch.empty_like(p).copy_(p.grad)
    for key, t in state.items():
        if torch.is_tensor(t) and t.shape == p.shape and t.stride() != p.stride():
            state[key] = torch.empty_like(p, dtype=t.dtype).copy_(t)
