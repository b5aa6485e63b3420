# SPDX-License-Identifier: MIT
"""Working on gradients just before an optimizer uses them, closures included."""

from collections.abc import Callable

import torch


def on_gradients(work: Callable[[], None], args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """For a step pre-hook of torch.optim: run `work` on the gradients that the step will see.

    Without a closure that is now. With one, which computes the gradients within the step, it is
    after the closure. `args`, `kwargs`: as the hook got them; returns what the hook returns.
    No `work` is done on gradients for which a GradScaler makes the step a void one.
    """
    optimizer, *rest = args
    if is_void(optimizer):
        return args, kwargs
    closure = rest[0] if rest else kwargs.get("closure")
    if closure is None:
        work()
        return args, kwargs

    def closure_then_work():
        loss = closure()
        with torch.no_grad():
            work()
        return loss

    return (optimizer,), {"closure": closure_then_work}


def is_void(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a GradScaler found gradients that are not finite, so that the step will do nothing.

    It calls fused optimizers all the same. Waits for the device, only under a GradScaler.
    """
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf)
