# SPDX-License-Identifier: MIT
"""Exact selection of the k smallest of many scores, without a sort.

float32 numbers are ordered like their bit patterns (negative ones in reverse), so the k-th smallest
score is found digit by digit: a histogram of the upper 14 bits finds its bin, and two more, of 9
bits each, over the few scores in that bin find the score itself. Scores are computed a slice at a
time, twice, and only those in the bin are stored: the work is linear, and the temporary memory is a
few slices and the scores in the bin (all of them, if all are equal).

Between the two passes a mask holds three values: 0 pruned, 1 kept, 2 undecided (in the bin).

Counts are integers, so the result does not depend on the number of elements (beyond 2^24, too), of
threads, or of ranks: with `group`, histograms are summed over its ranks, each of which holds its
shard of every tensor.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import Failure
from .slices import clear, count_kept, each_slice, live_below, positions_of, slice_size

LOWER = 18  # bits below the first digit
DIGIT = 9  # bits of each of the two that follow
BINS = 1 << (32 - LOWER)
HALF = BINS // 2  # bins of the positive numbers, and of the negative ones
NON_FINITE = 0x7F800000 >> LOWER  # the bins of one sign from here on hold inf and NaN


class ScoreError(Failure):
    """A layer's scores cannot be ranked: not finite, or all zero."""


@dataclass(frozen=True)
class Scored:
    """One tensor that takes part in a selection.

    mask: uint8, 1-D and contiguous, 1 = kept, changed in place. score(start, stop): the scores of
    that range, 1-D float32 on the mask's device, in memory of its own; the same values each time,
    +0.0 wherever the mask is 0, and never -0.0. tensors: any shape and memory format, as many
    entries as the mask; they become zero, in logical order, where the mask does. may_be_zero:
    whether all scores may be zero.
    """

    name: str
    mask: Tensor
    score: Callable[[int, int], Tensor]
    tensors: Sequence[Tensor] = ()
    may_be_zero: bool = False


def prune_smallest(items: Sequence[Scored], k: int, *, group: dist.ProcessGroup | None = None):
    """Clear the masks of the smallest scores, until exactly `k` entries of all items are 0.

    The entries of the items' `tensors` are cleared as well. What is pruned already stays pruned
    and counts towards k. Of equal scores, those of the earlier item are pruned first, then those of
    the lower rank (where the items are sharded over `group`), then those of the lower index.

    Returns the histogram of the ranked scores over all ranks, int64 on the CPU, shape (BINS,):
    counts by the upper 14 bits in ascending order.

    Raises ScoreError naming the layer when a score is infinite or NaN or a whole layer scores zero,
    and ValueError when k is less than what is pruned already or more than there are entries.
    """
    counts = _upper_histogram(items, group)
    wanted = k - int(counts.pruned.sum())
    if not 0 <= wanted <= int(counts.live.sum()):
        raise ValueError(
            f"cannot prune {k} of {int(counts.live.sum() + counts.pruned.sum())} entries: "
            f"{int(counts.pruned.sum())} are pruned already"
        )
    if wanted:
        place, wanted = _bin_of(_ascending(counts.histogram), wanted)
        upper = BINS - 1 - place if place < HALF else place - HALF
        in_bin = int(_ascending(counts.own)[place])
        _decide(items, _mark(items, *_borders(upper), in_bin), wanted, upper, group)
    return _ascending(counts.histogram)


# ---------------------------------------------------------------- first digit


@dataclass
class _Counts:
    histogram: Tensor  # (BINS,) live scores by the upper digit, over all ranks
    own: Tensor  # (BINS,) those of this rank
    pruned: Tensor  # (items,) entries whose mask is 0
    live: Tensor  # (items,)


def _upper_histogram(items: Sequence[Scored], group) -> _Counts:
    device = items[0].mask.device
    histograms = torch.zeros(len(items), BINS, dtype=torch.int64, device=device)
    masks = [item.mask for item in items]
    for i, _, _, part in each_slice(masks, lambda i, *ends: _upper_counts(items[i].score(*ends))):
        histograms[i] += part
    live = torch.tensor([count_kept(item.mask) for item in items], device=device)
    pruned = torch.tensor([item.mask.numel() for item in items], device=device) - live
    histograms[:, HALF] -= pruned  # a pruned entry scores +0.0, and is not ranked
    negative, positive = histograms.split(HALF, 1)
    bad = negative[:, NON_FINITE:].sum(1) + positive[:, NON_FINITE:].sum(1)
    rows = torch.stack([pruned, live, bad, positive[:, 0], (positive[:, 0] < 0).long()])
    own = histograms.sum(0)
    total = own.clone()
    _sum_over(group, total)
    _sum_over(group, rows)
    _check(items, group, *rows[1:].tolist())
    return _Counts(total.cpu(), own.cpu(), *rows[:2].cpu())


def _check(items: Sequence[Scored], group, *columns: list[int]) -> None:
    for item, live, bad, low, unclean in zip(items, *columns, strict=True):
        if bad:
            raise ScoreError(f"{item.name}: {bad} of its scores are infinite or NaN")
        if unclean:
            raise ScoreError(f"{item.name}: a pruned weight, its state or its score is not zero")
        # The lowest bin holds zero and everything below 3.7e-40.
        if live and low == live and not item.may_be_zero and not _any_score(item, group):
            raise ScoreError(
                f"{item.name}: all of its {live} scores are zero. Where a block of the network "
                "begins as zero, its weights have no gradient in the first step: choose a later "
                "PRUNING_START, or a longer training"
            )


