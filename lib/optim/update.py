# SPDX-License-Identifier: MIT
"""The end of a training step: unscale → prune → clip → step.

    loss.backward()
    grad_norm = apply_update(optimizer, lr=lr, grad_clip=1.0, pruner=pruner)

All models share it, so that two runs differ in their settings only.
"""

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ..pruning.build import Unpruned
from ..pruning.pruner import Pruner


def apply_update(
    optimizer: torch.optim.Optimizer,
    *,
    lr: float,
    grad_clip: float,
    scaler: torch.amp.GradScaler | None = None,
    pruner: Pruner | Unpruned | None = None,
) -> Tensor:
    """Update the optimizer's parameters from their gradients, then set the gradients to None.

    lr: for all parameter groups. grad_clip: the largest allowed 2-norm of the gradient over all
    parameters together; a larger gradient is scaled down to it. 0: no clipping. scaler: given when
    it scaled the loss (float16). pruner: attached to `optimizer`; prunes when its schedule says so.

    Returns the 2-norm before clipping, of the masked gradient, as a 0-d tensor on the gradients'
    device. Waits for the GPU only where masks are updated, or a scaler is given.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    if scaler is not None:
        scaler.unscale_(optimizer)
    if pruner is not None:
        pruner.prepare()
    parameters = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    grad_norm = get_total_norm([p.grad for p in parameters])
    if grad_clip:
        clip_grads_with_norm_(parameters, grad_clip, grad_norm)
    if scaler is not None:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm
