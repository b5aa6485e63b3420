# SPDX-License-Identifier: MIT
"""Counts and shapes of whole weights when each rank of a group holds some of their rows.

With `group` None each rank holds whole weights, and nothing is communicated.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def totals(
    counts: Sequence[int], device: torch.device, group: dist.ProcessGroup | None
) -> list[int]:
    """Each count summed over the ranks. A collective: all ranks must call it."""
    if group is None:
        return list(counts)
    tensor = torch.tensor(counts, device=device)
    dist.all_reduce(tensor, group=group)
    return tensor.tolist()


def whole_shapes(
    weights: Iterable[Tensor], group: dist.ProcessGroup | None
) -> list[tuple[int, ...]]:
    """The shapes of the weights without sharding. A collective: all ranks must call it."""
    weights = list(weights)
    rows = totals([weight.shape[0] for weight in weights], weights[0].device, group)
    return [(n, *weight.shape[1:]) for n, weight in zip(rows, weights, strict=True)]
