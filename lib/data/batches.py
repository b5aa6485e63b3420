# SPDX-License-Identifier: MIT
"""Which examples a step sees, as a pure function of (seed, step), so that resuming replays nothing.

Random numbers come from Philox, a counter-based generator (Salmon et al. 2011): a stream, a seed
and a counter give the same numbers on every machine, whatever was drawn before.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What random numbers are for; each use has its own, so that none repeats another's."""

    SPLIT = 0
    ORDER = 1
    AFFINE = 2
    CROP = 3
    FLIP = 4
    SHIFT = 5
    CUTOUT = 6
    RANDOM_OPS = 7
    MIXUP = 8


def generator(stream: Stream, seed: int, counter: int = 0) -> np.random.Generator:
    """A generator that depends on its arguments alone.

    `counter` fills the upper half of Philox's own, so that 2^129 numbers fit between two of them.
    """
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, counter, 0]))


def batch_indices(
    seed: int, step: int, n: int, batch_size: int, device: str | torch.device = "cpu"
) -> Tensor:
    """Indices into `n` examples for update number `step`, from 0: int64, [batch_size], on `device`.

    Each epoch has n // batch_size steps and an order of its own, in which no example comes twice.
    All batches have the same size: the n % batch_size examples at the end of an order are left for
    another epoch. Raises ValueError when a batch needs more examples than there are.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch size {batch_size} is not between 1 and the {n} examples")
    epoch, position = divmod(step, n // batch_size)
    order = _epoch_order(seed, epoch, n, torch.device(device))
    return order[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=2)  # one upload per epoch, not per step
def _epoch_order(seed: int, epoch: int, n: int, device: torch.device) -> Tensor:
    order = generator(Stream.ORDER, seed, epoch).permutation(n)
    return torch.from_numpy(order).to(device)
