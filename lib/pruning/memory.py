# SPDX-License-Identifier: MIT
"""What movement scores remember of every weight: float32, contiguous, in logical order."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from lib.pruning.scores import Score


def new_memory(score: Score, weights: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """By name: zeros to accumulate in, the weights as they are now, or nothing at all."""
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
    groups: Mapping[Parameter, Mapping[str, Any]],
) -> None:
    """Add -lr·g·w, with the gradient (clipped, masked) and the weight that a step starts from.

    groups: the optimizer's parameter group of each weight, which has its `lr`.
    """
    for name, weight in weights.items():
        if weight.grad is not None:
            memory[name].addcmul_(weight.grad, weight, value=-float(groups[weight]["lr"]))
