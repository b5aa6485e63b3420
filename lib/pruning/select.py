# SPDX-License-Identifier: MIT
"""Exact selection of the k smallest of many scores, without a sort.

A float32 is ordered like its bit pattern (negative numbers in reverse), so the k-th smallest
score is found digit by digit: a histogram over the upper sixteen bits names one bin, a second
one over the lower sixteen bits of the few scores in that bin names the score itself. Scores are
computed a slice at a time, twice, and never stored: the work is linear, and the transient
memory is one slice plus the scores that fall into the one bin.

Between the two passes a mask holds three values: 0 pruned, 1 kept, 2 undecided (in the bin).

Counts are integers, so nothing depends on the number of elements (2^24 is no border), on the
number of threads, or on how many ranks hold the scores: with `group` the histograms are summed
over its ranks, each holding its own shard of every tensor.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

DIGIT = 16
BINS = 1 << DIGIT
NON_FINITE = 0x7F80  # upper half of +inf; |x| from here on is inf or NaN

# Scores in a slice: small enough for the second-level cache of a core, and on a GPU few launches.
SLICE = {"cpu": 1 << 17, "cuda": 1 << 24}


class ScoreError(RuntimeError):
    """A layer's scores can not be ranked: not finite, or all zero."""


@dataclass(frozen=True)
class Scored:
    """One tensor that takes part in a selection.

    mask: uint8, 1-D and contiguous, 1 = kept, changed in place. score(start, stop) gives the
    scores of that range, 1-D float32 on the mask's device; it must give the same values when
    called again, and zero wherever the mask is 0.
    """

    name: str
    mask: Tensor
    score: Callable[[int, int], Tensor]


def prune_smallest(items: Sequence[Scored], k: int, *, group: dist.ProcessGroup | None = None):
    """Clear the masks of the smallest scores until exactly `k` entries of all items are 0.

    What is pruned already stays pruned and counts towards k. Equal scores: the lower item goes
    first, then the lower index (of the lower rank, where the items are sharded over `group`).

    Returns the histogram of the scores that were ranked: counts by upper sixteen bits in
    ascending order, int64 of shape (65536,).

    Raises ScoreError naming the layer when a score is infinite or NaN, or a whole layer scores
    zero; ValueError when k is smaller than what is pruned already, or larger than all there is.
    """
    counts = _upper_histogram(items, group)
    wanted = k - int(counts.pruned.sum())
    if not 0 <= wanted <= int(counts.live.sum()):
        raise ValueError(
            f"can not have {k} pruned of {int(counts.live.sum() + counts.pruned.sum())} entries "
            f"of which {int(counts.pruned.sum())} are pruned already"
        )
    if wanted:
        upper, wanted = _digit_of(_ascending(counts.histogram), wanted)
        undecided = _mark(items, *_bin_borders(upper))
        _decide(items, undecided, wanted, upper, group)
    return _ascending(counts.histogram)


# ---------------------------------------------------------------- first digit


@dataclass
class _Counts:
    histogram: Tensor  # (65536,) live scores by upper half of their bit pattern
    pruned: Tensor  # (items,) entries whose mask is 0
    live: Tensor  # (items,)


