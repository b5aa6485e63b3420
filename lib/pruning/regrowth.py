# SPDX-License-Identifier: MIT
"""Exchange of weights by gradient, at constant sparsity (GraNet: Liu et al. 2021; RigL)."""

from collections.abc import Mapping, Sequence

import torch.distributed as dist
from torch import Tensor

from lib.pruning.select import Scored, ScoreError, prune_smallest
from lib.pruning.shards import totals
from lib.pruning.slices import count_kept, slice_of


def exchange(
    items: Sequence[Scored],
    gradients: Mapping[str, Tensor | None],
    share: float,
    group: dist.ProcessGroup | None,
) -> None:
    """In each layer, drop `share` of the kept weights and regrow as many by gradient.

    Dropped are those that score smallest, regrown those pruned before whose dense gradient is
    largest; a regrown weight starts from zero, as does its optimizer state. A layer in which fewer
    weights are pruned than would be exchanged exchanges that many.

    Nothing happens when a gradient is not finite: then a GradScaler voids the step. Raises
    ScoreError when a layer has no gradient.
    """
    if missing := [item.name for item in items if gradients[item.name] is None]:
        raise ScoreError(f"{', '.join(missing)}: regrowth needs a gradient, and there is none")
    finite = all(bool(gradients[item.name].isfinite().all()) for item in items)
    device = items[0].mask.device
    (broken,) = totals([int(not finite)], device, group)
    if broken:
        return
    for item in items:
        gradient = gradients[item.name]
        kept, total = totals([count_kept(item.mask), item.mask.numel()], device, group)
        pruned = total - kept
        n = min(round(share * kept), pruned)
        if n == 0:
            continue
        pruned_before = 1 - item.mask  # what is dropped now does not return now
        prune_smallest([item], pruned + n, group=group)
        asleep = pruned_before.clone()
        prune_smallest([_by_gradient(item.name, asleep, gradient)], kept + n, group=group)
        item.mask.add_(pruned_before - asleep)


def _by_gradient(name: str, asleep: Tensor, gradient: Tensor) -> Scored:
    def score(start: int, stop: int) -> Tensor:
        return (
            slice_of(gradient, start, stop).float().abs().neg_().mul_(asleep[start:stop]).add_(0.0)
        )

    # Weights between dead units have no gradient at all, and may as well return as others.
    return Scored(f"{name}, gradient", asleep, score, may_be_zero=True)
