# SPDX-License-Identifier: MIT
"""How many units each layer gives up, so that together they give up exactly k.

    layer  every layer the same share
    erk    Erdős–Rényi kernel (Evci et al. 2020, RigL): the kept share of a layer goes with the sum
           of the sides of its weight over their product, so that small layers keep more
    ramp   the pruned share rises from 0.7 (first layer) to 1.3 (last) times the same c, capped: at
           0.95, or halfway from the share of all to 1 where that is more, lest a layer vanish

(The scope `global` needs no budgets: all layers stand in one selection.)
"""

import math
from collections.abc import Sequence

SCOPES = ("global", "layer", "erk")


def budgets(
    scope: str,
    shapes: Sequence[tuple[int, ...]],
    units: Sequence[int],
    k: int,
    pruned: Sequence[int],
) -> list[int]:
    """Units to have pruned in each layer: their sum is k, and none falls below `pruned`.

    shapes: of the whole weights, not of shards, in the order of the layers; units: how many each
    layer has (weights, groups or channels). Requires Σ pruned ≤ k ≤ Σ units.
    """
    if scope == "erk":
        sides = [sum(shape) / max(math.prod(shape), 1) for shape in shapes]
        kept = _fill(sides, units, sum(units) - k)
        wanted = [n - x for n, x in zip(units, kept, strict=True)]
    elif scope == "ramp":
        last = max(len(units) - 1, 1)
        cap = max(0.95, (1.0 + k / sum(units)) / 2.0)
        slopes = [0.7 + 0.6 * i / last for i in range(len(units))]
        wanted = _fill(slopes, units, k, cap)
    else:
        wanted = _fill([1.0] * len(units), units, k)
    return _whole(wanted, units, k, pruned)


def _fill(
    weights: Sequence[float], units: Sequence[int], total: float, cap: float = 1.0
) -> list[float]:
    """xᵢ = unitsᵢ·min(cap, c·weightsᵢ) with Σx = total: what is capped goes to the others."""
    full: set[int] = set()
    while True:
        open_ = [i for i in range(len(units)) if i not in full]
        mass = sum(weights[i] * units[i] for i in open_)
        rest = total - sum(cap * units[i] for i in full)
        c = rest / mass if mass else 0.0
        over = {i for i in open_ if c * weights[i] > cap}
        if not over:
            return [cap * n if i in full else c * weights[i] * n for i, n in enumerate(units)]
        full |= over


def _whole(
    wanted: Sequence[float], units: Sequence[int], k: int, pruned: Sequence[int]
) -> list[int]:
    """Round to integers that sum to k (largest remainder first), within [pruned, units]."""
    whole = [min(max(math.floor(x), p), n) for x, p, n in zip(wanted, pruned, units, strict=True)]
    by_remainder = sorted(range(len(units)), key=lambda i: (whole[i] - wanted[i], i))
    while (missing := k - sum(whole)) != 0:
        step = 1 if missing > 0 else -1
        order = by_remainder if step > 0 else by_remainder[::-1]
        free = [i for i in order if pruned[i] <= whole[i] + step <= units[i]]
        for i in free[: abs(missing)]:
            whole[i] += step
    return whole
