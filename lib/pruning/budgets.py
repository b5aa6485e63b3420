# SPDX-License-Identifier: MIT
"""How many units each layer loses, so that together they lose exactly k.

    layer  the same share of each layer
    erk    Erdős–Rényi kernel (Evci et al. 2020, RigL): the kept share of a layer is proportional to
           the sum of the sides of its weight over their product, so that small layers keep more
    ramp   the pruned share rises linearly from 0.7·c (first layer) to 1.3·c (last), where c is such
           that the total is k. It is capped at 0.95, or at (1 + k/n)/2 of n units if that is more,
           so that no layer vanishes

The scope `global` needs no budgets: all layers are ranked together.
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
    """Units to have pruned in each layer; they sum to k, and none is less than in `pruned`.

    scope: layer, erk or ramp. shapes: of the whole weights, not of shards, in the order of the
    layers. units: weights, groups or channels of each layer; pruned: how many of them are pruned
    already. Requires Σ pruned ≤ k ≤ Σ units.
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
    """xᵢ = unitsᵢ·min(cap, c·weightsᵢ), with c such that Σx = total."""
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
    """Round to integers in [pruned, units] that sum to k, largest remainder first."""
    whole = [min(max(math.floor(x), p), n) for x, p, n in zip(wanted, pruned, units, strict=True)]
    by_remainder = sorted(range(len(units)), key=lambda i: (whole[i] - wanted[i], i))
    while (missing := k - sum(whole)) != 0:
        step = 1 if missing > 0 else -1
        order = by_remainder if step > 0 else by_remainder[::-1]
        free = [i for i in order if pruned[i] <= whole[i] + step <= units[i]]
        for i in free[: abs(missing)]:
            whole[i] += step
    return whole
