# SPDX-License-Identifier: MIT
"""Scores of parameters and their optimizer state, in the form that lib/pruning/select.py ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch import Tensor

from .patterns import Pattern
from .scores import Score, State, root_eps
from .select import Scored, ScoreError
from .slices import count_kept, slice_of


def scored(
    name: str,
    weight: Tensor,
    mask: Tensor,
    score: Score,
    *,
    state: Mapping[str, Any],
    param_group: Mapping[str, Any],
    memory: Tensor | None = None,
    tensors: Sequence[Tensor] = (),
    group: dist.ProcessGroup | None = None,
) -> Scored:
    """The weights of one layer in logical order; their scores are computed a slice at a time, or
    once if the score is one of whole layers, and then held: a float32 per weight.

    weight: any shape; mask: uint8 of that shape. state, param_group: the optimizer's, for this
    weight. memory: float32 of the weight's shape, where the score has one. tensors: what becomes
    zero with the weight. group: the process group that the weight is sharded over, if it is.
    Raises ScoreError when the optimizer has no state for the weight: it has made no step, or the
    weight had no gradient.
    """
    if missing := [key for key in score.state if key not in state]:
        raise ScoreError(
            f"{name}: the optimizer has no {' and '.join(missing)} for it: it has made no step "
            "yet (let pruning start later), or the weight gets no gradient"
        )
    w = weight.detach()
    m, v = (state[key] if key in score.state else None for key in _MOMENTS)
    eps = _largest_root_eps(v, group) if score.ratio else None
    bias1 = 1.0 - param_group["betas"][0] ** float(state["step"]) if score.state else 1.0

    def score_slice(start: int, stop: int) -> Tensor:
        def part(x: Tensor | None) -> Tensor | None:
            return None if x is None else slice_of(x, start, stop).float()

        parts = State(part(m), part(v), eps, bias1, part(memory), score.power)
        return score.formula(part(w), parts)

    if score.whole:
        scores = score_slice(0, w.numel())
        return Scored(name, mask.view(-1), lambda *ends: scores[slice(*ends)].clone(), tensors)
    return Scored(name, mask.view(-1), score_slice, tensors)


_MOMENTS = ("exp_avg", "exp_avg_sq")


def _largest_root_eps(v: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    eps = root_eps(v)
    if group is not None:
        dist.all_reduce(eps, dist.ReduceOp.MAX, group=group)
    return eps


@dataclass(frozen=True, kw_only=True)
class ScoredUnits(Scored):
    """Groups or channels of one layer; `prune_weights` applies the choice to the weights."""

    weight_mask: Tensor
    weight_scores: Tensor
    pattern: Pattern

    def prune_weights(self) -> None:
        """Clear the weights of pruned units in the mask of the weights."""
        self.pattern.prune(self.weight_mask, self.weight_scores, self.mask)


def scored_units(item: Scored, mask: Tensor, pattern: Pattern) -> ScoredUnits:
    """The units of one layer. Holds all scores of the layer at once, a float32 per weight."""
    scores = item.score(0, mask.numel()).view(mask.shape)
    unit_mask = pattern.unit_mask(mask).contiguous()
    # Two weights of a pruned four are kept, so its score is not zero by itself; multiplied by 0 it
    # could become -0.0.
    unit_scores = pattern.unit_scores(scores).masked_fill_(unit_mask == 0, 0.0)

    return ScoredUnits(
        item.name,
        unit_mask,
        lambda start, stop: unit_scores[start:stop].clone(),
        weight_mask=mask,
        weight_scores=scores,
        pattern=pattern,
    )


def units_pruned(item: Scored) -> int:
    """The number of entries of the item's mask that are 0."""
    return item.mask.numel() - count_kept(item.mask)
