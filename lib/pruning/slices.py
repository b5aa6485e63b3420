# SPDX-License-Identifier: MIT
"""Tensors in logical order, a slice at a time, in any memory format and on several threads.

Logical order is that of `tensor.flatten()`. The index of a weight, and so masks and ties, do not
depend on whether a layer is contiguous or in channels_last.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

# Entries in a slice: on a CPU few, to fit the L2 cache of a core; on a GPU many, for few launches.
SLICE = {"cpu": 1 << 18, "cuda": 1 << 24}

_WORTH_THREADS = 1 << 20  # entries; below that, starting threads takes longer than the work

Result = TypeVar("Result")


def slice_size(device: torch.device) -> int:
    """Entries in a slice on that device."""
    return SLICE.get(device.type, SLICE["cuda"])


def slice_of(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Entries start … stop - 1 in logical order, 1-D; a view if the tensor is contiguous."""
    if tensor.is_contiguous():
        return tensor.view(-1)[start:stop]
    row = tensor[0].numel()
    first = start // row
    rows = tensor[first : -(-stop // row)].reshape(-1)  # copies no more than the rows touched
    return rows[start - first * row : stop - first * row]


def clear(tensor: Tensor, positions: Tensor) -> None:
    """Zero the entries at these positions (1-D int64) in logical order."""
    if tensor.is_contiguous():
        tensor.view(-1)[positions] = 0.0
    else:
        tensor[torch.unravel_index(positions, tensor.shape)] = 0.0


def each_slice(
    masks: Sequence[Tensor], work: Callable[[int, int, int], Result]
) -> Iterator[tuple[int, int, int, Result]]:
    """(i, start, stop, work(i, start, stop)) for every slice of every mask, in order.

    On a CPU, slices run in as many threads as torch uses, because some operations (bincount,
    indexing) are single-threaded.
    """
    jobs = []
    for i, mask in enumerate(masks):
        n, size = mask.numel(), slice_size(mask.device)
        jobs += [(i, start, min(start + size, n)) for start in range(0, n, size)]

    def run(job: tuple[int, int, int]) -> Any:
        return *job, work(*job)

    threads = torch.get_num_threads()
    total = sum(mask.numel() for mask in masks)
    if masks[0].device.type != "cpu" or threads == 1 or total < _WORTH_THREADS:
        yield from map(run, jobs)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(run, jobs)
    torch.set_num_threads(threads)  # the default of later threads, which the workers changed


# On a CPU, NumPy compares, searches and counts several times faster than torch.


def count_kept(mask: Tensor) -> int:
    """The number of ones in a contiguous mask of zeros and ones."""
    if mask.device.type == "cpu":
        return int(np.count_nonzero(mask.numpy().view(bool)))
    return int(mask.count_nonzero())


def live_below(border: float, scores: Tensor, mask: Tensor) -> Tensor:
    """Positions (int64) where the mask is 1 and the score below `border`, a float32 number."""
    if mask.device.type == "cpu":
        below = np.less(scores.numpy(), np.float32(border))
        return torch.from_numpy(np.flatnonzero(np.logical_and(below, mask.numpy(), out=below)))
    return ((scores < border) & mask.bool()).nonzero().squeeze(1)


def positions_of(value: int, mask: Tensor) -> Tensor:
    """Positions (int64) where the mask has this value."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy() == value))
    return (mask == value).nonzero().squeeze(1)
