# SPDX-License-Identifier: MIT
"""The memory of movement scores: a float32 for every weight, contiguous, in logical order."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from .scores import Score


def new_memory(score: Score, weights: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """By name, in the shapes of the weights: zeros (`accumulated`), copies of the weights
    (`initial`), or, for scores without memory, nothing.
    """
    if score.memory is None:
        return {}
    memory = {
        name: torch.zeros(w.shape, dtype=torch.float32, device=w.device)
        for name, w in weights.items()
    }
    if score.memory == "initial":
        for name, weight in weights.items():
            memory[name].copy_(weight.detach())
    return memory


@torch.no_grad()
def accumulate(
    memory: Mapping[str, Tensor],
    weights: Mapping[str, Parameter],
    param_groups: Mapping[Parameter, Mapping[str, Any]],
) -> None:
    """Add -lr·g·w (Sanh et al. 2020, eq. 5), before a step, with its clipped and masked gradient.

    param_groups: the optimizer's parameter group of each weight, for its `lr`.
    """
    for name, weight in weights.items():
        if weight.grad is not None:
            memory[name].addcmul_(weight.grad, weight, value=-float(param_groups[weight]["lr"]))
