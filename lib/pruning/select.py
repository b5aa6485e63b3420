# SPDX-License-Identifier: MIT
"""Exact selection of the k smallest of many scores, without a sort.

A float32 is ordered like its bit pattern (negative numbers in reverse), so the k-th smallest
score is found digit by digit: a histogram over the upper 14 bits names one bin, a second one over
the lower 18 bits of the few scores in that bin names the score itself. Scores are computed a slice
at a time, twice, and never stored: the work is linear, and the transient memory is a few slices
plus the scores that fall into the one bin.

Between the two passes a mask holds three values: 0 pruned, 1 undecided (in the bin), 2 kept.

Counts are integers, so nothing depends on the number of elements (2^24 is no border), on the
number of threads, or on how many ranks hold the scores: with `group` the histograms are summed
over its ranks, each holding its own shard of every tensor.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from lib.cli import Failure

LOWER = 18  # bits of the second digit
BINS = 1 << (32 - LOWER)
HALF = BINS // 2  # bins of the positive numbers, and of the negative ones
NON_FINITE = 0x7F800000 >> LOWER  # the bins of one sign from here on hold inf and NaN

# Scores in a slice: small enough for the second-level cache of a core, and on a GPU few launches.
SLICE = {"cpu": 1 << 18, "cuda": 1 << 24}

Result = TypeVar("Result")


class ScoreError(Failure):
    """A layer's scores can not be ranked: not finite, or all zero."""


@dataclass(frozen=True)
class Scored:
    """One tensor that takes part in a selection.

    mask: uint8, 1-D and contiguous, 1 = kept, changed in place. score(start, stop) gives the
    scores of that range, 1-D float32 on the mask's device, in memory of its own. It must give the
    same values when called again, +0.0 wherever the mask is 0, and -0.0 nowhere. tensors: shaped
    like the mask; their entries become zero where the mask does. may_be_zero: whether it is in
    order that all scores are zero.
    """

    name: str
    mask: Tensor
    score: Callable[[int, int], Tensor]
    tensors: Sequence[Tensor] = ()
    may_be_zero: bool = False