def _upper_histogram(items: Sequence[Scored], group) -> _Counts:
    device = items[0].mask.device
    rows = torch.zeros(5, len(items), dtype=torch.int64, device=device)
    total = torch.zeros(BINS, dtype=torch.int64, device=device)
    for i, item in enumerate(items):
        counts = torch.zeros_like(total)
        for start, stop in _slices(item):
            counts += _upper_counts(item.score(start, stop))
        live = torch.count_nonzero(item.mask)
        pruned = item.mask.numel() - live
        counts[0] -= pruned  # a pruned entry scores zero, and is not ranked
        bad = counts[NON_FINITE : BINS // 2].sum() + counts[BINS // 2 + NON_FINITE :].sum()
        rows[:, i] = torch.stack([pruned, live, counts[0], bad, (counts[0] < 0).long()])
        total += counts
    _sum_over(group, total)
    _sum_over(group, rows)
    pruned, live, zero, bad, unclean = rows.cpu()
    for i, item in enumerate(items):
        if bad[i]:
            raise ScoreError(f"{item.name}: {int(bad[i])} of its scores are infinite or NaN")
        if unclean[i]:
            raise ScoreError(f"{item.name}: a pruned weight, its state or its score is not zero")
        if live[i] and zero[i] == live[i]:
            raise ScoreError(f"{item.name}: all of its {int(live[i])} scores are zero")
    return _Counts(total.cpu(), pruned, live)


def _upper_counts(scores: Tensor) -> Tensor:
    bits = scores.add(0.0).view(torch.int32)  # -0.0 + 0.0 is +0.0: the zeros are one value
    return torch.bincount(bits.bitwise_right_shift_(DIGIT).bitwise_and_(BINS - 1), minlength=BINS)


def _ascending(histogram: Tensor) -> Tensor:
    """Bins in the order of the numbers they stand for: negative bit patterns run backwards."""
    return torch.cat([histogram[BINS // 2 :].flip(0), histogram[: BINS // 2]])


def _digit_of(ascending: Tensor, k: int) -> tuple[int, int]:
    """The bin, by its place in the order, that holds the k-th smallest, and k within that bin."""
    running = ascending.cumsum(0)
    place = int(torch.searchsorted(running, k))
    return place, k - int(running[place] - ascending[place])


def _bin_borders(place: int) -> tuple[float, float]:
    """Smallest and largest float in a bin of the upper digit, given its place in the order."""
    negative = place < BINS // 2
    upper = BINS - 1 - place if negative else place - BINS // 2
    ends = [_float_of(upper << DIGIT), _float_of(upper << DIGIT | BINS - 1)]
    return (ends[1], ends[0]) if negative else (ends[0], ends[1])


def _float_of(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


# --------------------------------------------------------------- second digit


def _mark(items: Sequence[Scored], first: float, last: float) -> list[Tensor]:
    """Prune below the bin [first, last], mark the bin's live entries 2; return their scores."""
    undecided = []
    for item in items:
        inside = []
        for start, stop in _slices(item):
            scores, mask = item.score(start, stop), item.mask[start:stop]
            above = (scores > last).view(torch.uint8)
            mask.mul_((scores >= first).view(torch.uint8))
            above.mul_(mask)
            mask.add_(mask).sub_(above)
            inside.append(scores[mask == 2])
        undecided.append(torch.cat(inside) if inside else item.mask.new_empty(0).float())
    return undecided


def _decide(items: Sequence[Scored], undecided: list[Tensor], k: int, place: int, group) -> None:
    """Prune the k smallest of the undecided, keep the others."""
    histogram = torch.zeros(BINS, dtype=torch.int64, device=items[0].mask.device)
    for scores in undecided:
        lower = scores.add(0.0).view(torch.int32).bitwise_and(BINS - 1)
        histogram += torch.bincount(lower, minlength=BINS)
    _sum_over(group, histogram)
    negative = place < BINS // 2
    digit, k = _digit_of(histogram.flip(0).cpu() if negative else histogram.cpu(), k)
    upper = BINS - 1 - place if negative else place - BINS // 2
    kth = _float_of(upper << DIGIT | (BINS - 1 - digit if negative else digit))

    ties = torch.stack([(scores == kth).sum() for scores in undecided])
    for item, scores, taken in zip(items, undecided, _share_ties(ties, k, group), strict=True):
        tied = scores == kth
        keep = (scores > kth) | (tied & (tied.cumsum(0) > taken))
        item.mask.masked_scatter_(item.mask == 2, keep.to(torch.uint8))


def _share_ties(ties: Tensor, k: int, group) -> list[int]:
    """How many of its own ties each item gives up, so that k go in all: item by item, then rank."""
    if group is None:
        shards, rank = ties[None], 0
    else:
        shards = torch.empty(dist.get_world_size(group), len(ties), dtype=ties.dtype).to(ties)
        dist.all_gather(list(shards), ties, group=group)
        rank = dist.get_rank(group)
    order = shards.T.flatten()
    taken = (k - (order.cumsum(0) - order)).clamp(min=0).minimum(order)
    return taken.view(len(ties), -1)[:, rank].tolist()


def _slices(item: Scored) -> Iterator[tuple[int, int]]:
    n, size = item.mask.numel(), SLICE.get(item.mask.device.type, SLICE["cuda"])
    return ((start, min(start + size, n)) for start in range(0, n, size))


def _sum_over(group, counts: Tensor) -> None:
    if group is not None:
        dist.all_reduce(counts, group=group)
