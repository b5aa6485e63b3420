# SPDX-License-Identifier: MIT
"""Exchange of weights by gradient, at constant sparsity (GraNet: Liu et al. 2021; RigL)."""

from collections.abc import Mapping, Sequence

import torch.distributed as dist
from torch import Tensor

from .select import Scored, ScoreError, prune_smallest
from .shards import totals
from .slices import count_kept, slice_of


def exchange(
    items: Sequence[Scored],
    gradients: Mapping[str, Tensor | None],
    share: float,
    group: dist.ProcessGroup | None,
) -> None:
    """In each layer, drop `share` of the kept weights and regrow as many by gradient.

    The kept weights with the smallest scores are dropped. Of those pruned before, the ones with the
    largest |gradient| are regrown; they start from zero, as does their optimizer state. A layer
    with fewer pruned weights than would be exchanged exchanges only as many.

    gradients: by name, dense and unmasked, in the shape of the weight. share: in [0, 1). group: the
    process group that the weights are sharded over, if they are.

    Does nothing when a gradient is not finite, because a GradScaler then voids the step. Raises
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
        pruned_before = 1 - item.mask  # what is dropped now must not be regrown now
        prune_smallest([item], pruned + n, group=group)
        asleep = pruned_before.clone()
        prune_smallest([_by_gradient(item.name, asleep, gradient)], kept + n, group=group)
        item.mask.add_(pruned_before - asleep)


def _by_gradient(name: str, asleep: Tensor, gradient: Tensor) -> Scored:
    def score(start: int, stop: int) -> Tensor:
        return (
            slice_of(gradient, start, stop).float().abs().neg_().mul_(asleep[start:stop]).add_(0.0)
        )

    # Weights between dead units have a gradient of zero; they may be regrown like others.
    return Scored(f"{name}, gradient", asleep, score, may_be_zero=True)