def prune_smallest(items: Sequence[Scored], k: int, *, group: dist.ProcessGroup | None = None):
    """Clear the masks of the smallest scores until exactly `k` entries of all items are 0.

    The entries of the items' `tensors` are cleared with them.

    What is pruned already stays pruned and counts towards k. Equal scores: the lower item goes
    first, then the lower index (of the lower rank, where the items are sharded over `group`).

    Returns the histogram of the scores that were ranked, int64 of shape (BINS,): counts by upper
    14 bits in ascending order.

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
        place, wanted = _bin_of(_ascending(counts.histogram), wanted)
        upper = BINS - 1 - place if place < HALF else place - HALF
        _decide(items, _mark(items, *_borders(upper)), wanted, upper, group)
    return _ascending(counts.histogram)


# ---------------------------------------------------------------- first digit


@dataclass
class _Counts:
    histogram: Tensor  # (BINS,) live scores by the upper digit
    pruned: Tensor  # (items,) entries whose mask is 0
    live: Tensor  # (items,)


def _upper_histogram(items: Sequence[Scored], group) -> _Counts:
    device = items[0].mask.device
    rows = torch.zeros(5, len(items), dtype=torch.int64, device=device)
    total = torch.zeros(BINS, dtype=torch.int64, device=device)
    for i, item in enumerate(items):
        counts = torch.zeros_like(total)
        for part in _each_slice(item, _upper_counts):
            counts += part
        live = torch.tensor(count_kept(item.mask), device=device)
        pruned = item.mask.numel() - live
        counts[HALF] -= pruned  # a pruned entry scores +0.0, and is not ranked
        bad = counts[NON_FINITE:HALF].sum() + counts[HALF + NON_FINITE :].sum()
        rows[:, i] = torch.stack([pruned, live, counts[HALF], bad, (counts[HALF] < 0).long()])
        total += counts
    _sum_over(group, total)
    _sum_over(group, rows)
    pruned, live, zero, bad, unclean = rows.cpu()
    for i, item in enumerate(items):
        if bad[i]:
            raise ScoreError(f"{item.name}: {int(bad[i])} of its scores are infinite or NaN")
        if unclean[i]:
            raise ScoreError(f"{item.name}: a pruned weight, its state or its score is not zero")
        if live[i] and zero[i] == live[i] and not item.may_be_zero:
            raise ScoreError(f"{item.name}: all of its {int(live[i])} scores are zero")
    return _Counts(total.cpu(), pruned, live)


def _upper_counts(item: Scored, start: int, stop: int) -> Tensor:
    bits = item.score(start, stop).view(torch.int32)
    # After an arithmetic shift the digit is in -HALF … HALF - 1, negative scores first.
    return torch.bincount(bits.bitwise_right_shift_(LOWER).add_(HALF), minlength=BINS)


def _ascending(histogram: Tensor) -> Tensor:
    """Bins in the order of the numbers they stand for: negative bit patterns run backwards."""
    return torch.cat([histogram[:HALF].flip(0), histogram[HALF:]])


def _bin_of(ascending: Tensor, k: int) -> tuple[int, int]:
    """The bin, by its place in the order, that holds the k-th smallest, and k within that bin."""
    running = ascending.cumsum(0)
    place = int(torch.searchsorted(running, k))
    return place, k - int(running[place] - ascending[place])


def _borders(upper: int) -> tuple[float, float]:
    """The smallest float whose upper 14 bits are `upper`, and the smallest one beyond them."""
    if upper < HALF:
        return _float_of(upper << LOWER), _float_of(upper + 1 << LOWER)
    beyond = 0.0 if upper == HALF else _float_of((upper << LOWER) - 1)
    return _float_of((upper + 1 << LOWER) - 1), beyond


def _float_of(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


# --------------------------------------------------------------- second digit


def _mark(items: Sequence[Scored], first: float, beyond: float) -> list[Tensor]:
    """Prune what is below the bin [first, beyond); mark the live in it 1, and those above it 2.

    Returns the scores of the entries marked 1, per item and in their order.
    """

    def mark(item: Scored, start: int, stop: int) -> Tensor:
        scores, mask = item.score(start, stop), item.mask[start:stop]
        mask.mul_(_at_least(scores, first).add_(_at_least(scores, beyond)))
        kept = mask.clamp(max=1)
        for tensor in item.tensors:  # while what was scored is still in the cache
            tensor[start:stop].mul_(kept.to(tensor.dtype))
        return scores[_positions(mask, 1)]

    return [torch.cat([*_each_slice(item, mark)] or [torch.empty(0)]) for item in items]


def _decide(items: Sequence[Scored], undecided: list[Tensor], k: int, upper: int, group) -> None:
    """Prune the k smallest of the undecided, whose upper digit is `upper`; keep the others."""
    histogram = torch.zeros(1 << LOWER, dtype=torch.int64, device=items[0].mask.device)
    for scores in undecided:
        lower = scores.view(torch.int32).bitwise_and((1 << LOWER) - 1)
        histogram += torch.bincount(lower, minlength=1 << LOWER)
    _sum_over(group, histogram)
    negative = upper >= HALF
    place, k = _bin_of(histogram.flip(0) if negative else histogram, k)
    lower = (1 << LOWER) - 1 - place if negative else place
    kth = _float_of(upper << LOWER | lower)

    ties = torch.stack([(scores == kth).sum() for scores in undecided])
    for item, scores, taken in zip(items, undecided, _share_ties(ties, k, group), strict=True):
        tied = scores == kth
        keep = (scores > kth) | (tied & (tied.cumsum(0) > taken))
        positions = _positions(item.mask, 1)
        item.mask[positions] = keep.to(torch.uint8).mul_(2)
        item.mask.bitwise_right_shift_(1)
        for tensor in item.tensors:
            tensor[positions[~keep]] = 0.0


def _share_ties(ties: Tensor, k: int, group) -> list[int]:
    """How many of its own ties each item gives up, so that k go in all: item by item, then rank."""
    if group is None:
        shards, rank = ties[None], 0
    else:
        shards = ties.new_empty(dist.get_world_size(group), len(ties))
        dist.all_gather(list(shards), ties, group=group)
        rank = dist.get_rank(group)
    order = shards.T.flatten()
    taken = (k - (order.cumsum(0) - order)).clamp(min=0).minimum(order)
    return taken.view(len(ties), -1)[:, rank].tolist()


# -------------------------------------------------------------------- slices


def _each_slice(item: Scored, work: Callable[[Scored, int, int], Result]) -> Iterator[Result]:
    """work(item, start, stop) for every slice, in order; on a CPU in as many threads as it has.

    Some operations (bincount, indexing) run in one thread only, so that whole slices are shared
    out rather than single operations.
    """
    n, device = item.mask.numel(), item.mask.device.type
    size = SLICE.get(device, SLICE["cuda"])
    ranges = [(start, min(start + size, n)) for start in range(0, n, size)]
    threads = torch.get_num_threads()
    if device != "cpu" or threads == 1 or len(ranges) < 2:
        yield from (work(item, *each) for each in ranges)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(lambda each: work(item, *each), ranges)
    torch.set_num_threads(threads)  # the default of later threads, which the workers changed


# On a CPU, NumPy's comparisons, searches and counts of bytes are several times faster than torch's.


def count_kept(mask: Tensor) -> int:
    """How many entries of a mask of 0 and 1 are 1."""
    if mask.device.type == "cpu":
        return int(np.count_nonzero(mask.numpy().view(bool)))
    return int(mask.count_nonzero())


def _at_least(scores: Tensor, border: float) -> Tensor:
    """uint8, 1 where scores ≥ border, a float32 number."""
    if scores.device.type == "cpu":
        reached = np.greater_equal(scores.numpy(), np.float32(border))
        return torch.from_numpy(reached.view(np.uint8))
    return (scores >= border).view(torch.uint8)


def _positions(mask: Tensor, value: int) -> Tensor:
    """Indices of the entries equal to `value`, (m,) int64."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy() == value))
    return (mask == value).nonzero().squeeze(1)


def _sum_over(group, counts: Tensor) -> None:
    if group is not None:
        dist.all_reduce(counts, group=group)
