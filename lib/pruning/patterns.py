# SPDX-License-Identifier: MIT
"""What is pruned as a unit: a weight, two of four weights, or an output channel.

A pattern turns the scores of a layer into scores of its units, and a choice of units into a mask of
weights. `unstructured` is None: its units are the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .schedules import Schedule


class Pattern(Protocol):
    """What a row of PATTERNS offers."""

    share: float  # share of a unit's weights that becomes zero when the unit is pruned

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError when the layer's shape does not fit."""

    def unit_scores(self, scores: Tensor) -> Tensor:
        """(units,) float32 from the scores in the shape of the weight."""

    def unit_mask(self, mask: Tensor) -> Tensor:
        """(units,) uint8, 1 = not pruned, from the mask in the shape of the weight."""

    def prune(self, mask: Tensor, scores: Tensor, unit_mask: Tensor) -> None:
        """Clear, in the mask, the weights of the units whose unit_mask is 0."""


@dataclass(frozen=True)
class TwoOfFour:
    """Groups of four along the input dimension (dim 1) lose their two smallest, ties by index.

    This is the layout of NVIDIA's sparse tensor cores. A group's score is the sum of the two scores
    that it would lose.
    """

    share: float = 0.5

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        if shape[1] % 4:
            raise ValueError(
                f"{name}: 2:4 pruning needs an input dimension that is a multiple of four, "
                f"not {shape[1]} (weight of shape {tuple(shape)}): exempt the layer "
                "(PRUNING_EXEMPT_FIRST, PRUNING_EXEMPT_LAST) or choose another pattern"
            )

    def unit_scores(self, scores: Tensor) -> Tensor:
        a, b, c, d = _fours(scores).unbind(1)
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        low2, high2 = torch.minimum(c, d), torch.maximum(c, d)
        second = torch.minimum(torch.maximum(low, low2), torch.minimum(high, high2))
        return torch.minimum(low, low2).add_(second)

    def unit_mask(self, mask: Tensor) -> Tensor:
        return _fours(mask).amin(1)

    def prune(self, mask: Tensor, scores: Tensor, unit_mask: Tensor) -> None:
        scores, fours = _fours(scores), _fours(mask)
        before = torch.ones(4, 4, dtype=torch.bool, device=mask.device).tril(-1)  # [i, j]: j < i
        mine, other = scores[:, :, None], scores[:, None, :]
        rank = ((other < mine) | ((other == mine) & before)).sum(2)
        new = (unit_mask == 0) & (fours.amin(1) == 1)
        fours = fours * ~(new[:, None] & (rank < 2))
        mask.copy_(fours.view(_last_is_input(mask).shape).movedim(-1, 1))


@dataclass(frozen=True)
class Channel:
    """Whole output channels (rows, dim 0), scored by the mean of their weights' scores."""

    share: float = 1.0

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Every weight has output channels."""

    def unit_scores(self, scores: Tensor) -> Tensor:
        return scores.flatten(1).mean(1)

    def unit_mask(self, mask: Tensor) -> Tensor:
        return mask.flatten(1).amax(1)

    def prune(self, mask: Tensor, scores: Tensor, unit_mask: Tensor) -> None:
        mask.flatten(1).mul_(unit_mask[:, None])


def _last_is_input(x: Tensor) -> Tensor:
    return x.movedim(1, -1)


def _fours(x: Tensor) -> Tensor:
    """(groups, 4): a view for a Linear's weight, a copy for a convolution's."""
    return _last_is_input(x).reshape(-1, 4)


PATTERNS: dict[str, Pattern | None] = {
    "unstructured": None,
    "2to4": TwoOfFour(),
    "channel": Channel(),
}


def check_fits(pattern: Pattern, weights: Mapping[str, Tensor], schedule: Schedule) -> None:
    """Raise ValueError when the pattern fits not all weights, or not the schedule."""
    for name, weight in weights.items():
        pattern.check(name, weight.shape)
    if schedule.target > pattern.share:
        raise ValueError(
            f"target sparsity {schedule.target}: this pattern prunes at most {pattern.share}"
        )
    if schedule.regrowth:
        raise ValueError("regrowth is possible with the unstructured pattern only")