def _any_score(item: Scored, group) -> bool:
    """Whether a score of the item is not zero, on any rank."""
    found = item.mask.new_zeros(1, dtype=torch.int64)
    for *_, count in each_slice([item.mask], lambda _, *ends: item.score(*ends).count_nonzero()):
        found += count
    _sum_over(group, found)
    return bool(found)


def _upper_counts(scores: Tensor) -> Tensor:
    bits = scores.view(torch.int32)
    # After an arithmetic shift the digit is in -HALF … HALF - 1, negative scores first.
    return torch.bincount(bits.bitwise_right_shift_(LOWER).add_(HALF), minlength=BINS)


def _ascending(histogram: Tensor) -> Tensor:
    """The bins in the order of their numbers: negative bit patterns run backwards."""
    return torch.cat([histogram[:HALF].flip(0), histogram[HALF:]])


def _bin_of(ascending: Tensor, k: int) -> tuple[int, int]:
    """The place of the bin that holds the k-th smallest, and k counted within that bin."""
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


@dataclass
class _Undecided:
    """The scores of the entries marked 2 between start and stop of one item's mask."""

    item: int
    start: int
    stop: int
    scores: Tensor


def _mark(items: Sequence[Scored], first: float, beyond: float, n: int) -> list[_Undecided]:
    """Prune what is below the bin [first, beyond), and mark the `n` live entries in it 2.

    Returns these in order, at most a slice of scores in each part: if all scores are equal, all
    are undecided, and what follows must not need more memory than their scores take. For the same
    reason they lie in one block: many small ones would leave as much memory unused between them.
    """
    held = torch.empty(n, device=items[0].mask.device)

    def mark(i: int, start: int, stop: int) -> Tensor:
        item = items[i]
        scores, mask = item.score(start, stop), item.mask[start:stop]
        leaving = live_below(beyond, scores, mask)  # few between two updates
        theirs = scores[leaving]
        undecided = theirs >= first
        mask[leaving] = undecided.to(torch.uint8).mul_(2)
        gone = leaving[~undecided] + start
        for tensor in item.tensors:
            clear(tensor, gone)
        return theirs[undecided]

    parts: list[_Undecided] = []
    begin = end = 0  # of the last part, in `held`
    for i, start, stop, scores in each_slice([item.mask for item in items], mark):
        held[end : end + len(scores)] = scores
        end += len(scores)
        if parts and parts[-1].item == i and end - begin <= slice_size(held.device):
            start = parts.pop().start
        else:
            begin = end - len(scores)
        parts.append(_Undecided(i, start, stop, held[begin:end]))
    return parts


def _decide(
    items: Sequence[Scored], undecided: list[_Undecided], k: int, upper: int, group
) -> None:
    """Prune the k smallest of the undecided, whose upper 14 bits are `upper`; keep the others."""
    path = upper  # the upper bits of the k-th score, as far as they are known
    negative = upper >= HALF
    device = items[0].mask.device
    for shift in range(LOWER - DIGIT, -1, -DIGIT):
        histogram = torch.zeros(1 << DIGIT, dtype=torch.int64, device=device)
        for part in undecided:
            histogram += _lower_counts(part.scores.view(torch.int32), shift, path)
        _sum_over(group, histogram)
        place, k = _bin_of(histogram.flip(0) if negative else histogram, k)
        path = path << DIGIT | (len(histogram) - 1 - place if negative else place)
    kth = _float_of(path)

    ties = torch.zeros(len(items), dtype=torch.int64, device=device)
    for part in undecided:
        ties[part.item] += (part.scores == kth).sum()
    taken = _share_ties(ties, k, group)
    for part in undecided:
        tied = part.scores == kth
        running = tied.cumsum(0)
        keep = (part.scores > kth) | (tied & (running > taken[part.item]))
        taken[part.item] = (taken[part.item] - running[-1:].sum()).clamp(min=0)
        item = items[part.item]
        positions = positions_of(2, item.mask[part.start : part.stop]) + part.start
        item.mask[positions] = keep.to(torch.uint8)
        gone = positions[~keep]
        for tensor in item.tensors:
            clear(tensor, gone)


def _lower_counts(bits: Tensor, shift: int, path: int) -> Tensor:
    """Histogram of the digit at `shift` of those bit patterns that begin with `path`."""
    above = shift + DIGIT
    inside = bits.bitwise_right_shift(above).bitwise_and_((1 << 32 - above) - 1) == path
    digits = bits[inside].bitwise_right_shift_(shift).bitwise_and_((1 << DIGIT) - 1)
    return torch.bincount(digits, minlength=1 << DIGIT)


def _share_ties(ties: Tensor, k: int, group) -> Tensor:
    """How many of its own ties each item gives up, so that k go in all: item by item, then rank."""
    if group is None:
        shards, rank = ties[None], 0
    else:
        shards = ties.new_empty(dist.get_world_size(group), len(ties))
        dist.all_gather(list(shards), ties, group=group)
        rank = dist.get_rank(group)
    order = shards.T.flatten()
    taken = (k - (order.cumsum(0) - order)).clamp(min=0).minimum(order)
    return taken.view(len(ties), -1)[:, rank].clone()


def _sum_over(group, counts: Tensor) -> None:
    if group is not None:
        dist.all_reduce(counts, group=group)
